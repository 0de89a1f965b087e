/* --dump-steps: everything of a training step in one safetensors file, so that PyTorch can repeat
 * it (tests/oracle/replay_steps.py). Big and slow by nature; nothing of it runs otherwise.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "trainer.h"

struct sc_step_dump {
    sc_tensor_set set;
};

void sc_step_dump_free(sc_step_dump *d)
{
    if (d)
        sc_tensor_set_free(&d->set);
    free(d);
}

/* A new tensor of the set, zeroed; NULL when memory is short. */
static void *add(sc_step_dump *d, const char *name, sc_dtype dtype, sc_shape shape)
{
    sc_tensor x;
    if (sc_tensor_new(name, dtype, shape, &x) != SC_OK)
        return NULL;
    void *data = x.data;
    if (sc_tensor_set_add(&d->set, &x) != SC_OK) {
        sc_tensor_free(&x);
        return NULL;
    }
    return data;
}

static sc_status add_copy(sc_step_dump *d, const char *name, sc_dtype dtype, sc_shape shape,
                          const void *from)
{
    void *to = add(d, name, dtype, shape);
    if (!to)
        return SC_ENOMEM;
    memcpy(to, from, (size_t)sc_shape_count(&shape) * sc_dtype_size(dtype));
    return SC_OK;
}

/* "prefix.name" for each tensor of a set; takes the set's tensors. */
static sc_status add_set(sc_step_dump *d, const char *prefix, sc_tensor_set *from)
{
    sc_status status = SC_OK;
    for (size_t i = 0; i < from->count && status == SC_OK; i++) {
        char *name = sc_format("%s.%s", prefix, from->items[i].name);
        if (!name) {
            status = SC_ENOMEM;
            break;
        }
        free(from->items[i].name);
        from->items[i].name = name;
        sc_tensor x = from->items[i];
        from->items[i] = (sc_tensor){0};
        status = sc_tensor_set_add(&d->set, &x);
        if (status != SC_OK)
            sc_tensor_free(&x);
    }
    sc_tensor_set_free(from);
    return status;
}

static sc_status add_parameters(sc_trainer *t, const char *prefix, sc_step_dump *d)
{
    sc_tensor_set set = {0};
    SC_TRY(sc_params_export(t->params, &set));
    return add_set(d, prefix, &set);
}

/* The rows of all ranks one behind the other, on every rank. */
static sc_status gather(const sc_trainer *t, const void *mine, size_t row_bytes, int64_t rows,
                        void *all)
{
    int64_t *counts = sc_alloc((size_t)t->comm->size, sizeof *counts);
    if (!counts)
        return SC_ENOMEM;
    sc_split_rows(rows, t->comm->size, counts);
    for (int r = 0; r < t->comm->size; r++)
        counts[r] *= (int64_t)row_bytes;
    sc_status status = t->comm->all_gather(t->comm, mine, all, counts, SC_U8);
    free(counts);
    return status;
}

/* ---- draws: one array a field ------------------------------------------------------------------
 */

