/* data: from image files to batches of 8-bit rows. Decoding and resizing (PIL's bytes), shards, folds,
 * epoch order, augmentation draws, and the threaded row source. Only home of HDF5 and the image
 * libraries.
 */
#ifndef SUPERCLIP_DATA_H
#define SUPERCLIP_DATA_H

#include "superclip/base.h"
#include "superclip/tensor.h"

/* ---- images ---------------------------------------------------------------------------------- */
typedef struct sc_image { int width, height; uint8_t *rgb; /* [height][width][3] */ } sc_image;
typedef struct sc_decode_options {
    double max_pixels;        /* 178e6 */
    bool window; double window_lo, window_hi; /* 16-bit grey: linear from here; else 0..65535 */
} sc_decode_options;
typedef struct sc_decode_notes {
    bool grey16;         /* a 16-bit grey image, whose largest sample was grey16_max */
    uint32_t grey16_max;
    double pixels;       /* what the header says, also when that was too many */
} sc_decode_notes;
/* By content, checked against the extension of `name`. The pixels of PIL's Image.open(name).convert("RGB"),
 * but 16-bit grey, which is scaled (see sc_decode_options). options, notes may be NULL. SC_EFORMAT with a
 * reason when bad; then *out is empty. Nothing is allocated for an image above max_pixels. Thread-safe. */
sc_status sc_image_decode(const char *name, const void *data, size_t n, const sc_decode_options *o,
                          sc_image *out, sc_decode_notes *notes);
void sc_image_free(sc_image *im);
/* PIL's Image.resize((w, h), BILINEAR), horizontal pass first; dst [h][w][3]. Same size: a copy. One
 * exception, as in Pillow 12: an image over 100 times as high as wide is shrunk by its columns first. */
sc_status sc_image_resize(const sc_image *src, int w, int h, uint8_t *dst);
int sc_train_size(int img_size); /* int(1.1 * S) */
bool sc_image_name(const char *name); /* has the extension of an image format, in any case */
/* Files to square rows, for several threads at once. Images of more than 24 million pixels are decoded one at a
 * time. o: may be NULL. */
typedef struct sc_row_maker sc_row_maker;
sc_status sc_row_maker_open(const sc_decode_options *o, sc_row_maker **out);
void sc_row_maker_free(sc_row_maker *m);
/* A file's bytes, at most 1 GiB; SC_EFORMAT with a reason that does not name the file. Caller frees. */
sc_status sc_image_read(const char *path, char **data, size_t *n);
/* Decoded once and resized into rows[k], [sizes[k]][sizes[k]][3]. SC_EFORMAT with a reason when bad. */
sc_status sc_row_maker_rows(sc_row_maker *m, const char *name, const void *data, size_t n,
                            const int *sizes, uint8_t *const *rows, int count, sc_decode_notes *notes);
/* By the extension of `path`: .jpg .jpeg (quality 92) .png .bmp .tif .tiff .webp, in any case. grey: one
 * channel, the red one, where the format has that (WebP has not). Equal pixels give equal bytes. Not atomic. */
sc_status sc_image_write(const char *path, const sc_image *im, bool grey);

/* ---- packing ----------------------------------------------------------------------------------
 * A packed set is a folder of manifest.json and shard-00000-of-00004.h5 ..., HDF5 files that h5py reads. Root
 * attributes: format, format_version, img_size, class_names, packer_version. Datasets of n rows, each one
 * contiguous block: images/eval u8 [n,S,S,3], images/train u8 [n,S',S',3], labels i32, index i64 (of the whole
 * set), paths ("class/file", UTF-8, NUL-padded), crc32c/eval and crc32c/train u32 (of each image row),
 * source_sha256 u8 [n,32] (of the image file). Samples lie in contiguous ranges, shard s of K holding
 * n*s/K .. n*(s+1)/K. The bytes depend on the images, S, K and the window only: not on ranks, threads or time.
 */
typedef struct sc_pack_options {
    const char *src, *dst;
    int img_size;
    int shards;      /* 0: one per 2 GiB */
    bool skip_bad, force;
    bool automatic;  /* packed on the way by a program without these flags: advice is to use pack_hdf5 */
    sc_decode_options decode;
    int threads;
    const sc_log *log;
    /* done and total of this part; called on the thread that called sc_pack_part; may be NULL */
    void (*progress)(void *ctx, int64_t done, int64_t total);
    /* Asked as often, and before the first image: true ends sc_pack_part soon, with SC_EINTERRUPTED. May be NULL */
    bool (*stop)(void *ctx);
    void *progress_ctx; /* of both */
} sc_pack_options;

