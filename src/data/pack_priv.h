/* Private to data: what packing, the manifest and the reader share. */
#ifndef SC_DATA_PACK_PRIV_H
#define SC_DATA_PACK_PRIV_H

#include "superclip/data.h"
#include "superclip/json.h"

#define SC_SHARD_FORMAT "superclip-shards"
#define SC_SHARD_VERSION 1
#define SC_MANIFEST "manifest.json"
#define SC_PACKER "superclip " SC_VERSION

/* ---- one shard file -----------------------------------------------------------------------------
 */

/* The datasets, in file order. The first two are the rows, the others small. */
typedef enum sc_set {
    SC_SET_EVAL,
    SC_SET_TRAIN,
    SC_SET_LABELS,
    SC_SET_INDEX,
    SC_SET_PATHS,
    SC_SET_CRC_EVAL,
    SC_SET_CRC_TRAIN,
    SC_SET_SHA256,
    SC_SETS
} sc_set;
#define SC_FIRST_SMALL_SET SC_SET_LABELS
const char *sc_set_name(sc_set s); /* "images/eval" */

typedef struct sc_shard_shape {
    int64_t n;
    int img_size;
    size_t path_bytes; /* of one row of `paths`, NUL padding included */
} sc_shard_shape;
size_t sc_set_row_bytes(sc_set s, const sc_shard_shape *shape);
uint64_t sc_set_bytes(sc_set s, const sc_shard_shape *shape);

typedef struct sc_shard_map {
    uint64_t offset[SC_SETS]; /* of the sets' first byte in the file */
    uint64_t bytes;           /* of the file */
} sc_shard_map;

/* A complete HDF5 file whose sets are allocated and unwritten: rows are pwritten at the offsets. */
sc_status sc_shard_create(const char *path, const sc_shard_shape *shape, char *const *class_names,
                          int classes, sc_shard_map *out);
/* Opens, checks type, shape, layout and place of every set against `shape` and the file size,
 * closes. */
sc_status sc_shard_locate(const char *path, const sc_shard_shape *shape, sc_shard_map *out);
/* SHA-256 of the file without its sets: all of HDF5's own bytes. `fd` is open for reading. */
sc_status sc_shard_metadata_digest(const char *path, int fd, const sc_shard_shape *shape,
                                   const sc_shard_map *map, uint8_t digest[32]);

/* ---- the manifest
 * -------------------------------------------------------------------------------- */
typedef struct sc_shard_entry {
    char file[40];
    int64_t first, samples;
    sc_shard_map map;
    uint8_t sha256[32], metadata_sha256[32];
    uint32_t crc32c[SC_SETS]; /* of the small sets */
} sc_shard_entry;
typedef struct sc_skipped {
    char *path, *reason;
} sc_skipped;
typedef struct sc_manifest {
    int img_size;
    int64_t samples;
    size_t path_bytes;
    char **class_names;
    int classes;
    bool window;
    double window_lo, window_hi;
    sc_shard_entry *shards;
    int shard_count;
    sc_skipped *skipped;
    int64_t skipped_count;
    char data_sha256[65]; /* what sc_dataset_hash gives */
} sc_manifest;
sc_status sc_manifest_save(const sc_manifest *m, const char *path);
sc_status sc_manifest_read(const char *path, sc_manifest *out);
void sc_manifest_free(sc_manifest *m);
void sc_shard_file_name(int shard, int shards, char out[40]);
sc_shard_shape sc_manifest_shape(const sc_manifest *m, int shard);

/* Hash of what the training sees, whatever the number of shards. Feed the small sets of the shards
 * in order. */
typedef struct sc_data_hash sc_data_hash;
sc_data_hash *sc_data_hash_new(int img_size, char *const *class_names, int classes);
void sc_data_hash_add(sc_data_hash *h, const sc_shard_shape *shape, void *const sets[SC_SETS]);
void sc_data_hash_end(sc_data_hash *h, char hex[65]); /* frees h */

