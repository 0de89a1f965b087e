/* sc_predict: class probabilities of images by one checkpoint, or by the mean of several. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "predict_tool.h"

typedef struct ensemble {
    sc_checkpoint **checkpoints;
    sc_classifier **classifiers;
    int *size_of; /* which of `sizes` a checkpoint eats */
    int *sizes, size_count, count;
    sc_device *devices[2]; /* fp32 (fp64 for ref), bf16 */
    const sc_backend *backend;
} ensemble;

typedef struct run {
    const predict_options *o;
    ensemble e;
    sc_image_list list;
    int *labels; /* [list.count] */
    sc_image_reader *reader;
    predict_output *out;
    int64_t batch;
    double *p, *one; /* [batch][classes]: the mean, one model's */
    double *known;   /* [labelled][classes], in order */
    int32_t *known_labels;
    predict_bad *bad;
    predict_figures figures;
    cli_progress progress;
    bool show;
} run;

static void write_log(void *ctx, sc_log_level level, const char *line)
{
    (void)ctx;
    if (level != SC_LOG_INFO)
        fprintf(stderr, "sc_predict: warning: %s\n", line);
}
static const sc_log log_warnings = {write_log, NULL};

/* ---- checkpoints
 * ------------------------------------------------------------------------------------ */

static sc_status open_checkpoint(const char *path, const predict_options *o, sc_checkpoint **out)
{
    sc_status status = sc_checkpoint_open(path, &o->hints, &log_warnings, out);
    if (status == SC_OK || cli_ends_with(path, ".pth") || cli_ends_with(path, ".pt"))
        return status;
    return sc_fail(status,
                   "%s; it was taken as a checkpoint, being neither a folder nor named as an "
                   "image (a list of images goes with --list)",
                   sc_message());
}

static void note_size(ensemble *e, int i)
{
    int size = e->checkpoints[i]->img_size, k = 0;
    while (k < e->size_count && e->sizes[k] != size)
        k++;
    e->sizes[k] = size;
    e->size_of[i] = k;
    if (k == e->size_count)
        e->size_count++;
}

static sc_status open_checkpoints(ensemble *e, const predict_options *o)
{
    size_t n = (size_t)o->checkpoint_count;
    e->checkpoints = sc_alloc(n, sizeof *e->checkpoints);
    e->classifiers = sc_alloc(n, sizeof *e->classifiers);
    e->sizes = sc_alloc(n, sizeof *e->sizes);
    e->size_of = sc_alloc(n, sizeof *e->size_of);
    if (!e->checkpoints || !e->classifiers || !e->sizes || !e->size_of)
        return SC_ENOMEM;
    for (; e->count < o->checkpoint_count; e->count++) {
        SC_TRY(open_checkpoint(o->checkpoints[e->count], o, &e->checkpoints[e->count]));
        note_size(e, e->count);
    }
    for (int i = 1; i < e->count; i++)
        SC_TRY(sc_checkpoint_same_classes(e->checkpoints[0], e->checkpoints[i]));
    return SC_OK;
}

/* The precision of the training, where the device has it. */
static bool wants_half(const ensemble *e, const predict_options *o, int i)
{
    return e->checkpoints[i]->use_amp && !o->no_amp && e->backend != sc_backend_ref();
}

static sc_status open_device(ensemble *e, const predict_options *o, bool half)
{
    const sc_device_options d = {.threads = o->threads,
                                 .precision = e->backend == sc_backend_ref() ? SC_FP64
                                              : half                         ? SC_BF16_MIXED
                                                                             : SC_FP32,
                                 .log = &log_warnings};
    return e->backend->open_nth ? e->backend->open_nth(&d, 0, &e->devices[half])
                                : e->backend->open(&d, &e->devices[half]);
}

/* By its name; auto is the first GPU where there is one. */
static sc_status choose_backend(ensemble *e, const predict_options *o)
{
    if (strcmp(o->backend, "cpu") == 0 || strcmp(o->backend, "ref") == 0) {
        e->backend = strcmp(o->backend, "ref") == 0 ? sc_backend_ref() : sc_backend_cpu();
        return SC_OK;
    }
    sc_status status = sc_backend_find_cuda(&e->backend);
    if (status == SC_OK)
        status = open_device(e, o, wants_half(e, o, 0));
    if (status == SC_OK)
        return SC_OK;
    if (strcmp(o->backend, "cuda") == 0)
        return sc_fail_prefix(status, "--backend cuda");
    e->backend = sc_backend_cpu();
    return status == SC_EUNSUPPORTED ? SC_OK : status;
}

