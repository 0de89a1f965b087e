/* The SuperCLIP model: two towers, one learnable temperature, one loss; recorded as the three
 * graphs of model.h over the same parameters.
 */
#include <math.h>
#include <string.h>

#include "encoders.h"

const char *sc_join_name(char out[SC_NAME_MAX], const char *prefix, const char *suffix)
{
    snprintf(out, SC_NAME_MAX, "%s%s", prefix, suffix);
    return out;
}

sc_linear_params sc_declare_linear(sc_graph *g, const char *name, int64_t in, int64_t out,
                                   bool trainable)
{
    char full[SC_NAME_MAX];
    sc_init init = SC_UNIFORM(1.0 / sqrt((double)in));
    sc_linear_params p;
    p.weight =
        sc_weight(g, sc_join_name(full, name, ".weight"), SC_SHAPE(out, in), init, trainable);
    p.bias = sc_weight(g, sc_join_name(full, name, ".bias"), SC_SHAPE(out), init, trainable);
    return p;
}

static sc_value record_images(sc_graph *g, const sc_model_spec *s, bool train_rows, bool dump)
{
    int64_t p = train_rows ? s->train_size : s->img_size;
    sc_value rows = sc_input(g, "images", SC_BYTES, SC_ROWS_LOCAL, SC_SHAPE(-1, p, p, 3));
    sc_value draws =
        sc_input(g, "draws", SC_BYTES, SC_ROWS_LOCAL, SC_SHAPE(-1, sizeof(sc_augment)));
    sc_value x = sc_augment_images(g, rows, draws, s->img_size);
    if (dump)
        sc_output(g, "augmented", x);
    const sc_encoder *e = sc_encoder_lookup(s->image_encoder);
    sc_pooled pooled =
        e->image(g, e, x, &(sc_image_encoder_options){s->img_size, s->freeze_image, s->freeze_bn});
    sc_linear_params l =
        sc_declare_linear(g, "image_encoder.projection", pooled.width, s->embed_dim, true);
    x = sc_linear(g, pooled.x, l.weight, l.bias, (sc_linear_options){.exact = true});
    return sc_all_gather(g, sc_l2_normalize(g, x));
}

static const sc_text_pack *pack_of(const sc_model_spec *s)
{
    return sc_encoder_lookup(s->text_encoder)->packs ? s->pack : NULL;
}

static sc_text_inputs text_inputs(sc_graph *g, const sc_model_spec *s)
{
    const sc_text_pack *p = pack_of(s);
    sc_text_inputs in = {.pack = p};
    const sc_shape tokens = p ? SC_SHAPE(p->rows) : SC_SHAPE(s->texts, s->text_length);
    in.tokens = sc_input(g, "tokens", SC_INT32, SC_ROWS_FIXED, tokens);
    if (p) {
        in.places = sc_input(g, "text_places", SC_INT32, SC_ROWS_FIXED, tokens);
        in.begins = sc_input(g, "text_begins", SC_INT32, SC_ROWS_FIXED, SC_SHAPE(s->texts + 1));
    }
    in.end = sc_input(g, "text_end", SC_INT32, SC_ROWS_FIXED, SC_SHAPE(s->texts));
    return in;
}

sc_status sc_model_write_texts(sc_program *program, const sc_model_spec *s, const int32_t *tokens,
                               const int32_t *end)
{
    const sc_text_pack *p = pack_of(s);
    SC_TRY(sc_program_write(program, "tokens", p ? p->tokens : tokens));
    if (p) {
        SC_TRY(sc_program_write(program, "text_places", p->places));
        SC_TRY(sc_program_write(program, "text_begins", p->begins));
    }
    return sc_program_write(program, "text_end", p ? p->end : end);
}

/* One feature a class: the normalised mean of its texts' unit features. With one text a class the
 * text features are the class features already. */
static sc_value record_texts(sc_graph *g, const sc_model_spec *s)
{
    const sc_text_inputs in = text_inputs(g, s);
    sc_value group = sc_input(g, "text_class", SC_INT32, SC_ROWS_FIXED, SC_SHAPE(s->texts));
    const sc_text_encoder_options o = {s->embed_dim, s->vocabulary, s->context, s->freeze_text};
    const sc_encoder *e = sc_encoder_lookup(s->text_encoder);
    sc_value t = e->text(g, e, &in, &o);
    if (s->texts == s->classes)
        return t;
    return sc_l2_normalize(g, sc_group_mean(g, t, group, s->classes));
}

static sc_loss_values record_loss(sc_graph *g, const sc_model_spec *s, sc_param temperature,
                                  sc_value x, sc_value t)
{
    sc_value labels = sc_input(g, "labels", SC_INT32, SC_ROWS_GLOBAL, SC_SHAPE(-1));
    sc_value weights = sc_input(g, "class_weights", SC_EXACT, SC_ROWS_FIXED, SC_SHAPE(s->classes));
    sc_loss_values l = sc_superclip_loss(g, x, t, labels, weights, temperature, s->loss);
    sc_output(g, "losses", l.losses);
    sc_output(g, "logits", l.logits);
    return l;
}

static sc_status check_spec(const sc_model_spec *s)
{
    SC_TRY(sc_encoder_check(s->image_encoder, true));
    SC_TRY(sc_encoder_check_size(s->image_encoder, s->img_size));
    SC_TRY(sc_encoder_check(s->text_encoder, false));
    if (s->embed_dim < 1 || s->img_size < 1 || s->classes < 1 || s->texts < s->classes ||
        s->vocabulary < 1 || s->text_length < 1 || s->text_length > s->context)
        return sc_fail(SC_EINTERNAL,
                       "model: embed_dim %d, img_size %d, %d classes, %d texts of up to %d tokens "
                       "(context %d) do not fit together",
                       s->embed_dim, s->img_size, s->classes, s->texts, s->text_length, s->context);
    return SC_OK;
}

sc_status sc_model_record(const sc_model_spec *s, sc_model_part part, const sc_model_io *io,
                          sc_graph **out)
{
    *out = NULL;
    SC_TRY(check_spec(s));
    sc_graph *g = sc_graph_new();
    if (!g)
        return SC_ENOMEM;
    sc_model_io none = {0};
    if (!io)
        io = &none;
    sc_param temperature = {-1};
    /* Without the SuperCLIP loss no gradient reaches it: it keeps its number but is left alone. */
    if (part != SC_MODEL_TEXTS)
        temperature = sc_weight(g, "temperature", (sc_shape){0}, SC_CONSTANT(s->temperature),
                                s->loss.superclip);
    sc_value x = {-1}, t;
    if (part != SC_MODEL_TEXTS) {
        x = record_images(g, s, part == SC_MODEL_TRAIN && io->train_rows,
                          part == SC_MODEL_TRAIN && io->dump);
        sc_output(g, "image_features", x);
    }
    if (part == SC_MODEL_EVAL)
        t = sc_input(g, "class_features", SC_EXACT, SC_ROWS_FIXED,
                     SC_SHAPE(s->classes, s->embed_dim));
    else {
        t = record_texts(g, s);
        sc_output(g, "class_features", t);
    }
    if (part != SC_MODEL_TEXTS) {
        sc_loss_values l = record_loss(g, s, temperature, x, t);
        if (part == SC_MODEL_TRAIN) {
            sc_output_grad(g, "image_features", x);
            sc_output_grad(g, "class_features", t);
            sc_minimize(g, l.losses);
        }
    }
    sc_status status = sc_graph_status(g);
    if (status != SC_OK) {
        sc_graph_free(g);
        return status;
    }
    *out = g;
    return SC_OK;
}
