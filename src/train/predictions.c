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

static void put_row(const sc_trainer *t, int64_t i, sc_text *csv)
{
    const char *const *names = sc_dataset_class_names(t->o->dataset);
    const double *p = t->probabilities + i * t->classes;
    int best = 0;
    for (int c = 1; c < t->classes; c++)
        if (p[c] > p[best])
            best = c;
    put_field(csv, "", sc_dataset_path(t->o->dataset, t->o->split->val[i]));
    sc_text_puts(csv, ",");
    put_field(csv, "", names[t->val_labels[i]]);
    sc_text_puts(csv, ",");
    put_field(csv, "", names[best]);
    for (int c = 0; c < t->classes; c++)
        sc_text_putf(csv, ",%.9g", p[c]);
    sc_text_puts(csv, "\n");
}

sc_status sc_trainer_save_predictions(const sc_trainer *t)
{
    sc_text csv;
    sc_text_init(&csv);
    sc_text_puts(&csv, "path,label,predicted");
    for (int c = 0; c < t->classes; c++) {
        sc_text_puts(&csv, ",");
        put_field(&csv, "prob_", sc_dataset_class_names(t->o->dataset)[c]);
    }
    sc_text_puts(&csv, "\n");
    for (int64_t i = 0; i < t->o->split->val_count; i++)
        put_row(t, i, &csv);
    char *path = sc_path_join(t->o->dir, "val_predictions.csv");
    sc_status status = path ? sc_text_status(&csv) : SC_ENOMEM;
    if (status == SC_OK)
        status = sc_write_file(path, csv.data, csv.len);
    free(path);
    sc_text_free(&csv);
    return status;
}
