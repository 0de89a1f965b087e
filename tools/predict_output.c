/* A table that grows while images are predicted, or the CSV of the training, or JSON. */
#include <stdlib.h>
#include <string.h>

#include "predict_tool.h"
#include "superclip/json.h"

struct predict_output {
    const predict_options *o;
    const sc_image_list *list;
    const sc_checkpoint *first;
    const char *const *names;
    const int *labels; /* [list->count], -1: not known */
    int classes, top;
    bool any_label;
    int path_width, class_width;
    int *order; /* [classes]: scratch */
    sc_text csv;
    sc_json_writer json;
};

/* ---- the table
 * ------------------------------------------------------------------------------------- */

/* Columns of a terminal: Chinese characters take two. */
static int columns(const char *s)
{
    int n = 0;
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if ((c & 0xC0) == 0x80)
            continue;
        bool wide = (c >= 0xE3 && c <= 0xED) || (c == 0xEF && (unsigned char)s[1] >= 0xBC);
        n += wide ? 2 : 1;
    }
    return n;
}

static void put_cell(const char *s, int width)
{
    int pad = width - columns(s);
    printf("%s%*s", s, pad > 0 ? pad : 0, "");
}

static int by_falling(const predict_output *out, const double *p)
{
    /* a few of many classes: selection is enough */
    for (int c = 0; c < out->classes; c++)
        out->order[c] = c;
    for (int k = 0; k < out->top; k++) {
        int best = k;
        for (int c = k + 1; c < out->classes; c++)
            if (p[out->order[c]] > p[out->order[best]] ||
                (p[out->order[c]] == p[out->order[best]] && out->order[c] < out->order[best]))
                best = c;
        int swap = out->order[k];
        out->order[k] = out->order[best];
        out->order[best] = swap;
    }
    return out->order[0];
}

static void measure(predict_output *out)
{
    enum { WIDEST = 60 };
    out->path_width = columns("image");
    out->class_width = columns("class");
    for (size_t i = 0; i < out->list->count; i++) {
        int n = columns(out->list->items[i].path);
        if (n > out->path_width && n <= WIDEST)
            out->path_width = n;
    }
    for (int c = 0; c < out->classes; c++) {
        int n = columns(out->names[c]);
        if (n > out->class_width && n <= WIDEST)
            out->class_width = n;
    }
}

static void table_head(const predict_output *out)
{
    put_cell("image", out->path_width + 2);
    if (out->any_label)
        put_cell("folder", out->class_width + 2);
    put_cell("class", out->class_width + 2);
    printf("%9s%s\n", "certainty", out->top > 1 ? "  next" : "");
}

static void table_row(predict_output *out, int64_t item, const double *p)
{
    int best = by_falling(out, p), label = out->labels[item];
    put_cell(out->list->items[item].path, out->path_width + 2);
    if (out->any_label)
        put_cell(label < 0 ? "-" : out->names[label], out->class_width + 2);
    put_cell(out->names[best], out->class_width + 2);
    printf("%8.2f%%", 100 * p[best]);
    for (int k = 1; k < out->top; k++)
        printf("%s%s %.2f%%", k > 1 ? ", " : "  ", out->names[out->order[k]],
               100 * p[out->order[k]]);
    printf("\n");
}

/* ---- JSON
 * ------------------------------------------------------------------------------------------- */

static void json_head(predict_output *out)
{
    sc_json_writer *w = &out->json;
    sc_jw_object(w, NULL);
    sc_jw_list(w, "checkpoints");
    for (int i = 0; i < out->o->checkpoint_count; i++)
        sc_jw_string(w, NULL, out->o->checkpoints[i]);
    sc_jw_end(w);
    sc_jw_list(w, "class_names");
    for (int c = 0; c < out->classes; c++)
        sc_jw_string(w, NULL, out->names[c]);
    sc_jw_end(w);
    sc_jw_list(w, "images");
}

static void json_row(predict_output *out, int64_t item, const double *p)
{
    sc_json_writer *w = &out->json;
    int best = by_falling(out, p), label = out->labels[item];
    sc_jw_object(w, NULL);
    sc_jw_string(w, "path", out->list->items[item].path);
    sc_jw_string(w, "label", label < 0 ? NULL : out->names[label]);
    sc_jw_string(w, "predicted", out->names[best]);
    sc_jw_object(w, "probabilities");
    for (int k = 0; k < (out->o->top ? out->top : out->classes); k++) {
        int c = out->o->top ? out->order[k] : k;
        sc_jw_number(w, out->names[c], p[c]);
    }
    sc_jw_end(w);
    sc_jw_end(w);
}

