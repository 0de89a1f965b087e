#include "tiny_model.h"

#include <stdlib.h>
#include <string.h>

tiny_options tiny_defaults(void)
{
    tiny_options o = {.loss = {.superclip = true,
                               .class_weight = 0.7,
                               .contrastive_weight = 1.3,
                               .focal_alpha = 0.25,
                               .focal_gamma = 2,
                               .tau0 = 0.2}};
    return o;
}

static sc_value image_tower(sc_graph *g, const tiny_options *o)
{
    bool train = !o->freeze_image;
    sc_value rows =
        sc_input(g, "images", SC_BYTES, SC_ROWS_LOCAL, SC_SHAPE(-1, TINY_ROW, TINY_ROW, 3));
    sc_value draws =
        sc_input(g, "draws", SC_BYTES, SC_ROWS_LOCAL, SC_SHAPE(-1, (int64_t)sizeof(sc_augment)));
    sc_value x = sc_augment_images(g, rows, draws, TINY_CROP);
    sc_output(g, "augmented", x);
    sc_batch_norm_options bn = {
        .relu = true, .running = o->running, .residual = {-1}, .eps = 1e-5, .momentum = 0.1};
    x = sc_conv2d(g, x, sc_weight(g, "image.0.weight", SC_SHAPE(4, 3, 3, 3), SC_NORMAL(0.3), train),
                  (sc_param){-1}, 1, 1);
    x = sc_batch_norm(g, x, sc_batch_norm_declare(g, "image.1", 4, train), bn);
    x = sc_max_pool(g, x, 3, 2, 1);
    sc_value y =
        sc_conv2d(g, x, sc_weight(g, "image.2.weight", SC_SHAPE(4, 4, 3, 3), SC_NORMAL(0.3), train),
                  (sc_param){-1}, 1, 1);
    bn.residual = x;
    x = sc_batch_norm(g, y, sc_batch_norm_declare(g, "image.3", 4, train), bn);
    x = sc_avg_pool(g, x);
    x = sc_linear(
        g, x,
        sc_weight(g, "image.projection.weight", SC_SHAPE(TINY_EMBED, 4), SC_UNIFORM(0.5), true),
        sc_weight(g, "image.projection.bias", SC_SHAPE(TINY_EMBED), SC_UNIFORM(0.5), true),
        (sc_linear_options){.exact = true});
    if (o->twice) {
        x = sc_add(g, x, sc_l2_normalize(g, x));
        x = sc_add(g, x, x);
    }
    x = sc_l2_normalize(g, x);
    return sc_all_gather(g, x);
}

static sc_param matrix(sc_graph *g, const char *name, int64_t out, int64_t in, bool train)
{
    return sc_weight(g, name, SC_SHAPE(out, in), SC_NORMAL(0.4), train);
}

static sc_param vector(sc_graph *g, const char *name, int64_t n, bool train)
{
    return sc_weight(g, name, SC_SHAPE(n), SC_UNIFORM(1), train);
}

static sc_value text_block(sc_graph *g, sc_value x, bool train)
{
    enum { W = TINY_WIDTH };
    sc_value y = sc_layer_norm(g, x, vector(g, "text.ln_1.weight", W, train),
                               vector(g, "text.ln_1.bias", W, train), 1e-5);
    y = sc_linear(g, y, matrix(g, "text.in.weight", 3 * W, W, train),
                  vector(g, "text.in.bias", 3 * W, train), (sc_linear_options){0});
    y = sc_attention(g, y, 2);
    y = sc_linear(g, y, matrix(g, "text.out.weight", W, W, train),
                  vector(g, "text.out.bias", W, train), (sc_linear_options){.exact = true});
    x = sc_add(g, x, y);
    y = sc_layer_norm(g, x, vector(g, "text.ln_2.weight", W, train),
                      vector(g, "text.ln_2.bias", W, train), 1e-5);
    y = sc_linear(g, y, matrix(g, "text.fc.weight", 2 * W, W, train),
                  vector(g, "text.fc.bias", 2 * W, train),
                  (sc_linear_options){.activation = SC_QUICK_GELU});
    y = sc_linear(g, y, matrix(g, "text.proj.weight", W, 2 * W, train),
                  vector(g, "text.proj.bias", W, train), (sc_linear_options){.exact = true});
    return sc_add(g, x, y);
}

static sc_value text_tower(sc_graph *g, const tiny_options *o)
{
    bool train = !o->freeze_text;
    sc_value tokens =
        sc_input(g, "tokens", SC_INT32, SC_ROWS_FIXED, SC_SHAPE(TINY_TEXTS, TINY_LENGTH));
    sc_value end = sc_input(g, "text_end", SC_INT32, SC_ROWS_FIXED, SC_SHAPE(TINY_TEXTS));
    sc_value class = sc_input(g, "text_class", SC_INT32, SC_ROWS_FIXED, SC_SHAPE(TINY_TEXTS));
    sc_value x = sc_embed(
        g, tokens, (sc_value){-1}, matrix(g, "text.table", TINY_VOCABULARY, TINY_WIDTH, train),
        matrix(g, "text.positions", TINY_LENGTH + 2, TINY_WIDTH, train), (sc_param){-1});
    x = text_block(g, x, train);
    x = sc_layer_norm(g, x, vector(g, "text.ln_final.weight", TINY_WIDTH, train),
                      vector(g, "text.ln_final.bias", TINY_WIDTH, train), 1e-5);
    x = sc_select_row(g, x, end);
    x = sc_linear(g, x, matrix(g, "text.projection", TINY_WIDTH, TINY_EMBED, true), (sc_param){-1},
                  (sc_linear_options){.transposed = true, .exact = true});
    x = sc_group_mean(g, sc_l2_normalize(g, x), class, TINY_CLASSES);
    return sc_l2_normalize(g, x);
}

