/* infer: class probabilities of images by trained checkpoints, pixel for pixel and precision for precision as
 * the validation of their training computed them.
 */
#ifndef SUPERCLIP_INFER_H
#define SUPERCLIP_INFER_H

#include "superclip/backend.h"
#include "superclip/base.h"
#include "superclip/data.h"
#include "superclip/train.h"
#include "superclip/weights.h"

/* ---- what a checkpoint says of its model -------------------------------------------------------- */
/* For files that do not say it themselves; what both say must be the same. */
typedef struct sc_infer_hints {
    const char *image_encoder, *text_encoder; /* NULL: as the file says */
    int img_size;                             /* 0: as the file says */
    const char *tokenizer;                    /* for files without class_token_ids; NULL: searched for */
} sc_infer_hints;

/* checkpoint_best.pth or checkpoint_latest.pth of sc_mpi, or a checkpoint of train_clip.py, which has no
 * class_token_ids: its class_texts are tokenized. Keys that a config lacks have their default. */
typedef struct sc_checkpoint {
    sc_pth *file;
    char *image_encoder, *text_encoder;
    int embed_dim, img_size, batch_size, vocabulary, context;
    bool use_amp;
    int classes;
    char **class_names;   /* by index */
    sc_train_text *texts; /* [classes]; their token ids are the checkpoint's */
    sc_pth_list image, text; /* the tensors of the two towers; temperature is the image's */
} sc_checkpoint;
/* Every failure names the file. Tensors stay in it. */
sc_status sc_checkpoint_open(const char *path, const sc_infer_hints *h, const sc_log *log,
                             sc_checkpoint **out);
void sc_checkpoint_close(sc_checkpoint *c); /* NULL is fine */
/* SC_EUSAGE naming the difference unless both have the same classes in the same order. */
sc_status sc_checkpoint_same_classes(const sc_checkpoint *a, const sc_checkpoint *b);

/* ---- a model that is ready --------------------------------------------------------------------- */
typedef struct sc_classifier sc_classifier;
/* Encodes the class texts, once, and keeps the image encoder. batch: the most rows of a run. Needs c no more. */
sc_status sc_classifier_open(const sc_checkpoint *c, sc_device *d, int64_t batch, sc_classifier **out);
/* rows [n][S][S][3] -> probabilities [n][classes]. */
sc_status sc_classifier_run(sc_classifier *m, const uint8_t *rows, int64_t n, double *probabilities);
void sc_classifier_free(sc_classifier *m); /* NULL is fine */

/* ---- which images ------------------------------------------------------------------------------- */
typedef struct sc_image_item {
    char *path;      /* as users know it */
    char *file;      /* to be opened; NULL: a row of a packed set */
    sc_dataset *set;
    int64_t row;
    char *folder;    /* name of the folder that holds it, its class in class folders; NULL: none */
} sc_image_item;
typedef struct sc_image_list {
    sc_image_item *items;
    size_t count, cap;
    sc_dataset **sets; /* owned */
    int set_count;
} sc_image_list;
/* An image; a packed set; or a folder: the images in it and in the folders inside it, in the order of their
 * names' bytes, hidden ones left out. SC_EUSAGE when there is none. */
sc_status sc_image_list_add(sc_image_list *l, const char *path, const sc_log *log);
/* A file of one image path a line, relative to `root` (NULL: the working directory). */
sc_status sc_image_list_add_lines(sc_image_list *l, const char *file, const char *root);
void sc_image_list_free(sc_image_list *l);

/* ---- reading them ahead of the model ------------------------------------------------------------- */
typedef struct sc_image_reader sc_image_reader;
typedef struct sc_image_reader_options {
    const sc_image_list *list;
    const int *sizes; /* every image is resized to each; packed sets must have been packed for the only one */
    int size_count;
    int64_t batch;
    int threads;
    const sc_decode_options *decode;
} sc_image_reader_options;
typedef struct sc_image_batch {
    int64_t first, count;        /* items of the list */
    uint8_t *const *rows;        /* [size_count]: [batch][S][S][3]; grey where the image is bad */
    char *const *reasons;        /* [count]: NULL, or why the image cannot be read */
    int64_t dark;                /* 16-bit images up to here with no sample above 4095: 12-bit ones */
} sc_image_batch;
sc_status sc_image_reader_open(const sc_image_reader_options *o, sc_image_reader **out);
/* The next batch in order, valid until the next call; count 0 at the end. A bad image is the caller's to tell;
 * what ends everything (no memory, a damaged packed set) is the status. */
sc_status sc_image_reader_next(sc_image_reader *r, sc_image_batch *out);
void sc_image_reader_close(sc_image_reader *r); /* NULL is fine */

#endif
