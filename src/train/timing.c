/* timing.json: the only file of a job that holds times, so that all others are the same bytes
 * whenever and wherever they are made. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "trainer.h"

/* One row a key of the file. */
static const struct {
    const char *key;
    size_t offset;
} keys[] = {
    {"train_seconds", offsetof(sc_epoch_timing, train_seconds)},
    {"val_seconds", offsetof(sc_epoch_timing, val_seconds)},
    {"images_per_second", offsetof(sc_epoch_timing, images_per_second)},
    {"step_ms_median", offsetof(sc_epoch_timing, step_ms_median)},
    {"loader_wait_seconds", offsetof(sc_epoch_timing, loader_wait_seconds)},
};
enum { KEYS = sizeof keys / sizeof keys[0] };

static double *field(sc_epoch_timing *e, int k)
{
    return (double *)(void *)((char *)e + keys[k].offset);
}

static sc_status push(sc_timing *t, const sc_epoch_timing *e)
{
    if (t->count == t->cap) {
        int cap = t->cap ? 2 * t->cap : 16;
        sc_epoch_timing *p = sc_realloc(t->epochs, (size_t)cap, sizeof *p);
        if (!p)
            return SC_ENOMEM;
        t->epochs = p;
        t->cap = cap;
    }
    t->epochs[t->count++] = *e;
    return SC_OK;
}

sc_status sc_timing_resume(sc_timing *t, const char *dir, int epochs)
{
    const sc_epoch_timing none = {0};
    while (t->count < epochs)
        SC_TRY(push(t, &none));
    char *path = sc_path_join(dir, "timing.json");
    if (!path)
        return SC_ENOMEM;
    sc_json_doc *doc = NULL;
    /* Lost times are no reason not to train on. */
    if (sc_file_exists(path) && sc_json_read_file(path, &doc) == SC_OK)
        for (int k = 0; k < KEYS; k++) {
            const sc_json *list = sc_json_get(sc_json_root(doc), keys[k].key);
            const sc_json *v = list ? sc_json_first(list) : NULL;
            for (int e = 0; e < epochs && v; e++, v = sc_json_next(v))
                if (sc_json_type_of(v) == SC_JSON_NUMBER)
                    *field(&t->epochs[e], k) = sc_json_number(v);
        }
    sc_json_free(doc);
    free(path);
    return SC_OK;
}

void sc_timing_step(sc_timing *t, double seconds)
{
    if (t->steps < t->steps_cap)
        t->step_ms[t->steps++] = 1e3 * seconds;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

sc_status sc_timing_epoch(sc_timing *t, const sc_epoch_timing *e)
{
    sc_epoch_timing entry = *e;
    int64_t n = t->steps;
    if (n > 0) {
        qsort(t->step_ms, (size_t)n, sizeof *t->step_ms, by_size);
        entry.step_ms_median = (t->step_ms[(n - 1) / 2] + t->step_ms[n / 2]) / 2;
    }
    t->steps = 0;
    return push(t, &entry);
}

sc_status sc_timing_save(const sc_timing *t, const char *dir)
{
    char *path = sc_path_join(dir, "timing.json");
    if (!path)
        return SC_ENOMEM;
    sc_json_writer w;
    sc_jw_init(&w);
    sc_jw_object(&w, NULL);
    for (int k = 0; k < KEYS; k++) {
        sc_jw_inline_list(&w, keys[k].key);
        for (int e = 0; e < t->count; e++)
            sc_jw_number(&w, NULL, round(*field(&t->epochs[e], k) * 1e6) / 1e6);
        sc_jw_end(&w);
    }
    sc_jw_end(&w);
    sc_status status = sc_jw_save(&w, path);
    sc_jw_free(&w);
    free(path);
    return status;
}

void sc_timing_free(sc_timing *t)
{
    free(t->epochs);
    free(t->step_ms);
    *t = (sc_timing){0};
}