static sc_status open_classifiers(ensemble *e, const predict_options *o, int64_t batch)
{
    for (int i = 0; i < e->count; i++) {
        bool half = wants_half(e, o, i);
        if (!e->devices[half])
            SC_TRY(open_device(e, o, half));
        SC_TRY(sc_classifier_open(e->checkpoints[i], e->devices[half], batch, &e->classifiers[i]));
    }
    return SC_OK;
}

static void close_ensemble(ensemble *e)
{
    for (int i = 0; i < e->count; i++) {
        sc_classifier_free(e->classifiers[i]);
        sc_checkpoint_close(e->checkpoints[i]);
    }
    for (int k = 0; k < 2; k++)
        if (e->devices[k])
            e->backend->close(e->devices[k]);
    free(e->checkpoints);
    free(e->classifiers);
    free(e->sizes);
    free(e->size_of);
}

/* ---- images
 * ----------------------------------------------------------------------------------------- */

static sc_status list_images(run *r)
{
    for (int i = 0; i < r->o->image_count; i++)
        SC_TRY(sc_image_list_add(&r->list, r->o->images[i], &log_warnings));
    if (r->o->list)
        SC_TRY(sc_image_list_add_lines(&r->list, r->o->list, r->o->root));
    const sc_checkpoint *c = r->e.checkpoints[0];
    r->labels = sc_alloc(r->list.count, sizeof *r->labels);
    if (!r->labels)
        return SC_ENOMEM;
    for (size_t i = 0; i < r->list.count; i++) {
        const char *folder = r->list.items[i].folder;
        r->labels[i] = -1;
        for (int k = 0; folder && k < c->classes; k++)
            if (strcmp(folder, c->class_names[k]) == 0)
                r->labels[i] = k;
        r->figures.labelled += r->labels[i] >= 0;
    }
    return SC_OK;
}

static sc_status open_reader(run *r)
{
    int64_t count = (int64_t)r->list.count;
    r->batch = r->o->batch ? r->o->batch : r->e.checkpoints[0]->batch_size;
    if (r->batch > count)
        r->batch = count;
    return sc_image_reader_open(&(sc_image_reader_options){.list = &r->list,
                                                           .sizes = r->e.sizes,
                                                           .size_count = r->e.size_count,
                                                           .batch = r->batch,
                                                           .threads = r->o->threads,
                                                           .decode = &r->o->decode},
                                &r->reader);
}

/* ---- predicting
 * ------------------------------------------------------------------------------------- */

static sc_status make_buffers(run *r)
{
    size_t rows = (size_t)r->batch, classes = (size_t)r->e.checkpoints[0]->classes;
    r->p = sc_alloc(rows * classes, sizeof *r->p);
    r->one = sc_alloc(rows * classes, sizeof *r->one);
    r->known = sc_alloc((size_t)r->figures.labelled * classes, sizeof *r->known);
    r->known_labels = sc_alloc((size_t)r->figures.labelled, sizeof *r->known_labels);
    r->bad = sc_alloc(r->list.count, sizeof *r->bad);
    r->figures.labelled = 0; /* counted again as they are read */
    return r->p && r->one && r->known && r->known_labels && r->bad ? SC_OK : SC_ENOMEM;
}

/* The mean of the models' probabilities, the same whatever their order is not: summed in the order
 * given. */
static sc_status mean_of(run *r, const sc_image_batch *b)
{
    int64_t n = b->count * r->e.checkpoints[0]->classes;
    for (int i = 0; i < r->e.count; i++) {
        double *to = i == 0 ? r->p : r->one;
        SC_TRY(sc_classifier_run(r->e.classifiers[i], b->rows[r->e.size_of[i]], b->count, to));
        for (int64_t k = 0; i > 0 && k < n; k++)
            r->p[k] += r->one[k];
    }
    for (int64_t k = 0; r->e.count > 1 && k < n; k++)
        r->p[k] /= r->e.count;
    return SC_OK;
}

