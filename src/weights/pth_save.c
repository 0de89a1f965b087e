#include "pickle.h"
#include "zip.h"

#include <stdlib.h>

static sc_status add_tensor(sc_zip_writer *w, const char *name, const sc_object *o,
                            const sc_tensor_source *source)
{
    const void *bytes = o->tensor.data;
    if (o->later && !source)
        return sc_fail(SC_EINTERNAL, "a tensor of a checkpoint has no data");
    if (o->later)
        SC_TRY(source->get(source->ctx, o->i, &bytes));
    return sc_zip_add(w, name, bytes, sc_tensor_bytes(&o->tensor));
}

static sc_status add_records(sc_zip_writer *w, const sc_text *pickle, const sc_storages *storages,
                             const sc_tensor_source *source)
{
    SC_TRY(sc_zip_add(w, "archive/data.pkl", pickle->data, pickle->len));
    SC_TRY(sc_zip_add(w, "archive/byteorder", "little", 6));
    for (size_t i = 0; i < storages->count; i++) {
        char name[48];
        snprintf(name, sizeof name, "archive/data/%zu", i);
        SC_TRY(add_tensor(w, name, storages->items[i], source));
    }
    return sc_zip_add(w, "archive/version", "3\n", 2);
}

sc_status sc_pth_write(const char *path, const sc_object *root, const sc_tensor_source *source,
                       sc_atomic_file **out)
{
    *out = NULL;
    if (!root)
        return sc_fail(SC_ENOMEM, "%s: out of memory: a checkpoint's content", path);
    sc_text pickle;
    sc_storages storages = {0};
    sc_zip_writer w;
    sc_text_init(&pickle);
    sc_status status = sc_pickle_write(root, &pickle, &storages);
    if (status != SC_OK)
        sc_fail_prefix(status, "%s", path);
    if (status == SC_OK)
        status = sc_zip_create(path, &w);
    if (status == SC_OK) {
        status = add_records(&w, &pickle, &storages, source);
        if (status == SC_OK)
            status = sc_zip_finish(&w, out);
        else
            sc_zip_abort(&w);
    }
    sc_text_free(&pickle);
    free(storages.items);
    return status;
}

sc_status sc_pth_save(const char *path, const sc_object *root)
{
    sc_atomic_file *file;
    SC_TRY(sc_pth_write(path, root, NULL, &file));
    return sc_atomic_commit(file);
}
