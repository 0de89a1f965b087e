/* The bytes are a safetensors file; what was read is written again and must come back equal. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "superclip/weights.h"

static void check(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "fuzz: %s: %s\n", what, sc_message());
        abort();
    }
}

static void compare(const sc_tensor_set *a, const char *path)
{
    sc_tensor_set b;
    check(sc_safetensors_save(path, a, NULL) == SC_OK, "cannot be written again");
    check(sc_safetensors_load(path, &b) == SC_OK, "cannot be read again");
    check(a->count == b.count, "another number of tensors");
    for (size_t i = 0; i < a->count; i++) {
        const sc_tensor *x = &a->items[i], *y = sc_tensor_set_find(&b, x->name);
        check(y && y->dtype == x->dtype && sc_shape_equal(&x->shape, &y->shape), "another tensor");
        size_t bytes = sc_tensor_bytes(x);
        check(bytes == 0 || memcmp(x->data, y->data, bytes) == 0, "other bytes");
    }
    sc_tensor_set_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static char again[200];
    const char *path = fuzz_file("x.safetensors", data, n);
    if (!*again)
        snprintf(again, sizeof again, "%s", fuzz_file("again.safetensors", "", 0));
    sc_tensor_set set;
    sc_status status = sc_safetensors_load(path, &set);
    fuzz_judge(status, path);
    if (status == SC_OK) {
        compare(&set, again);
        sc_tensor_set_free(&set);
    }
    return 0;
}
