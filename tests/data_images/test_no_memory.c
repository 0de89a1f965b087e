/* The k-th allocation fails, for every k: packing, opening and reading report it, leave nothing
 * behind and leak nothing (the sanitizer sees to that).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "folder.h"

static long countdown; /* 0: nothing fails */

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
int __real_posix_memalign(void **p, size_t alignment, size_t n);
int __wrap_posix_memalign(void **p, size_t alignment, size_t n);

static bool fails(void)
{
    if (countdown == 0 || --countdown > 0)
        return false;
    errno = ENOMEM;
    return true;
}
void *__wrap_malloc(size_t n)
{
    return fails() ? NULL : __real_malloc(n);
}
void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}
void *__wrap_realloc(void *p, size_t n)
{
    return fails() ? NULL : __real_realloc(p, n);
}
int __wrap_posix_memalign(void **p, size_t alignment, size_t n)
{
    return fails() ? ENOMEM : __real_posix_memalign(p, alignment, n);
}

static sc_status read_set(const char *dir)
{
    sc_dataset *d;
    uint8_t row[17 * 17 * 3];
    SC_TRY(sc_dataset_open(dir, 16, NULL, &d));
    sc_status status = sc_dataset_row(d, SC_ROW_TRAIN, 0, row);
    sc_dataset_close(d);
    return status;
}

static long failing_packs(pack_setup *s, const char *folder)
{
    for (long k = 1;; k++) {
        countdown = k;
        sc_status status = pack_all(&s->o, 2);
        bool reached = countdown == 0;
        countdown = 0;
        if (!reached) {
            assert_int_equal(status, SC_OK);
            return k;
        }
        if (status ==
            SC_OK) { /* it only served a message, or the cleaning up behind a complete set */
            assert_int_equal(read_set(s->dst), SC_OK);
            sc_remove_tree(s->dst);
        } else if (sc_file_exists(s->dst) || count_names(folder, "packing")) {
            fail_msg("allocation %ld: left behind, %s", k, sc_message());
        }
        assert_true(status == SC_OK || strlen(sc_message()) > 0);
    }
}

static void test_pack(void **state)
{
    (void)state;
    char *f = folder_new();
    pack_setup s;
    pack_setup_init(&s, f);
    s.o.img_size = 16;
    folder_copy_golden(s.src, "a/1.png", "png_c0_d16_i_0.png");
    folder_copy_golden(s.src, "b/2.tif", "tiff_palette_0.tif");
    long tried = failing_packs(&s, f);
    print_message("%ld failing allocations while packing\n", tried);
    assert_true(tried > 50);
    for (long k = 1;; k++) {
        countdown = k;
        sc_status status = read_set(s.dst);
        bool reached = countdown == 0;
        countdown = 0;
        if (!reached) {
            assert_int_equal(status, SC_OK);
            break;
        }
        assert_int_not_equal(status, SC_OK);
    }
    sc_remove_tree(s.dst);
    folder_put(s.src, "b/bad.jpg", "x", 1);
    s.o.skip_bad = true;
    failing_packs(&s, f);
    folder_remove(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pack)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
