#include "golden_compare.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "golden_node.h"

static bool is_result(const char *name)
{
    return strncmp(name, "out", 3) == 0 || strncmp(name, "din", 3) == 0 ||
           strncmp(name, "dparam", 6) == 0 || strncmp(name, "after", 5) == 0;
}

static int compare_case(sc_device *d, const sc_comm *alone, const golden_case *c, bool accumulate,
                        double tolerance)
{
    golden_node n;
    int compared = 0;
    sc_status status = golden_node_open(d, alone, c, accumulate, &n);
    if (status == SC_OK)
        status = golden_node_run(&n);
    if (status != SC_OK)
        fail_msg("%s: %s", c->name, sc_message());
    for (int i = 0; i < c->n_tensors; i++) {
        if (!is_result(c->tensors[i].name))
            continue;
        double error = golden_node_error(&n, c, c->tensors[i].name);
        if (!(error <= tolerance))
            fail_msg("%s: %s differs by %g", c->name, c->tensors[i].name, error);
        compared++;
    }
    golden_node_close(&n);
    return compared;
}

void golden_compare(const sc_backend *b, sc_precision_mode precision, const char *path,
                    double tolerance, int at_least)
{
    const sc_device_options o = {.threads = 2, .precision = precision};
    golden_file *f = golden_open(path);
    sc_comm *alone = sc_comm_single();
    sc_device *d = NULL;
    int compared = 0;
    assert_non_null(f);
    assert_non_null(alone);
    assert_int_equal(b->open(&o, &d), SC_OK);
    for (size_t i = 0; i < f->count; i++)
        for (int accumulate = 0; accumulate < 2; accumulate++)
            compared += compare_case(d, alone, &f->cases[i], accumulate, tolerance);
    assert_in_range(compared, at_least, 100000);
    b->close(d);
    alone->free(alone);
    golden_free(f);
}
