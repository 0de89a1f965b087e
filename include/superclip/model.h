/* model: encoders as short functions that record ops, and the SuperCLIP model made of them.
 */
#ifndef SUPERCLIP_MODEL_H
#define SUPERCLIP_MODEL_H

#include "superclip/base.h"
#include "superclip/nn.h"
#include "superclip/text.h"

/* The texts of a causal tower without padding, and what all of them begin with only once: rows 0 ..
 * shared-1, then the rest of text t in rows begins[t] .. begins[t+1]-1 (its end token at the latest).
 * Exact: no position of such a tower sees what comes after it. */
typedef struct sc_text_pack {
    int texts, rows, shared, longest; /* longest: a text's tokens, shared ones included */
    int32_t *tokens, *places;         /* [rows], position of each in its text */
    int32_t *begins;                  /* [texts + 1] */
    int32_t *end;                     /* [texts] row of the end token */
} sc_text_pack;
/* tokens [texts][length], end [texts]: position of the end token. */
sc_status sc_text_pack_make(const int32_t *tokens, const int32_t *end, int texts, int length,
                            sc_text_pack *out);
void sc_text_pack_free(sc_text_pack *p);

/* What the graph of one job needs to know. */
typedef struct sc_model_spec {
    const char *image_encoder, *text_encoder;
    int embed_dim, img_size, train_size; /* S and S' */
    int vocabulary, context;             /* of the tokenizer */
    int classes, texts, text_length;     /* distinct texts, longest one in tokens */
    const sc_text_pack *pack;            /* of these texts; NULL: the tower computes padding too */
    double temperature;
    bool freeze_image, freeze_text, freeze_bn;
    sc_loss_attrs loss;
} sc_model_spec;

/* TRAIN: images, draws, tokens... -> loss, with gradients (rows of the train pass).
 * TEXTS: tokens -> class features (evaluation, once an epoch).
 * EVAL: images + class features -> loss and logits.
 * Inputs by name: "images" BYTES [-1,P,P,3]  "draws" BYTES [-1,sizeof(sc_augment)]
 *   "tokens" INT32 [T,L]  "text_end" INT32 [T] (position of the end token); where a pack is taken
 *   "tokens" [rows]  "text_places" [rows]  "text_begins" [T+1]  "text_end" [T] as in it
 *   "text_class" INT32 [T]  "labels" INT32 [global]  "class_weights" EXACT [C]
 *   "class_features" EXACT [C,E] (EVAL only)
 * Outputs by name: "losses" [3]  "logits" [B,C]  "image_features" [B,E]  "class_features" [C,E]
 *   (TRAIN: both features' gradients too)  "augmented" the normalised input (TRAIN with dump only). */
typedef enum sc_model_part { SC_MODEL_TRAIN, SC_MODEL_TEXTS, SC_MODEL_EVAL } sc_model_part;
typedef struct sc_model_io { bool train_rows; /* TRAIN: images are S' rows, else S */
                             bool dump; } sc_model_io;
sc_status sc_model_record(const sc_model_spec *spec, sc_model_part part, const sc_model_io *io,
                          sc_graph **out);

/* Writes tokens and text_end of a TRAIN or TEXTS program of this spec: its pack where the text tower
 * takes one, else the arrays. */
sc_status sc_model_write_texts(sc_program *p, const sc_model_spec *s, const int32_t *tokens,
                               const int32_t *end);

/* Encoders by name, for checks and --help. */
typedef struct sc_encoder_info {
    const char *name;
    bool image;          /* else text */
    double flops_per_row; /* forward multiply-adds x 2 at 224 px (image) or per token (text) */
    double parameters;
    int min_img_size; /* image: a smaller one leaves a stage without pixels */
    const char *summary;
    sc_tokenizer_kind tokenizer; /* of a text tower */
} sc_encoder_info;
const sc_encoder_info *sc_encoder_list(size_t *count);
const sc_encoder_info *sc_encoder_find(const char *name);
/* SC_OK, or SC_EUSAGE (unknown; names the nearest). */
sc_status sc_encoder_check(const char *name, bool image);
/* SC_OK, or SC_EUSAGE: images of img_size pixels are too small for it or do not divide into its patches. */
sc_status sc_encoder_check_size(const char *name, int img_size);
/* Is there a trainable projection to embed_dim behind the tower? A CLIP text tower has one only when its
 * own text_projection gives features of another length. */
bool sc_encoder_has_projection(const char *name, int embed_dim);

#endif