/* A scan of class folders, in sample order. */
typedef struct sc_source_list {
    char **class_names; int classes;
    char **paths;     /* "class/file" */
    int32_t *labels;
    int64_t *sizes, *mtimes_ns;
    int64_t count;
    char *folder;        /* real path of the folder; NULL: unknown */
    int64_t *ctimes_ns;  /* when each file's content or name last changed; NULL: unknown */
} sc_source_list;
sc_status sc_source_scan(const char *src, const sc_log *log, sc_source_list *out);
void sc_source_list_free(sc_source_list *l);
/* Hash of the folder's real path, the files' paths, sizes, mtimes and ctimes, and the settings: names an
 * automatic cache entry. 64 hex digits. Without folder and ctimes_ns it tells only whether two hosts see the
 * same files. */
void sc_source_key(const sc_source_list *l, const sc_pack_options *o, char key[65]);

/* Packing by several processes that see the same folders: each of `parts` processes calls sc_pack_part for its own part (any
 * split gives the same bytes), then, after all are done, one calls sc_pack_finish, which judges all
 * bad files, joins, fsyncs and renames. One process: part 0 of 1, then finish. The temporary folder
 * is DST's neighbour ".<name>.packing", made by sc_pack_begin (called by one process before the parts);
 * begin also removes what a killed packing left, and refuses while another one is running. begin and
 * finish leave nothing behind when they fail; after a failed part, the process that began abandons. */
sc_status sc_pack_begin(const sc_pack_options *o, const sc_source_list *l);
sc_status sc_pack_part(const sc_pack_options *o, const sc_source_list *l, int part, int parts);
sc_status sc_pack_finish(const sc_pack_options *o, const sc_source_list *l, int parts);
void sc_pack_abandon(const sc_pack_options *o); /* removes the temporary folder */

/* ---- a packed set, opened --------------------------------------------------------------------- */
typedef struct sc_dataset sc_dataset;
bool sc_is_packed(const char *dir); /* has a manifest.json */
/* Checks the manifest, every shard's size, the SHA-256 of all bytes that HDF5 interprets (before HDF5 sees
 * them), type, layout and place of every set, the small sets' checksums, and data_sha256 over all of them;
 * rows are checked when they are first read, so every byte is covered without reading the images here. The
 * manifest's sha256 of whole shards is for copying and archiving tools. img_size must match (SC_EUSAGE
 * naming both; 0 accepts any). No HDF5 handle stays open. Thread-safe afterwards. */
sc_status sc_dataset_open(const char *dir, int img_size, const sc_log *log, sc_dataset **out);
void sc_dataset_close(sc_dataset *d);
/* The set is a cache, which its user packs again when it has no manifest: a damaged row removes the manifest
 * that was opened (and no newer one), and the message says so. Call it before rows are read. */
void sc_dataset_is_cache(sc_dataset *d);
int64_t sc_dataset_count(const sc_dataset *d);
int sc_dataset_classes(const sc_dataset *d);
const char *const *sc_dataset_class_names(const sc_dataset *d);
const int32_t *sc_dataset_labels(const sc_dataset *d);     /* [count] */
const char *sc_dataset_path(const sc_dataset *d, int64_t i); /* "class/file" */
int sc_dataset_img_size(const sc_dataset *d);
/* Hex; changes with content, order, class names or img_size, not with the number of shards. */
const char *sc_dataset_hash(const sc_dataset *d);
typedef enum sc_row_kind { SC_ROW_EVAL, SC_ROW_TRAIN } sc_row_kind;
int sc_dataset_row_size(const sc_dataset *d, sc_row_kind kind); /* S or S' */
/* One row [P][P][3] into dst; pread, and its CRC-32C is checked the first time it is read. */
sc_status sc_dataset_row(sc_dataset *d, sc_row_kind kind, int64_t i, uint8_t *dst);

