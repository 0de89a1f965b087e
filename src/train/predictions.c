/* val_predictions.csv: path, label, predicted, one probability a class. */
#include <stdlib.h>
#include <string.h>

#include "trainer.h"

/* RFC 4180: quotes around what holds a quote, a comma or a line break; inner quotes doubled. */
static void put_field(sc_text *csv, const char *prefix, const char *s)
{
    bool quote = strpbrk(s, "\",\r\n") != NULL;
    if (quote)
        sc_text_puts(csv, "\"");
    sc_text_puts(csv, prefix);
    for (; *s; s++) {
        if (*s == '"')
            sc_text_puts(csv, "\"");
        sc_text_add(csv, s, 1);
    }
    if (quote)
        sc_text_puts(csv, "\"");
}

int sc_best_class(const double *p, int classes)
{
    int best = 0;
    for (int c = 1; c < classes; c++)
        if (p[c] > p[best])
            best = c;
    return best;
}

void sc_predictions_head(const char *const *class_names, int classes, sc_text *csv)
{
    sc_text_puts(csv, "path,label,predicted");
    for (int c = 0; c < classes; c++) {
        sc_text_puts(csv, ",");
        put_field(csv, "prob_", class_names[c]);
    }
    sc_text_puts(csv, "\n");
}

void sc_predictions_row(const char *const *class_names, int classes, const char *path, int label,
                        const double *p, sc_text *csv)
{
    put_field(csv, "", path);
    sc_text_puts(csv, ",");
    put_field(csv, "", label >= 0 ? class_names[label] : "");
    sc_text_puts(csv, ",");
    put_field(csv, "", class_names[sc_best_class(p, classes)]);
    for (int c = 0; c < classes; c++)
        sc_text_putf(csv, ",%.9g", p[c]);
    sc_text_puts(csv, "\n");
}

sc_status sc_trainer_save_predictions(const sc_trainer *t)
{
    sc_text csv;
    sc_text_init(&csv);
    const char *const *names = sc_dataset_class_names(t->o->dataset);
    sc_predictions_head(names, t->classes, &csv);
    for (int64_t i = 0; i < t->o->split->val_count; i++)
        sc_predictions_row(names, t->classes, sc_dataset_path(t->o->dataset, t->o->split->val[i]),
                           t->val_labels[i], t->probabilities + i * t->classes, &csv);
    char *path = sc_path_join(t->o->dir, "val_predictions.csv");
    sc_status status = path ? sc_text_status(&csv) : SC_ENOMEM;
    if (status == SC_OK)
        status = sc_write_file(path, csv.data, csv.len);
    free(path);
    sc_text_free(&csv);
    return status;
}