static void json_tail(predict_output *out, const predict_figures *f, const predict_bad *bad,
                      int64_t bad_count)
{
    sc_json_writer *w = &out->json;
    sc_jw_end(w);
    sc_jw_list(w, "unreadable");
    for (int64_t i = 0; i < bad_count; i++) {
        sc_jw_object(w, NULL);
        sc_jw_string(w, "path", out->list->items[bad[i].item].path);
        sc_jw_string(w, "reason", bad[i].reason);
        sc_jw_end(w);
    }
    sc_jw_end(w);
    if (f->labelled) {
        sc_jw_object(w, "figures");
        sc_jw_int(w, "images", f->labelled);
        sc_jw_int(w, "correct", f->correct);
        sc_jw_number(w, "acc", f->metrics.acc);
        sc_jw_number(w, "mAP", f->metrics.mAP);
        sc_jw_number(w, "precision", f->metrics.precision);
        sc_jw_number(w, "recall", f->metrics.recall);
        sc_jw_number(w, "f1", f->metrics.f1);
        sc_jw_end(w);
    } else {
        sc_jw_null(w, "figures");
    }
    sc_jw_end(w);
    sc_text_puts(&w->text, "\n");
}

/* ---- all of them
 * --------------------------------------------------------------------------------- */

sc_status predict_output_open(const predict_options *o, const sc_image_list *list,
                              sc_checkpoint *const *checkpoints, const int *labels,
                              predict_output **result)
{
    predict_output *out = *result = sc_alloc(1, sizeof *out);
    if (!out)
        return SC_ENOMEM;
    int top = o->top ? o->top : 3;
    out->o = o;
    out->list = list;
    out->first = checkpoints[0];
    out->names = (const char *const *)out->first->class_names;
    out->labels = labels;
    out->classes = out->first->classes;
    out->top = top < out->classes ? top : out->classes;
    out->order = sc_alloc((size_t)out->classes, sizeof *out->order);
    if (!out->order)
        return SC_ENOMEM;
    sc_text_init(&out->csv);
    sc_jw_init(&out->json);
    for (size_t i = 0; i < list->count; i++)
        out->any_label |= labels[i] >= 0;
    if (o->csv)
        sc_predictions_head(out->names, out->classes, &out->csv);
    if (o->json)
        json_head(out);
    if (!o->csv && !o->json) {
        measure(out);
        table_head(out);
    }
    return SC_OK;
}

void predict_output_row(predict_output *out, int64_t item, const double *p)
{
    const predict_options *o = out->o;
    if (o->csv) {
        sc_predictions_row(out->names, out->classes, out->list->items[item].path, out->labels[item],
                           p, &out->csv);
        if (!o->csv_file && !out->csv.failed) {
            fwrite(out->csv.data, 1, out->csv.len, stdout);
            sc_text_clear(&out->csv);
        }
    }
    if (o->json)
        json_row(out, item, p);
    if (!o->csv && !o->json)
        table_row(out, item, p);
}

static void print_figures(FILE *to, const predict_figures *f)
{
    fprintf(to, "%lld image%s", (long long)f->images, f->images == 1 ? "" : "s");
    if (f->labelled)
        fprintf(to,
                "; of %lld in a folder named as a class %lld right: accuracy %.2f%%, mAP %.2f%%, "
                "precision %.2f%%, recall %.2f%%, F1 %.2f%%",
                (long long)f->labelled, (long long)f->correct, f->metrics.acc, f->metrics.mAP,
                f->metrics.precision, f->metrics.recall, f->metrics.f1);
    if (f->unreadable)
        fprintf(to, "; %lld could not be read", (long long)f->unreadable);
    fprintf(to, "\n");
}

static sc_status give(const sc_text *text, bool wanted, const char *file)
{
    if (!wanted)
        return SC_OK;
    SC_TRY(sc_text_status(text));
    if (file)
        return sc_write_file(file, text->data, text->len);
    fwrite(text->data, 1, text->len, stdout);
    return SC_OK;
}

sc_status predict_output_finish(predict_output *out, const predict_figures *f,
                                const predict_bad *bad, int64_t bad_count)
{
    const predict_options *o = out->o;
    bool data_on_stdout = (o->csv && !o->csv_file) || (o->json && !o->json_file);
    if (o->json)
        json_tail(out, f, bad, bad_count);
    SC_TRY(give(&out->csv, o->csv, o->csv_file));
    SC_TRY(give(&out->json.text, o->json, o->json_file));
    if (fflush(stdout) != 0 || ferror(stdout))
        return sc_fail(SC_EIO, "standard output cannot be written");
    print_figures(data_on_stdout ? stderr : stdout, f);
    return SC_OK;
}

void predict_output_free(predict_output *out)
{
    if (!out)
        return;
    free(out->order);
    sc_text_free(&out->csv);
    sc_jw_free(&out->json);
    free(out);
}
