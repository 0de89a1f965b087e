/* Rows that stay on the device: a program fed from them computes the bytes of one fed by the host,
 * for rows of every alignment, repeated, and more than a launch takes; what lies outside is
 * refused.
 */
#include "shim/shim.h"

#include "superclip/nn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

const sc_backend *sc_backend_cuda(void);

typedef struct fed {
    sc_device *device;
    sc_comm *alone;
    sc_graph *graph;
    sc_params *params;
    sc_program *program;
} fed;

static fed open_program(int64_t rows, int side, int crop)
{
    const sc_device_options o = {1, SC_BF16_MIXED, NULL};
    fed f = {.alone = sc_comm_single(), .graph = sc_graph_new()};
    assert_int_equal(sc_backend_cuda()->open(&o, &f.device), SC_OK);
    const sc_value in =
        sc_input(f.graph, "images", SC_BYTES, SC_ROWS_LOCAL, SC_SHAPE(-1, side, side, 3));
    const sc_value draws = sc_input(f.graph, "draws", SC_BYTES, SC_ROWS_LOCAL,
                                    SC_SHAPE(-1, (int64_t)sizeof(sc_augment)));
    sc_output(f.graph, "pixels", sc_augment_images(f.graph, in, draws, crop));
    assert_int_equal(sc_graph_status(f.graph), SC_OK);
    assert_int_equal(sc_params_create(f.device, f.graph, &f.params), SC_OK);
    const sc_program_desc d = {.graph = f.graph, .rows_local = rows, .rows = &rows};
    assert_int_equal(sc_programs_compile(f.device, f.params, f.alone, &d, 1, &f.program), SC_OK);
    return f;
}
static void close_program(fed *f)
{
    sc_program_free(f->program);
    sc_params_free(f->params);
    sc_graph_free(f->graph);
    f->device->backend->close(f->device);
    f->alone->free(f->alone);
}

enum { STORED = 23 };
/* Draws of crops only: every pixel of the row can be told from the others. */
static void same_as_from_host(int64_t n, int side, int crop)
{
    const size_t row = (size_t)(side * side * 3);
    const size_t values = (size_t)n * 3 * (size_t)(crop * crop);
    fed f = open_program(n, side, crop);
    uint8_t *all = malloc(STORED * row), *batch = malloc((size_t)n * row);
    int64_t *wanted = calloc((size_t)n, sizeof *wanted);
    sc_augment *draws = calloc((size_t)n, sizeof *draws);
    float *a = calloc(values, sizeof *a), *b = calloc(values, sizeof *b);
    assert_true(all && batch && wanted && draws && a && b);
    for (size_t i = 0; i < STORED * row; i++)
        all[i] = (uint8_t)(i * 2654435761u >> 11);
    for (int64_t i = 0; i < n; i++) {
        wanted[i] = (i * 7 + 5) % STORED;
        draws[i].crop_top = (int32_t)(i % (side - crop + 1));
        memcpy(batch + (size_t)i * row, all + (size_t)wanted[i] * row, row);
    }
    sc_row_store *s = NULL;
    assert_int_equal(sc_row_store_new(f.device, STORED, row, &s), SC_OK);
    assert_int_equal(sc_row_store_fill(s, 10, STORED - 10, all + 10 * row), SC_OK);
    assert_int_equal(sc_row_store_fill(s, 0, 10, all), SC_OK);
    memset(all, 0x77, STORED * row);
    assert_int_equal(sc_row_store_filled(s), SC_OK);
    assert_int_equal(sc_program_write(f.program, "draws", draws), SC_OK);
    assert_int_equal(sc_program_write(f.program, "images", batch), SC_OK);
    assert_int_equal(sc_program_forward(f.program), SC_OK);
    assert_int_equal(sc_program_read(f.program, "pixels", a), SC_OK);
    memset(batch, 0x55, (size_t)n * row);
    assert_int_equal(sc_program_write(f.program, "images", batch), SC_OK);
    assert_int_equal(sc_program_write_rows(f.program, "images", s, wanted), SC_OK);
    memset(wanted, 0xff, (size_t)n * sizeof *wanted); /* the numbers are ours again */
    assert_int_equal(sc_program_forward(f.program), SC_OK);
    assert_int_equal(sc_program_read(f.program, "pixels", b), SC_OK);
    assert_memory_equal(a, b, values * sizeof *a);
    sc_row_store_free(s);
    close_program(&f);
    void *const memory[] = {all, batch, wanted, draws, a, b};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
        free(memory[i]);
    assert_string_equal(shim_fault(), "");
    assert_int_equal(shim_allocations(), 0);
}
static void every_alignment(void **state)
{
    (void)state;
    static const int sides[] = {1, 3, 4, 6, 10, 35}; /* 3, 27, 48, 108, 300, 3675 bytes */
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++)
        same_as_from_host(9, sides[i], sides[i] > 1 ? sides[i] - 1 : 1);
}
static void more_than_a_launch_takes(void **state)
{
    (void)state;
    same_as_from_host(448, 2, 1);
    same_as_from_host(449, 3, 2);
    same_as_from_host(1000, 4, 4);
}

