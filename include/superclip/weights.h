/* weights: files that hold tensors. PyTorch's .pth (restricted pickle; the zip format is written, the older
 * ones and TorchScript archives are read too), safetensors.
 * Nothing in a file is ever executed: the reader interprets a closed list of opcodes and names.
 */
#ifndef SUPERCLIP_WEIGHTS_H
#define SUPERCLIP_WEIGHTS_H

#include "superclip/base.h"
#include "superclip/tensor.h"

/* A Python value as a .pth holds it. Dictionaries keep their order. */
typedef enum sc_object_type {
    SC_OBJ_NONE, SC_OBJ_BOOL, SC_OBJ_INT, SC_OBJ_FLOAT, SC_OBJ_STRING, SC_OBJ_LIST, SC_OBJ_TUPLE,
    SC_OBJ_DICT, SC_OBJ_ORDERED_DICT, SC_OBJ_TENSOR
} sc_object_type;
typedef struct sc_object sc_object;
struct sc_object {
    sc_object_type type;
    bool b;
    int64_t i;
    double f;
    char *s;                     /* string: UTF-8 */
    sc_object **items, **keys;   /* list, tuple: items; dict: keys and items */
    size_t count, cap;
    sc_tensor tensor;
    bool later;  /* a tensor without data: tensor `i` of an sc_tensor_source or an sc_pth */
    bool failed; /* a part of this tree could not be had (out of memory); sc_pth_save reports it */
};
sc_object *sc_obj_none(void);
sc_object *sc_obj_bool(bool v);
sc_object *sc_obj_int(int64_t v);
sc_object *sc_obj_float(double v);
sc_object *sc_obj_string(const char *s); /* NULL gives None */
sc_object *sc_obj_list(void);
sc_object *sc_obj_tuple(void);
sc_object *sc_obj_dict(void);
sc_object *sc_obj_ordered_dict(void);
/* Takes over *t (its owned flag decides who frees the data). */
sc_object *sc_obj_tensor(sc_tensor *t);
/* A tensor whose bytes are asked for when the tree is written (sc_pth_write). */
sc_object *sc_obj_tensor_later(sc_dtype dtype, sc_shape shape, int64_t number);
/* Both take over their arguments and accept NULL ones (out of memory), remembering the failure in the
 * container, so that a tree is built without checks and sc_pth_save reports it. */
void sc_obj_append(sc_object *list, sc_object *v);
void sc_obj_put(sc_object *dict, const char *key, sc_object *v);
void sc_obj_put_key(sc_object *dict, sc_object *key, sc_object *v);
const sc_object *sc_obj_get(const sc_object *dict, const char *key); /* NULL when absent */
void sc_obj_free(sc_object *o);

/* torch.save's zip layout, stored members, 64-byte aligned storages, true CRCs; opens with
 * torch.load(weights_only=True). Same tree, same bytes. Atomic (base). */
sc_status sc_pth_save(const char *path, const sc_object *root);
/* The same in two halves, for a tree too large to be held twice: every byte is written, tensors `later`
 * as the source gives them, in the order of the tree; the caller commits (fsync, rename), on any thread,
 * or aborts. The bytes that `get` points to have to stay until its next call. */
typedef struct sc_tensor_source {
    sc_status (*get)(void *ctx, int64_t number, const void **bytes);
    void *ctx;
} sc_tensor_source;
sc_status sc_pth_write(const char *path, const sc_object *root, const sc_tensor_source *source,
                       sc_atomic_file **out);

/* Whole file, all tensors loaded and CRC-checked. Damaged or foreign: SC_EFORMAT naming file and place. */
sc_status sc_pth_load(const char *path, sc_object **out);
/* The same with the tensors left in the file: `later`, read one at a time. Opening checks the structure
 * and every tensor's place; reading one checks its CRC. Memory: the tree, and for views (strided, or
 * parts of a storage) one storage. */
typedef struct sc_pth sc_pth;
sc_status sc_pth_open(const char *path, sc_pth **out);
const sc_object *sc_pth_root(const sc_pth *f);
const char *sc_pth_path(const sc_pth *f);
bool sc_pth_is_script(const sc_pth *f); /* TorchScript: a tree of modules, each a dict of attributes */
sc_status sc_pth_verify(sc_pth *f); /* the CRC of every tensor's storage, through a small buffer */
sc_status sc_pth_read(sc_pth *f, const sc_object *tensor, void *dst);
void sc_pth_close(sc_pth *f); /* NULL is fine */

