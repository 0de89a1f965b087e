/* Pickle: the subset that torch.save writes and torch.load(weights_only=True) reads. */
#ifndef SC_WEIGHTS_PICKLE_H
#define SC_WEIGHTS_PICKLE_H

#include "superclip/weights.h"

/* ---- writing --------------------------------------------------------------------------------- */
/* The storages a stream refers to, by number; tensors over the same bytes share one. */
typedef struct sc_storages {
    const sc_object **items;
    size_t count, cap;
} sc_storages;

/* Protocol 2, no memo. `storages` starts zeroed; the caller frees items. */
sc_status sc_pickle_write(const sc_object *root, sc_text *out, sc_storages *storages);

/* ---- reading: values of the machine ------------------------------------------------------------
 * They live in an arena and may be shared or, in a hostile file, cyclic; the caller turns them into
 * a tree under limits of its own. */
typedef enum sc_pv_type {
    SC_PV_NONE,
    SC_PV_BOOL,
    SC_PV_INT,
    SC_PV_FLOAT,
    SC_PV_STRING,
    SC_PV_LIST,
    SC_PV_TUPLE,
    SC_PV_DICT,
    SC_PV_ORDERED_DICT,
    SC_PV_TENSOR,
    SC_PV_GLOBAL,
    SC_PV_STORAGE
} sc_pv_type;

/* What a name of the closed list does. */
typedef enum sc_pickle_role {
    SC_ROLE_ORDERED_DICT,
    SC_ROLE_COUNTER,
    SC_ROLE_TENSOR_V2,
    SC_ROLE_TENSOR_V3,
    SC_ROLE_PARAMETER,
    SC_ROLE_FROM_TYPE,
    SC_ROLE_TENSOR_CLASS,
    SC_ROLE_SEQUENCE,
    SC_ROLE_DEVICE,
    SC_ROLE_STORAGE,
    SC_ROLE_DTYPE,
    SC_ROLE_MODULE,      /* a class of a TorchScript archive: an object is its attributes */
    SC_ROLE_PASS_THROUGH /* gives its first argument */
} sc_pickle_role;

typedef struct sc_pickle_global {
    const char *module, *name;
    sc_pickle_role role;
    sc_dtype dtype; /* of storages and dtypes */
} sc_pickle_global;

typedef struct sc_pickle_storage sc_pickle_storage;
struct sc_pickle_storage {
    sc_pickle_storage *next; /* all storages that a stream names */
    const char *key;
    sc_dtype dtype;
    uint64_t count;         /* elements */
    uint64_t first, length; /* the part of it that is meant: all of it, but in old files */
};

typedef struct sc_pickle_tensor {
    const sc_pickle_storage *storage;
    sc_dtype dtype;
    uint64_t offset; /* elements */
    sc_shape shape;
    int64_t stride[SC_MAX_DIMS];
} sc_pickle_tensor;

typedef struct sc_unpickler sc_unpickler;
typedef struct sc_pv sc_pv;
struct sc_pv {
    sc_pv_type type;
    uint32_t count, cap; /* of items; a dict holds key, value, key, value, ... */
    union {
        bool b;
        int64_t i;
        double f;
        const char *s;
        sc_pv **items;
        const sc_pickle_global *global;
        const sc_pickle_storage *storage;
        const sc_pickle_tensor *tensor;
    } u;
};

struct sc_unpickler {
    const char *path, *record; /* for messages */
    const uint8_t *data;
    size_t n, at; /* `at`: the next byte */
    size_t op_at; /* of the opcode in work */
    sc_arena *arena;
    size_t arena_left; /* the arena may grow with the stream, not beyond */
    sc_pv **stack;
    size_t depth, stack_cap;
    size_t *marks;
    size_t mark_count, mark_cap;
    sc_pv **memo;
    size_t memo_count, memo_cap; /* entries in use, places */
    sc_pv none, yes, no;         /* the three constants need no copies */
    sc_pickle_storage *storages; /* the newest first */
    bool script;                 /* the classes of a TorchScript archive are known */
    /* What an integer as persistent id means (tar files); NULL: it is an error. */
    sc_status (*by_number)(sc_unpickler *u, int64_t id, sc_pv **out);
    void *by_number_ctx;
};

/* pickle_read.c: runs the stream in data[0..n). The result lives until sc_unpickle_free. `script`
 * and by_number are the caller's to set, the rest of u is set here. */
sc_status sc_unpickle(sc_unpickler *u, const char *path, const char *record, const uint8_t *data,
                      size_t n, sc_pv **out);
/* The same for a stream that others follow: *used is its length. */
sc_status sc_unpickle_first(sc_unpickler *u, const char *path, const char *record,
                            const uint8_t *data, size_t n, size_t *used, sc_pv **out);
void sc_unpickle_free(sc_unpickler *u);

/* pickle_value.c */
sc_status sc_pickle_fail(const sc_unpickler *u, const char *fmt, ...) SC_PRINTF(2, 3);
void *sc_pickle_alloc(sc_unpickler *u, size_t bytes); /* NULL: out of budget or memory */
sc_status sc_pv_new(sc_unpickler *u, sc_pv_type type, sc_pv **out);
sc_status sc_pv_append(sc_unpickler *u, sc_pv *container, sc_pv *v);
const char *sc_pv_type_name(const sc_pv *v);
const sc_pickle_global *sc_pickle_find_global(const char *module, size_t module_len,
                                              const char *name, size_t name_len, bool script);

/* pickle_reduce.c */
sc_status sc_pickle_reduce(sc_unpickler *u, sc_pv *callable, sc_pv *args, sc_pv **out);
sc_status sc_pickle_persistent(sc_unpickler *u, const sc_pv *id, sc_pv **out);
/* The extent is checked and the tensor pushed into a value. */
sc_status sc_pickle_new_tensor(sc_unpickler *u, const sc_pickle_tensor *t, uint64_t available,
                               sc_pv **out);

#endif
