#include "outputs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const files[] = {"history.json", "checkpoint_best.pth", "checkpoint_latest.pth",
                                    "val_predictions.csv"};
contents read_all(const job *j)
{
    contents c;
    for (int i = 0; i < FILES; i++)
        c.data[i] = job_file(j, files[i], &c.n[i]);
    return c;
}

void free_all(contents *c)
{
    for (int i = 0; i < FILES; i++)
        free(c->data[i]);
}

void expect_same(const job *j, const contents *want, const char *what, int at)
{
    for (int i = 0; i < FILES; i++) {
        size_t n;
        char *have = job_file(j, files[i], &n);
        if (!have)
            fail_msg("%s %d: no %s", what, at, files[i]);
        if (n != want->n[i] || memcmp(have, want->data[i], n) != 0)
            fail_msg("%s %d: %s differs", what, at, files[i]);
        free(have);
    }
}

void must(sc_status have, sc_status want)
{
    if (have != want)
        fail_msg("status %s, wanted %s: %s", sc_status_name(have), sc_status_name(want),
                 sc_message());
}