static sc_status add_draws(const sc_augment *draws, int64_t n, sc_step_dump *d)
{
    static const struct {
        const char *name;
        size_t offset, bytes;
        sc_dtype dtype;
        int columns;
    } fields[] = {
#define ROW(field, dtype, columns) \
    {"draw." #field, offsetof(sc_augment, field), sizeof(((sc_augment *)0)->field), dtype, columns}
        ROW(crop_top, SC_I32, 0),    ROW(crop_left, SC_I32, 0),  ROW(flip_h, SC_U8, 0),
        ROW(flip_v, SC_U8, 0),       ROW(jitter, SC_U8, 0),      ROW(rotate, SC_U8, 0),
        ROW(jitter_order, SC_U8, 4), ROW(brightness, SC_F32, 0), ROW(contrast, SC_F32, 0),
        ROW(saturation, SC_F32, 0),  ROW(hue, SC_F32, 0),        ROW(angle, SC_F32, 0),
        ROW(rotate_fix, SC_I32, 6),  ROW(erase_top, SC_I32, 0),  ROW(erase_left, SC_I32, 0),
        ROW(erase_h, SC_I32, 0),     ROW(erase_w, SC_I32, 0),
#undef ROW
    };
    for (size_t f = 0; f < sizeof fields / sizeof fields[0]; f++) {
        sc_shape shape = fields[f].columns ? SC_SHAPE(n, fields[f].columns) : SC_SHAPE(n);
        char *to = add(d, fields[f].name, fields[f].dtype, shape);
        if (!to)
            return SC_ENOMEM;
        for (int64_t i = 0; i < n; i++)
            memcpy(to + (size_t)i * fields[f].bytes, (const char *)&draws[i] + fields[f].offset,
                   fields[f].bytes);
    }
    return SC_OK;
}

/* ---- pixels: the normalised input, back through the table ---------------------------------------
 */

/* Every byte has its own value in the table and neighbours stand further apart than bf16 rounds, so
 * the nearest entry is the byte. Erased pixels hold 0, which no byte maps to: they become byte 0.
 */
static uint8_t byte_of(const float table[256], double v)
{
    int low = 0, high = 255;
    if (v == 0)
        return 0;
    while (high - low > 1) {
        int mid = (low + high) / 2;
        if (table[mid] <= v)
            low = mid;
        else
            high = mid;
    }
    return (uint8_t)(v - (double)table[low] <= (double)table[high] - v ? low : high);
}

/* x [n,3,S,S] -> bytes [n,S,S,3] */
static void pixels_of(const double *x, int64_t n, int64_t size, uint8_t *out)
{
    float table[3][256];
    sc_normalize_table(table);
    int64_t plane = size * size;
    for (int64_t i = 0; i < n; i++)
        for (int c = 0; c < 3; c++)
            for (int64_t k = 0; k < plane; k++)
                out[(i * plane + k) * 3 + c] = byte_of(table[c], x[(i * 3 + c) * plane + k]);
}

static sc_status add_pixels(sc_trainer *t, sc_program *p, const sc_batch *b, sc_step_dump *d)
{
    int64_t s = t->o->img_size, values = 3 * s * s;
    double *x = sc_alloc((size_t)(b->rows * values), sizeof *x);
    uint8_t *mine = sc_alloc((size_t)(b->rows * values), 1);
    uint8_t *all = add(d, "pixels", SC_U8, SC_SHAPE(b->rows_global, s, s, 3));
    sc_status status = x && mine && all ? SC_OK : SC_ENOMEM;
    if (status == SC_OK)
        status = sc_trainer_read(t, p, "augmented", x, b->rows * values);
    if (status == SC_OK) {
        pixels_of(x, b->rows, s, mine);
        status = gather(t, mine, (size_t)values, b->rows_global, all);
    }
    free(x);
    free(mine);
    return status;
}

/* ---- the three moments of a step
 * ------------------------------------------------------------------ */

static sc_status add_inputs(sc_trainer *t, const sc_batch *b, sc_step_dump *d)
{
    int64_t n = b->rows_global, texts = t->texts.texts;
    SC_TRY(add_copy(d, "samples", SC_I64, SC_SHAPE(n), b->samples));
    SC_TRY(add_copy(d, "labels", SC_I32, SC_SHAPE(n), b->labels));
    SC_TRY(add_copy(d, "tokens", SC_I32, SC_SHAPE(texts, t->texts.length), t->texts.tokens));
    SC_TRY(add_copy(d, "text_end", SC_I32, SC_SHAPE(texts), t->texts.end));
    SC_TRY(add_copy(d, "text_class", SC_I32, SC_SHAPE(texts), t->texts.group));
    SC_TRY(add_copy(d, "class_weights", SC_F64, SC_SHAPE(t->classes), t->class_weights));
    double lr = sc_trainer_lr(t->o, t->state.epoch);
    SC_TRY(add_copy(d, "lr", SC_F64, (sc_shape){0}, &lr));
    sc_augment *draws = sc_alloc((size_t)n, sizeof *draws);
    if (!draws)
        return SC_ENOMEM;
    sc_status status = gather(t, b->draws, sizeof *draws, n, draws);
    if (status == SC_OK)
        status = add_draws(draws, n, d);
    free(draws);
    return status;
}

sc_status sc_step_dump_begin(sc_trainer *t, const sc_batch *b, sc_step_dump **out)
{
    sc_step_dump *d = *out = sc_alloc(1, sizeof *d);
    if (!d)
        return SC_ENOMEM;
    SC_TRY(add_inputs(t, b, d));
    if (t->dumped > 0)
        return SC_OK; /* the step before left its `updated` parameters */
    SC_TRY(add_parameters(t, "param", d));
    if (sc_params_step(t->params) == 0)
        return SC_OK;
    sc_tensor_set m = {0}, v = {0};
    SC_TRY(sc_params_export_moments(t->params, &m, &v));
    sc_status status = add_set(d, "exp_avg", &m);
    if (status == SC_OK)
        return add_set(d, "exp_avg_sq", &v);
    sc_tensor_set_free(&v);
    return status;
}

static sc_status add_output(sc_trainer *t, sc_program *p, const char *name, sc_shape shape,
                            sc_step_dump *d)
{
    double *to = add(d, name, SC_F64, shape);
    return to ? sc_trainer_read(t, p, name, to, sc_shape_count(&shape)) : SC_ENOMEM;
}

sc_status sc_step_dump_gradients(sc_trainer *t, sc_program *p, const sc_batch *b, sc_step_dump *d)
{
    int64_t n = b->rows_global, dim = t->spec.embed_dim;
    SC_TRY(add_pixels(t, p, b, d));
    SC_TRY(add_output(t, p, "image_features", SC_SHAPE(n, dim), d));
    SC_TRY(add_output(t, p, "class_features", SC_SHAPE(t->classes, dim), d));
    SC_TRY(add_output(t, p, "logits", SC_SHAPE(n, t->classes), d));
    SC_TRY(add_output(t, p, "losses", SC_SHAPE(3), d));
    sc_tensor_set grads = {0};
    SC_TRY(sc_params_export_gradients(t->params, &grads));
    return add_set(d, "grad", &grads);
}

/* ---- metadata: what the numbers mean -----------------------------------------------------------
 */

static const char *precision_name(sc_precision_mode p)
{
    return p == SC_FP64 ? "fp64" : p == SC_BF16_MIXED ? "bf16" : "fp32";
}

/* One JSON object under the key "step"; safetensors allows texts only. */
static sc_status describe(const sc_trainer *t, const sc_batch *b, sc_json_writer *w)
{
    const sc_train_options *o = t->o;
    w->compact = true;
    sc_jw_object(w, NULL);
    sc_jw_string(w, "image_encoder", o->image_encoder);
    sc_jw_string(w, "text_encoder", o->text_encoder);
    sc_jw_string(w, "precision", precision_name(t->device->precision));
    sc_jw_int(w, "fold", o->fold);
    sc_jw_int(w, "epoch", t->state.epoch + 1);
    sc_jw_int(w, "step", t->state.step + 1);
    sc_jw_int(w, "updates", sc_params_step(t->params)); /* AdamW's, this one included */
    sc_jw_int(w, "img_size", o->img_size);
    sc_jw_int(w, "row_size",
              sc_dataset_row_size(o->dataset, o->augment ? SC_ROW_TRAIN : SC_ROW_EVAL));
    sc_jw_number(w, "weight_decay", o->weight_decay);
    sc_jw_number(w, "tau0", t->spec.loss.tau0);
    sc_jw_bool(w, "running_statistics", o->freeze_bn || o->freeze_image);
    sc_jw_bool(w, "superclip", o->loss.superclip);
    sc_jw_number(w, "class_weight", o->loss.class_weight);
    sc_jw_number(w, "contrastive_weight", o->loss.contrastive_weight);
    sc_jw_bool(w, "focal", o->loss.focal);
    sc_jw_number(w, "focal_alpha", o->loss.focal_alpha);
    sc_jw_number(w, "focal_gamma", o->loss.focal_gamma);
    sc_jw_bool(w, "multi_positive", o->loss.multi_positive);
    sc_jw_list(w, "paths");
    for (int64_t i = 0; i < b->rows_global; i++)
        sc_jw_string(w, NULL, sc_dataset_path(o->dataset, b->samples[i]));
    sc_jw_end(w);
    sc_jw_end(w);
    return sc_text_status(&w->text);
}

static sc_status save(const sc_trainer *t, const sc_batch *b, const sc_step_dump *d)
{
    sc_json_writer w;
    sc_jw_init(&w);
    char *path = sc_format("%s/step_%04d.safetensors", t->o->dump_dir, t->dumped + 1);
    sc_status status = path ? describe(t, b, &w) : SC_ENOMEM;
    if (status == SC_OK)
        status = sc_make_dirs(t->o->dump_dir);
    if (status == SC_OK) {
        const char *metadata[] = {"format", "pt", "step", w.text.data, NULL};
        status = sc_safetensors_save(path, &d->set, metadata);
    }
    sc_jw_free(&w);
    free(path);
    return status;
}

sc_status sc_step_dump_finish(sc_trainer *t, const sc_batch *b, sc_step_dump *d)
{
    SC_TRY(add_parameters(t, "updated", d));
    if (t->leader)
        SC_TRY(save(t, b, d));
    t->dumped++;
    return SC_OK;
}