/* 44 MB: more than fits into the pinned pages at once */
static void filled_page_by_page(void **state)
{
    (void)state;
    same_as_from_host(STORED, 800, 6);
}

static void what_is_not_there(void **state)
{
    (void)state;
    fed f = open_program(2, 4, 4);
    sc_row_store *s = NULL, *other = NULL;
    uint8_t rows[3 * 48] = {0};
    const int64_t behind[] = {0, 3}, before[] = {-1, 0}, good[] = {2, 2};
    assert_int_equal(sc_row_store_new(f.device, 3, 48, &s), SC_OK);
    assert_int_equal(sc_row_store_new(f.device, 3, 27, &other), SC_OK);
    assert_int_equal(sc_row_store_fill(s, 0, 3, rows), SC_OK);
    assert_int_equal(sc_row_store_fill(s, 1, 3, rows), SC_EINTERNAL);
    assert_int_equal(sc_row_store_fill(s, -1, 1, rows), SC_EINTERNAL);
    assert_int_equal(sc_program_write_rows(f.program, "images", s, good), SC_OK);
    assert_int_equal(sc_program_write_rows(f.program, "images", s, behind), SC_EINTERNAL);
    assert_non_null(strstr(sc_message(), "row 3 of 3"));
    assert_int_equal(sc_program_write_rows(f.program, "images", s, before), SC_EINTERNAL);
    assert_int_equal(sc_program_write_rows(f.program, "images", other, good), SC_EINTERNAL);
    assert_non_null(strstr(sc_message(), "no rows of 27 bytes"));
    assert_int_equal(sc_program_write_rows(f.program, "pictures", s, good), SC_EINTERNAL);
    sc_row_store *none = NULL;
    assert_int_equal(sc_row_store_new(f.device, 0, 27, &none), SC_EINTERNAL);
    assert_int_equal(sc_row_store_new(f.device, INT64_MAX, 27, &none), SC_EINTERNAL);
    assert_null(none);
    sc_row_store_free(s);
    sc_row_store_free(other);
    close_program(&f);
    assert_int_equal(shim_allocations(), 0);
}

/* Backends on the host read rows where they are. */
static void host_backends_keep_none(void **state)
{
    (void)state;
    const sc_device_options o = {1, SC_FP64, NULL};
    sc_device *d = NULL;
    sc_row_store *s = NULL;
    assert_int_equal(sc_backend_ref()->open(&o, &d), SC_OK);
    assert_false(sc_row_store_possible(d));
    assert_int_equal(sc_row_store_new(d, 3, 27, &s), SC_EUNSUPPORTED);
    d->backend->close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_alignment), cmocka_unit_test(more_than_a_launch_takes),
        cmocka_unit_test(filled_page_by_page), cmocka_unit_test(what_is_not_there),
        cmocka_unit_test(host_backends_keep_none)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
