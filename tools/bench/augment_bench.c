/* augment_bench [SIZE [SECONDS]]: milliseconds an image for the standard augmentation (crop from
 * 1.1 SIZE, flips, all four jitters, rotation, erasing one in ten, normalisation) on one core of
 * the CPU backend, fp32 and bf16; processor time, so a busy machine may be used.
 */
#include "superclip/backend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { IMAGES = 32 };

static double processor_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static sc_augment draw(uint32_t n, int side, int crop)
{
    const uint32_t key[2] = {1, 3};
    uint32_t w[12];
    for (uint32_t i = 0; i < 3; i++) {
        const uint32_t counter[4] = {0, n, i, 0};
        sc_philox4x32(key, counter, w + 4 * i);
    }
    sc_augment a = {.flip_h = w[2] & 1, .flip_v = w[3] & 1, .jitter = 1, .rotate = 1};
    a.crop_top = (int32_t)sc_below24(w[0], (uint32_t)(side - crop + 1));
    a.crop_left = (int32_t)sc_below24(w[1], (uint32_t)(side - crop + 1));
    for (uint8_t i = 0; i < 4; i++)
        a.jitter_order[i] = (uint8_t)((i + w[4]) % 4);
    a.brightness = 0.8f + 0.4f * sc_uniform24(w[5]);
    a.contrast = 0.8f + 0.4f * sc_uniform24(w[6]);
    a.saturation = 0.8f + 0.4f * sc_uniform24(w[7]);
    a.hue = 0.2f * sc_uniform24(w[8]) - 0.1f;
    double t = (30 * (double)sc_uniform24(w[9]) - 15) * 3.141592653589793 / 180, h = crop / 2.0;
    const double c = cos(t), s = sin(t);
    const double f[6] = {c, -s, h - c * h + s * h + (c - s) / 2,
                         s, c,  h - s * h - c * h + (c + s) / 2};
    for (int i = 0; i < 6; i++)
        a.rotate_fix[i] = (int32_t)floor(f[i] * 65536 + 0.5);
    if (w[10] % 10 == 0) {
        a.erase_h = a.erase_w = crop / 3;
        a.erase_top = a.erase_left = crop / 4;
    }
    return a;
}

static sc_status bench(sc_precision_mode precision, int crop, double seconds)
{
    static const int64_t rows = IMAGES;
    const int side = (int)(1.1 * crop);
    const sc_backend *b = sc_backend_cpu();
    const sc_device_options o = {1, precision, NULL};
    sc_device *d;
    SC_TRY(b->open(&o, &d));
    sc_comm *alone = sc_comm_single();
    sc_op_node n = {.op = SC_OP_AUGMENT,
                    .n_in = 2,
                    .n_out = 1,
                    .precision = d->precision,
                    .comm = alone,
                    .rows = &rows,
                    .rows_global = rows,
                    .training = true};
    n.attrs.crop = crop;
    n.in[0].desc = (sc_value_desc){SC_BYTES, {4, {IMAGES, side, side, 3}}};
    n.in[1].desc = (sc_value_desc){SC_BYTES, {2, {IMAGES, (int64_t)sizeof(sc_augment)}}};
    n.out[0].desc = (sc_value_desc){SC_COMPUTE, {4, {IMAGES, 3, crop, crop}}};
    size_t saved, scratch;
    void *state = NULL;
    SC_TRY(b->alloc(d, b->value_bytes(d, &n.in[0].desc), &n.in[0].data));
    SC_TRY(b->alloc(d, b->value_bytes(d, &n.in[1].desc), &n.in[1].data));
    SC_TRY(b->alloc(d, b->value_bytes(d, &n.out[0].desc), &n.out[0].data));
    SC_TRY(b->node_memory(d, &n, &saved, &scratch));
    SC_TRY(b->alloc(d, scratch, &n.scratch));
    SC_TRY(b->prepare(d, &n, &state));
    uint32_t noise = 1;
    for (int64_t i = 0; i < rows * side * side * 3; i++)
        ((uint8_t *)n.in[0].data)[i] = (uint8_t)((noise = noise * 1664525u + 1013904223u) >> 24);
    for (uint32_t i = 0; i < IMAGES; i++)
        ((sc_augment *)n.in[1].data)[i] = draw(i, side, crop);
    SC_TRY(b->forward(d, &n, state));
    double best = INFINITY, stop = sc_now() + seconds;
    do {
        double t = processor_seconds();
        SC_TRY(b->forward(d, &n, state));
        best = fmin(best, (processor_seconds() - t) / IMAGES);
    } while (sc_now() < stop);
    printf("augment %d -> %d, %s: %.3f ms an image (%s)\n", side, crop,
           d->precision == SC_FP32 ? "fp32" : "bf16", best * 1e3, d->description);
    b->release(d, state);
    for (int i = 0; i < 2; i++)
        b->free(d, n.in[i].data);
    b->free(d, n.out[0].data);
    b->free(d, n.scratch);
    b->close(d);
    alone->free(alone);
    return SC_OK;
}

int main(int argc, char **argv)
{
    int crop = argc > 1 ? atoi(argv[1]) : 224;
    double seconds = argc > 2 ? atof(argv[2]) : 2;
    if (crop < 8 || crop > 4096 || !(seconds > 0)) {
        fprintf(stderr, "usage: augment_bench [SIZE [SECONDS]]\n");
        return 1;
    }
    sc_status status = bench(SC_FP32, crop, seconds);
    if (status == SC_OK)
        status = bench(SC_BF16_MIXED, crop, seconds);
    if (status != SC_OK)
        fprintf(stderr, "augment_bench: %s\n", sc_message());
    return status != SC_OK;
}