/* ---- packing
 * ------------------------------------------------------------------------------------- */

/* How n samples lie in shards, and where the temporary folder is. */
typedef struct sc_pack_plan {
    int64_t n;
    int shards;
    int img_size;
    size_t path_bytes;
    char *tmp; /* folder beside DST: owner, part-NNNNN, and the set */
    char *set; /* <tmp>/set: the shards, which becomes DST */
} sc_pack_plan;
sc_status sc_pack_plan_make(const sc_pack_options *o, int64_t n, char *const *paths,
                            sc_pack_plan *out);
void sc_pack_plan_free(sc_pack_plan *p);
int64_t sc_plan_first(const sc_pack_plan *p, int shard); /* shard == shards: n */
int sc_plan_shard_of(const sc_pack_plan *p, int64_t sample);
sc_shard_shape sc_plan_shape(const sc_pack_plan *p, int shard);
/* The temporary folder's path, from DST; heap. */
char *sc_pack_tmp_path(const char *dst);
int64_t sc_pack_part_first(const sc_source_list *l, int part, int parts);

/* Makes the set's folder and its shards, rows and small sets unwritten. */
sc_status sc_pack_make_shards(const sc_pack_plan *p, char *const *class_names, int classes);

/* What a part knows of a sample, kept in <tmp>/part-NNNNN until finish. */
typedef struct sc_pack_record {
    uint32_t crc_eval, crc_train;
    uint8_t sha256[32];
    uint8_t bad, grey16, grey16_low; /* low: every pixel under 4096 */
    uint8_t unused;
    uint32_t reason; /* bad: offset of its text behind the records */
} sc_pack_record;

/* The temporary folder's owner. Of several processes that begin, one gets it: whoever makes, clears
 * or removes it holds the lock. */
typedef struct sc_tmp_lock {
    char *path; /* "<temporary folder>.lock" */
    int fd;     /* -1: the file system has no locks */
} sc_tmp_lock;
typedef struct sc_tmp_owner {
    bool is_me;
    int made; /* levels of DST's parents that begin made */
} sc_tmp_owner;
sc_status sc_tmp_lock_take(const char *tmp, sc_tmp_lock *out); /* release it also when it failed */
void sc_tmp_lock_release(sc_tmp_lock *l);
/* Removes what a dead packing left; SC_EUSAGE when its owner is alive. The lock is held. */
sc_status sc_tmp_clear_old(const char *tmp, const sc_tmp_lock *lock);
sc_status sc_tmp_make(const char *tmp, int made); /* the lock is held; leaves nothing on failure */
bool sc_tmp_owner_of(const char *tmp, sc_tmp_owner *out); /* false: there is none */
bool sc_tmp_remove(
    const char *tmp); /* under the lock; false: not all of it went. Keeps sc_message() */

/* Removes the temporary folder, whoever began it. */
void sc_pack_clear(const sc_pack_options *o);

/* The file that a part leaves for finish: its records, then the reasons, NUL-terminated. */
char *sc_pack_part_path(const sc_pack_plan *p, int part); /* heap */

/* The samples that a set is made of, after judging. */
typedef struct sc_pack_rows {
    int64_t n;
    int64_t *source; /* [n] index in the scan */
    const sc_source_list *list;
    const sc_pack_record *records; /* of the scan */
} sc_pack_rows;
/* Small sets, checksums and manifest of the set in p->set; fsynced. */
sc_status sc_pack_seal(const sc_pack_options *o, const sc_pack_plan *p, const sc_pack_rows *rows,
                       sc_skipped *skipped, int64_t skipped_count);

/* Name for messages and the manifest: bytes that are not UTF-8 as \xHH. Heap. */
char *sc_printable_name(const char *name);
sc_status sc_pwrite_all(int fd, const char *path, const void *data, size_t n, uint64_t offset);
sc_status sc_pread_all(int fd, const char *path, void *data, size_t n, uint64_t offset);
sc_status sc_fsync_path(const char *path); /* a file or a folder */

#endif