/* ---- folds ------------------------------------------------------------------------------------ */
typedef struct sc_fold {
    int64_t *train, *val; /* ascending sample indices */
    int64_t train_count, val_count;
} sc_fold;
/* scikit-learn's StratifiedKFold(n_splits, shuffle=True, random_state), bit for bit. A class smaller than
 * n_splits is a warning; fewer than 2 classes or 2 splits, fewer samples than splits, or every class smaller
 * than n_splits: SC_EUSAGE. class_names (by label; NULL: numbers are told) is for messages. */
sc_status sc_folds_make(const int32_t *labels, int64_t n, const char *const *class_names,
                        int n_splits, uint32_t random_state, const sc_log *log,
                        sc_fold **out /* [n_splits] */);
void sc_folds_free(sc_fold *f, int n_splits);

/* ---- order and weights -------------------------------------------------------------------------
 * Philox keys are (random_state, stream), counters (epoch, position, draw number, fold): epochs from 0, folds
 * from 1, random_state below 2^32. docs/random_numbers.md says which draw feeds which choice.
 */
typedef enum sc_weight_method { SC_INVERSE_FREQ, SC_INVERSE_SQRT } sc_weight_method;
/* w_c from training counts: N/(K(n_c+s)) or sqrt(N/(n_c+s)); 0 for an absent class. */
void sc_class_weights(const int64_t *counts, int classes, sc_weight_method m, double smooth,
                      double *out);
/* Permutation of fold->train (Fisher-Yates), or N weighted draws with replacement when weights
 * (one a class) is given; weights that are negative, not finite or all zero: SC_ENUMERIC.
 * out [fold->train_count]. */
sc_status sc_train_order(const sc_fold *f, const int32_t *labels, const double *weights, int classes,
                         uint64_t random_state, int epoch, int fold, int64_t *out);
/* The fixed permutation of fold->val. */
void sc_val_order(const sc_fold *f, uint64_t random_state, int fold, int64_t *out);

/* Draws of the sample at `position` of the epoch. size: S, row: P of the train rows. */
void sc_augment_draw(uint64_t random_state, int epoch, int64_t position, int fold, int size, int row,
                     sc_augment *out);

/* ---- row source -------------------------------------------------------------------------------- */
typedef struct sc_batch {
    int64_t first;             /* position of the global batch in the epoch */
    int64_t rows_global, rows; /* of the group, of this rank */
    int64_t local_first;       /* this rank's first row inside the global batch */
    const int64_t *samples;    /* [rows_global] sample indices */
    const int32_t *labels;     /* [rows_global] */
    sc_row_kind kind;          /* of its rows */
    const uint8_t *pixels;     /* [rows][P][P][3]; NULL without_pixels */
    const sc_augment *draws;   /* [rows]; all zero when evaluating */
} sc_batch;
typedef struct sc_row_source sc_row_source;
typedef struct sc_row_source_options {
    sc_dataset *dataset;
    int threads;      /* loader threads; 0: the caller's thread loads */
    int64_t batch;    /* global */
    int rank, ranks;  /* the slice sc_split_rows gives this rank */
    int depth;        /* batches read ahead; 0: a good default */
    bool without_pixels; /* the caller keeps the rows elsewhere: no file is read, batches say which */
} sc_row_source_options;
typedef struct sc_epoch_request {
    const int64_t *order; int64_t count; /* copied */
    int64_t first_batch;                 /* to resume inside an epoch */
    bool augment;                        /* standard augmentation on train rows, else eval rows */
    uint64_t random_state; int epoch, fold;
} sc_epoch_request;
/* One consumer thread calls these; a call of begin or close is fine at any point of an epoch. */
sc_status sc_row_source_open(const sc_row_source_options *o, sc_row_source **out);
void sc_row_source_close(sc_row_source *s);
/* Starts reading ahead. Allocates only when a batch is larger than any before. */
sc_status sc_row_source_begin(sc_row_source *s, const sc_epoch_request *r);
/* The next batch in order; *out valid until the next call. rows_global 0 at the end of the epoch. A row
 * that cannot be read fails the call that would give its batch, with the lowest such row's message,
 * whichever thread met it; so does every later call until the next begin. */
sc_status sc_row_source_next(sc_row_source *s, sc_batch *out);
double sc_row_source_wait_seconds(const sc_row_source *s); /* time next() waited, since begin */

#endif
