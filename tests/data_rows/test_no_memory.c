/* Every allocation of the tokenizer, the folds and the row source fails once: SC_ENOMEM each time,
 * and (with the address sanitizer) nothing leaks. malloc, calloc and realloc are wrapped by the
 * linker. */
#include "fake_dataset.h"
#include "superclip/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static atomic_long left_to_give = -1; /* allocations before the one that fails; -1: none fails */
static atomic_bool refused;

static bool refuse(void)
{
    if (atomic_load(&left_to_give) < 0 || atomic_fetch_sub(&left_to_give, 1) > 0)
        return false;
    atomic_store(&refused, true);
    return true;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t count, size_t n);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t count, size_t n);
void *__wrap_realloc(void *p, size_t n);

void *__wrap_malloc(size_t n)
{
    return refuse() ? NULL : __real_malloc(n);
}
void *__wrap_calloc(size_t count, size_t n)
{
    return refuse() ? NULL : __real_calloc(count, n);
}
void *__wrap_realloc(void *p, size_t n)
{
    return refuse() ? NULL : __real_realloc(p, n);
}

/* Runs `work` with its 1st, 2nd, ... allocation failing, until it needs no more. */
static void fail_each(sc_status (*work)(void))
{
    for (long i = 0; i < 100000; i++) {
        atomic_store(&refused, false);
        atomic_store(&left_to_give, i);
        const sc_status status = work();
        atomic_store(&left_to_give, -1);
        if (!atomic_load(&refused)) {
            assert_int_equal(status, SC_OK);
            assert_true(i > 3);
            return;
        }
        assert_int_equal(status, SC_ENOMEM);
    }
    fail_msg("no end of allocations");
}

static sc_status tokenize(void)
{
    sc_tokenizer *t = NULL;
    int32_t *ids = NULL;
    int n;
    SC_TRY(sc_tokenizer_open(SC_TOKENIZER_CLIP, SC_TEST_DIR "/golden/tokenizer_hf/merges.txt", &t));
    const sc_status status = sc_tokenizer_encode(
        t, "Hello &amp;amp; \303\211 \357\254\201 \357\274\241 &NTILDE;\nthe hip", &ids, &n, NULL);
    free(ids);
    sc_tokenizer_free(t);
    return status;
}

static sc_status read_rows(void)
{
    static sc_dataset d;
    int64_t order[50];
    sc_row_source *s = NULL;
    sc_batch b = {.rows_global = 1};
    const sc_row_source_options o = {.dataset = &d, .threads = 2, .batch = 8, .ranks = 1};
    const sc_epoch_request r = {.order = order, .count = 50, .augment = true};
    for (int i = 0; i < 50; i++)
        order[i] = i;
    SC_TRY(sc_row_source_open(&o, &s));
    sc_status status = sc_row_source_begin(s, &r);
    while (status == SC_OK && b.rows_global > 0)
        status = sc_row_source_next(s, &b);
    sc_row_source_close(s);
    return status;
}

static sc_status fold_and_order(void)
{
    static const double weights[3] = {1, 2, 3};
    int32_t labels[30];
    int64_t order[30];
    sc_fold *folds = NULL;
    for (int i = 0; i < 30; i++)
        labels[i] = i % 3;
    SC_TRY(sc_folds_make(labels, 30, NULL, 3, 1, NULL, &folds));
    const sc_status status = sc_train_order(&folds[0], labels, weights, 3, 1, 0, 1, order);
    sc_folds_free(folds, 3);
    return status;
}

static void tokenizer_without_memory(void **state)
{
    (void)state;
    fail_each(tokenize);
}

static void row_source_without_memory(void **state)
{
    (void)state;
    fail_each(read_rows);
}

static void folds_without_memory(void **state)
{
    (void)state;
    fail_each(fold_and_order);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokenizer_without_memory),
        cmocka_unit_test(row_source_without_memory),
        cmocka_unit_test(folds_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
