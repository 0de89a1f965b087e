/* What the tests of weights share: tensors whose values follow from their places, temporary paths.
 */
#ifndef SC_TESTS_WEIGHTS_TEST_H
#define SC_TESTS_WEIGHTS_TEST_H

#include "superclip/weights.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const sc_dtype all_dtypes[] = {SC_F32, SC_F64, SC_BF16, SC_F16, SC_I64,
                                      SC_I32, SC_I16, SC_I8,   SC_U8,  SC_BOOL};
enum { DTYPES = sizeof all_dtypes / sizeof all_dtypes[0] };

/* Element i is start + i, as ramp() in tests/oracle/weights_golden.py. */
static inline sc_tensor ramp(const char *name, sc_dtype dtype, sc_shape shape, double start)
{
    sc_tensor t;
    assert_int_equal(sc_tensor_new(name, dtype, shape, &t), SC_OK);
    for (int64_t i = 0; i < sc_shape_count(&shape); i++)
        sc_tensor_set_element(&t, i, start + (double)i);
    return t;
}

static inline sc_object *ramp_object(sc_dtype dtype, sc_shape shape, double start)
{
    sc_tensor t = ramp(NULL, dtype, shape, start);
    return sc_obj_tensor(&t);
}

static inline void assert_ramp(const sc_tensor *t, sc_dtype dtype, sc_shape shape, double start)
{
    assert_int_equal(t->dtype, dtype);
    assert_true(sc_shape_equal(&t->shape, &shape));
    for (int64_t i = 0; i < sc_shape_count(&shape); i++) {
        double expected = start + (double)i;
        assert_true(sc_tensor_get(t, i) == (dtype == SC_BOOL ? expected != 0 : expected));
    }
}

/* A path for a file of this test; memory-backed where there is such a place, for the many small
 * writes. */
static inline char *temporary_path(const char *name)
{
    const char *folder = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    char *path = sc_format("%s/sc_weights_%ld_%s", folder, (long)getpid(), name);
    assert_non_null(path);
    return path;
}

static inline sc_object *load(const char *path)
{
    sc_object *o;
    if (sc_pth_load(path, &o) != SC_OK)
        fail_msg("%s", sc_message());
    return o;
}

static inline void assert_refused(const char *path, const char *what)
{
    sc_object *o = NULL;
    sc_message_clear();
    sc_status status = sc_pth_load(path, &o);
    if (status != SC_EFORMAT || o)
        fail_msg("not refused (%d), for: %s", (int)status, what);
    if (strncmp(sc_message(), path, strlen(path)) != 0 || !strstr(sc_message(), what))
        fail_msg("wanted '%s', told: %s", what, sc_message());
}

#endif
