/* Private to weights: an open .pth. Its pickle has been run, its tensors are known by place. */
#ifndef SC_WEIGHTS_PTH_H
#define SC_WEIGHTS_PTH_H

#include "pickle.h"
#include "zip.h"

/* The longest pickle that is read. Those of real models are well below 1 MB, and the values that a
 * pickle builds take up to 96 times its bytes. */
#define SC_PTH_MOST_PICKLE ((uint64_t)16 << 20)

/* Where the bytes of one storage lie: a member of the archive, or a range of an older file. */
typedef struct sc_storage_place {
    const char *key; /* of older files */
    uint64_t bytes, offset;
    const sc_zip_entry *entry; /* NULL: the range */
    bool used, verified;
} sc_storage_place;

typedef struct sc_pth_tensor {
    const sc_pickle_tensor *view;
    sc_storage_place *place;
} sc_pth_tensor;

typedef struct sc_pth_tar sc_pth_tar;

struct sc_pth {
    char *path;
    bool zipped, script; /* torch's zip format; a TorchScript archive */
    sc_zip_reader zip;
    sc_input_file file; /* older formats */
    sc_pth_tar *tar;    /* the tables of the oldest */
    char *prefix;       /* of the archive's records */
    sc_unpickler machine;
    sc_storage_place *places; /* zip: one an entry, in its order; else by key */
    size_t place_count;
    sc_pth_tensor *tensors;
    size_t tensor_count, tensor_cap;
    sc_object *root;
    /* What the tree may cost. Python values can be shared, so a short stream could spell out a huge
     * tree: these bounds are proportional to the file and far above what torch.save makes. */
    uint64_t tree_left, data_left;
    sc_storage_place *held; /* the storage whose bytes are kept for the views into it */
    void *held_bytes;
};

/* pth_tree.c: values of the machine to f->root; tensors get numbers and places. */
sc_status sc_pth_make_tree(sc_pth *f, const sc_pv *root);
/* The older formats: f->file is open. */
sc_status sc_pth_open_legacy(sc_pth *f);
sc_status sc_pth_open_tar(sc_pth *f);
void sc_pth_tar_free(sc_pth_tar *t); /* NULL is fine */
/* pth_read.c */
sc_status sc_pth_charge(const sc_pth *f, uint64_t *left, uint64_t bytes);
sc_status sc_pth_find_place(sc_pth *f, const sc_pickle_storage *s, sc_storage_place **out);

#endif