/* Tensors of one file under names of the caller's choice, as an sc_tensor_reader. */
typedef struct sc_pth_list {
    sc_pth *file;
    sc_tensor_set set;         /* no data */
    const sc_object **objects; /* of the file's tree */
    size_t cap;
} sc_pth_list;
sc_status sc_pth_list_add(sc_pth_list *l, const char *name, const sc_object *tensor);
/* All tensors of a dict; `key` names it in messages. */
sc_status sc_pth_list_dict(sc_pth_list *l, const char *key, const sc_object *dict);
sc_tensor_reader sc_pth_list_reader(sc_pth_list *l); /* valid while l and its file are */
void sc_pth_list_free(sc_pth_list *l);

/* model_state_dict, or the root when it is a state dict itself; NULL: neither. *key names it. */
const sc_object *sc_state_dict_find(const sc_object *root, const char **key);
/* The same as a tensor set (copies). */
sc_status sc_state_dict_of(const char *path, const sc_object *root, sc_tensor_set *out);
/* A dict of tensors as a set; `key` names it in messages. */
sc_status sc_tensor_set_of(const char *path, const char *key, const sc_object *dict, sc_tensor_set *out);

/* metadata: alternating key, value, ..., NULL; may be NULL. */
sc_status sc_safetensors_save(const char *path, const sc_tensor_set *set, const char *const *metadata);
/* The same from a reader, with one tensor in memory at a time. */
sc_status sc_safetensors_write(const char *path, const sc_tensor_reader *r, const char *const *metadata);
sc_status sc_safetensors_load(const char *path, sc_tensor_set *out);

/* A state dict in a file of any format, told by its content: .pth of every age, a TorchScript archive (its
 * modules' tensors under their paths), safetensors, or the index of sharded safetensors
 * (NAME.safetensors.index.json, the shards beside it). Tensors stay in the files until they are read. */
typedef struct sc_weights sc_weights;
sc_status sc_weights_open(const char *path, sc_weights **out);
sc_tensor_reader sc_weights_reader(const sc_weights *w); /* valid while w is */
const char *sc_weights_path(const sc_weights *w);
void sc_weights_close(sc_weights *w); /* NULL is fine */

/* SHA-256 of the file; of sharded safetensors, of the digests of all shards, in the order of the index. */
sc_status sc_weights_digest(const sc_weights *w, uint8_t digest[32]);

/* A published file as the parameters of one of our towers. `encoder` ("resnet18", "clip:ViT-B/32") names the
 * family whose layouts are known (src/weights/family.h: how to add one). `wanted` holds the names and shapes of
 * ours, every tensor of the tower but its projection (an SC_I64 scalar counts batches; 0 where the file has
 * none). SC_EFORMAT names the first few tensors that are missing, misshapen, or neither ours nor of the file's
 * other tower. A state dict of our own model is taken too, whole or one tower of it (sc_export). The reader gives exactly the wanted ones, in the file's element types; transposed and
 * split tensors are put right. */
typedef struct sc_pretrained sc_pretrained;
sc_status sc_pretrained_open(const sc_weights *w /* must live on */, const char *encoder,
                             const sc_tensor *wanted, size_t n, sc_pretrained **out);
sc_tensor_reader sc_pretrained_reader(const sc_pretrained *p);
void sc_pretrained_close(sc_pretrained *p); /* NULL is fine */

/* A file that was looked for; sha256 is that of sc_weights_digest, in hexadecimal digits. */
typedef struct sc_found { char *path; char sha256[65]; } sc_found;
void sc_found_free(sc_found *f);
/* The file with the published weights of an encoder: `explicit_path` if given (`key` is the option that gave
 * it), else in $SC_WEIGHTS_DIR, else in the caches that Python tools fill (torch hub, ~/.cache/clip, Hugging
 * Face hub). The SHA-256 prefix in a file's published name is checked. SC_EUSAGE lists every place searched,
 * the names wanted and how to get them; SC_EUNSUPPORTED: no weights are published. */
sc_status sc_weights_find(const char *encoder, const char *key, const char *explicit_path,
                          sc_found *out);
/* The vocabulary file of a text encoder: `explicit_path` if given, else beside its weights (a path; NULL: it has
 * none), in $SC_WEIGHTS_DIR, in the caches, in the Python packages that bring it along. Errors as above;
 * SC_EUNSUPPORTED also when nothing is published and none lies beside the weights or in $SC_WEIGHTS_DIR. */
sc_status sc_vocabulary_find(const char *encoder, const char *key, const char *explicit_path,
                             const char *weights, sc_found *out);

#endif
