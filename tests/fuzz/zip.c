/* The bytes are a whole checkpoint file, of whatever format: zip, the older ones of PyTorch, an
 * index. */
#include "fuzz.h"

#include <stdlib.h>

#include "superclip/weights.h"

static void read_all(const sc_weights *w, const char *path)
{
    sc_tensor_reader r = sc_weights_reader(w);
    for (size_t i = 0; i < r.count; i++) {
        sc_tensor t;
        if (sc_tensor_new(NULL, r.items[i].dtype, r.items[i].shape, &t) != SC_OK)
            continue; /* nobody has promised that it fits into memory */
        fuzz_judge(r.read(r.ctx, i, t.data), path);
        sc_tensor_free(&t);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const char *path = fuzz_file("zip.pth", data, n);
    sc_object *root;
    sc_status status = sc_pth_load(path, &root);
    fuzz_judge(status, path);
    if (status == SC_OK)
        sc_obj_free(root);
    sc_pth *file;
    status = sc_pth_open(path, &file);
    fuzz_judge(status, path);
    if (status == SC_OK) {
        fuzz_judge(sc_pth_verify(file), path);
        sc_pth_close(file);
    }
    sc_weights *w;
    status = sc_weights_open(path, &w);
    fuzz_judge(status, path);
    if (status == SC_OK) {
        read_all(w, path);
        sc_weights_close(w);
    }
    return 0;
}