sc_graph *tiny_graph(const tiny_options *o)
{
    sc_graph *g = sc_graph_new();
    const sc_shape scalar = {0};
    sc_param temperature = sc_weight(g, "temperature", scalar, SC_CONSTANT(0.4), true);
    sc_value x = image_tower(g, o), t = text_tower(g, o);
    sc_value labels = sc_input(g, "labels", SC_INT32, SC_ROWS_GLOBAL, SC_SHAPE(-1));
    sc_value weights =
        sc_input(g, "class_weights", SC_EXACT, SC_ROWS_FIXED, SC_SHAPE(TINY_CLASSES));
    sc_loss_values loss = sc_superclip_loss(g, x, t, labels, weights, temperature, o->loss);
    sc_output(g, "losses", loss.losses);
    sc_output(g, "logits", loss.logits);
    sc_output_grad(g, "image_features", x);
    sc_output_grad(g, "class_features", t);
    sc_minimize(g, loss.losses);
    return g;
}

sc_status tiny_open(const tiny_options *o, const sc_comm *c, const int64_t *rows, bool local_bn,
                    tiny *out)
{
    const sc_device_options device = {.threads = 1, .precision = SC_FP64};
    *out = (tiny){0};
    SC_TRY(sc_backend_ref()->open(&device, &out->device));
    out->graph = tiny_graph(o);
    SC_TRY(sc_params_create(out->device, out->graph, &out->params));
    SC_TRY(sc_params_init(out->params, 7));
    const sc_program_desc desc = {out->graph, rows[c->rank], rows, true, local_bn};
    return sc_programs_compile(out->device, out->params, c, &desc, 1, &out->program);
}

void tiny_close(tiny *t)
{
    sc_program_free(t->program);
    sc_params_free(t->params);
    sc_graph_free(t->graph);
    if (t->device != NULL)
        t->device->backend->close(t->device);
}

/* Word k of a stream of its own for every batch. */
static uint32_t word(int batch, uint32_t k)
{
    const uint32_t key[2] = {99, (uint32_t)batch}, counter[4] = {k};
    uint32_t out[4];
    sc_philox4x32(key, counter, out);
    return out[0];
}

static void make_row(int batch, int64_t row, uint8_t *pixels, sc_augment *draw)
{
    uint32_t base = (uint32_t)row * 1000 + 100;
    for (uint32_t k = 0; k < 3 * TINY_ROW * TINY_ROW; k++)
        pixels[k] = (uint8_t)(word(batch, base + k) >> 24);
    *draw = (sc_augment){.crop_top = (int32_t)(word(batch, base + 900) % 2),
                         .crop_left = (int32_t)(word(batch, base + 901) % 2),
                         .flip_h = (uint8_t)(word(batch, base + 902) % 2),
                         .jitter = 1,
                         .jitter_order = {2, 0, 3, 1},
                         .brightness = 1.1f,
                         .contrast = 0.9f,
                         .saturation = 1.05f,
                         .hue = 0.03f};
}

static sc_status write_images(tiny *t, int64_t first, int64_t rows, int batch)
{
    enum { PIXELS = 3 * TINY_ROW * TINY_ROW };
    uint8_t *pixels = sc_alloc((size_t)rows, PIXELS);
    sc_augment *draws = sc_alloc((size_t)rows, sizeof *draws);
    sc_status status = SC_ENOMEM;
    if (pixels == NULL || draws == NULL)
        goto done;
    for (int64_t r = 0; r < rows; r++)
        make_row(batch, first + r, pixels + r * PIXELS, &draws[r]);
    SC_TRY_GOTO(sc_program_write(t->program, "images", pixels));
    SC_TRY_GOTO(sc_program_write(t->program, "draws", draws));
done:
    free(pixels);
    free(draws);
    return status;
}

sc_status tiny_write(tiny *t, const sc_comm *c, const int64_t *rows, int batch)
{
    static const int32_t tokens[TINY_TEXTS][TINY_LENGTH] = {
        {9, 1, 2, 10, 0}, {9, 3, 10, 0, 0}, {9, 1, 4, 5, 10}, {9, 3, 6, 10, 0}};
    static const int32_t end[TINY_TEXTS] = {3, 2, 4, 3}, class[TINY_TEXTS] = {0, 1, 2, 1};
    static const double weights[TINY_CLASSES] = {0.5, 1.5, 1};
    int32_t labels[64];
    int64_t first = 0, global = 0;
    for (int r = 0; r < c->size; r++) {
        first += r < c->rank ? rows[r] : 0;
        global += rows[r];
    }
    for (int64_t i = 0; i < global && i < 64; i++)
        labels[i] = (int32_t)(word(batch, (uint32_t)i) % TINY_CLASSES);
    SC_TRY(write_images(t, first, rows[c->rank], batch));
    SC_TRY(sc_program_write(t->program, "tokens", tokens));
    SC_TRY(sc_program_write(t->program, "text_end", end));
    SC_TRY(sc_program_write(t->program, "text_class", class));
    SC_TRY(sc_program_write(t->program, "labels", labels));
    return sc_program_write(t->program, "class_weights", weights);
}

sc_status tiny_gradients(tiny *t, double *loss)
{
    double losses[3];
    SC_TRY(sc_program_forward(t->program));
    SC_TRY(sc_program_backward(t->program));
    SC_TRY(sc_program_reduce(t->program));
    SC_TRY(sc_program_read(t->program, "losses", losses));
    *loss = losses[0];
    return SC_OK;
}