static sc_status take_row(run *r, int64_t item, char *reason, const double *p)
{
    int classes = r->e.checkpoints[0]->classes;
    predict_figures *f = &r->figures;
    f->images++;
    if (reason) {
        r->bad[f->unreadable] = (predict_bad){item, sc_strdup(reason)};
        return r->bad[f->unreadable++].reason ? SC_OK : SC_ENOMEM;
    }
    for (int c = 0; c < classes; c++)
        if (!(p[c] >= 0))
            return sc_fail(SC_ENUMERIC, "%s: the model's probabilities are not finite",
                           r->list.items[item].path);
    if (r->labels[item] >= 0) {
        memcpy(r->known + f->labelled * classes, p, (size_t)classes * sizeof *p);
        r->known_labels[f->labelled++] = r->labels[item];
        f->correct += sc_best_class(p, classes) == r->labels[item];
    }
    predict_output_row(r->out, item, p);
    return SC_OK;
}

static sc_status predict(run *r)
{
    int classes = r->e.checkpoints[0]->classes;
    int64_t dark = 0;
    for (;;) {
        sc_image_batch b;
        SC_TRY(sc_image_reader_next(r->reader, &b));
        if (b.count == 0)
            break;
        SC_TRY(mean_of(r, &b));
        for (int64_t i = 0; i < b.count; i++)
            SC_TRY(take_row(r, b.first + i, b.reasons[i], r->p + i * classes));
        dark = b.dark;
        if (r->show)
            cli_progress_show(&r->progress, r->figures.images,
                              b.first + b.count == r->progress.total);
    }
    if (dark && !r->o->decode.window)
        sc_warn(&log_warnings,
                "%lld 16-bit grey images have no sample above 4095: are they 12-bit? With --window "
                "0,4095 black and white are theirs; give what the training was packed with",
                (long long)dark);
    return SC_OK;
}

static sc_status finish(run *r)
{
    predict_figures *f = &r->figures;
    SC_TRY(sc_eval_metrics_of(r->known, r->known_labels, f->labelled, r->e.checkpoints[0]->classes,
                              &f->metrics));
    SC_TRY(predict_output_finish(r->out, f, r->bad, f->unreadable));
    for (int64_t i = 0; i < f->unreadable; i++)
        fprintf(stderr, "sc_predict: bad: %s: %s\n", r->list.items[r->bad[i].item].path,
                r->bad[i].reason);
    return SC_OK;
}

static sc_status work(run *r, predict_options *o)
{
    bool rows_on_terminal = !o->csv && !o->json && isatty(STDOUT_FILENO);
    if (!o->threads)
        o->threads = sc_threads(sc_cores(false), 1);
    r->o = o;
    SC_TRY(open_checkpoints(&r->e, o));
    SC_TRY(choose_backend(&r->e, o));
    SC_TRY(list_images(r));
    SC_TRY(open_reader(r)); /* the first images are decoded while texts are encoded */
    SC_TRY(make_buffers(r));
    SC_TRY(open_classifiers(&r->e, o, r->batch));
    SC_TRY(predict_output_open(o, &r->list, r->e.checkpoints, r->labels, &r->out));
    cli_progress_begin(&r->progress, "Predicting", (int64_t)r->list.count, true);
    r->show = isatty(STDERR_FILENO) && !rows_on_terminal;
    SC_TRY(predict(r));
    return finish(r);
}

static void close_run(run *r)
{
    sc_image_reader_close(r->reader);
    predict_output_free(r->out);
    close_ensemble(&r->e);
    for (int64_t i = 0; i < r->figures.unreadable; i++)
        free(r->bad[i].reason);
    sc_image_list_free(&r->list);
    free(r->labels);
    free(r->p);
    free(r->one);
    free(r->known);
    free(r->known_labels);
    free(r->bad);
}

int main(int argc, char **argv)
{
    predict_options o;
    run r = {0};
    sc_status status = predict_options_parse(argc, argv, &o);
    if (status == SC_OK && o.request != PREDICT_RUN)
        fputs(o.request == PREDICT_HELP ? predict_help : "sc_predict " SC_VERSION "\n", stdout);
    else if (status == SC_OK)
        status = work(&r, &o);
    if (status != SC_OK)
        fprintf(stderr, "sc_predict: error: %s\n", sc_message());
    int64_t unreadable = r.figures.unreadable, images = r.figures.images;
    close_run(&r);
    predict_options_free(&o);
    return status != SC_OK || (images && unreadable == images) ? 1 : unreadable ? 2 : 0;
}
