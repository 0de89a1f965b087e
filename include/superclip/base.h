/* base: what every room stands on. Status and messages, logging, text buffers, element types,
 * random numbers, checksums, atomic file replacement, arenas. Needs libc only.
 */
#ifndef SUPERCLIP_BASE_H
#define SUPERCLIP_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define SC_VERSION "0.1.0"

#if defined(__GNUC__)
#define SC_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define SC_PRINTF(fmt, args)
#endif

/* ---- status ------------------------------------------------------------------------------
 * Every function that can fail returns an sc_status. The one-line message of the newest failure
 * of the calling thread is sc_message(); it names the file, key or row and says what to do.
 * A worker thread that fails hands its message over with sc_message() / sc_fail(code, "%s", m).
 */
typedef enum sc_status {
    SC_OK = 0,
    SC_EUSAGE,       /* the user's command line, config or data is wrong */
    SC_EIO,          /* the operating system refused: open, read, write, rename, full disk */
    SC_EFORMAT,      /* a file is damaged or is not what its name says */
    SC_ENOMEM,       /* memory could not be had */
    SC_EUNSUPPORTED, /* correct, but not in this build or on this machine */
    SC_ENUMERIC,     /* a loss or parameter stopped being finite */
    SC_ECOMM,        /* a peer or the communication layer failed */
    SC_EINTERRUPTED, /* asked to stop (SIGUSR1): state is saved, resumable */
    SC_EINTERNAL     /* a promise inside this program was broken: a bug */
} sc_status;

const char *sc_status_name(sc_status s); /* "ok", "usage", "io", ... */

/* Records the message of the calling thread and returns `code`. Newlines become spaces. */
sc_status sc_fail_at(const char *file, int line, sc_status code, const char *fmt, ...)
    SC_PRINTF(4, 5);
#define sc_fail(code, ...) sc_fail_at(__FILE__, __LINE__, (code), __VA_ARGS__)
/* Puts "context: " before the recorded message; returns `code`. */
sc_status sc_fail_prefix(sc_status code, const char *fmt, ...) SC_PRINTF(2, 3);
const char *sc_message(void);       /* of this thread; "" when nothing failed yet */
const char *sc_message_place(void); /* "src/data/shard.c:120" of that message */
void sc_message_clear(void);

#define SC_TRY(expr)                          \
    do {                                      \
        sc_status sc_try_status_ = (expr);    \
        if (sc_try_status_ != SC_OK)          \
            return sc_try_status_;            \
    } while (0)
/* For a function that owns things: expects `sc_status status` and a label `done`. */
#define SC_TRY_GOTO(expr)         \
    do {                          \
        status = (expr);          \
        if (status != SC_OK)      \
            goto done;            \
    } while (0)

/* ---- log ---------------------------------------------------------------------------------
 * A room that has something to tell the user gets an sc_log. NULL means standard error.
 */
typedef enum sc_log_level { SC_LOG_INFO, SC_LOG_WARN, SC_LOG_ERROR } sc_log_level;
typedef struct sc_log {
    void (*write)(void *ctx, sc_log_level level, const char *line); /* line without newline */
    void *ctx;
} sc_log;
void sc_log_line(const sc_log *log, sc_log_level level, const char *fmt, ...) SC_PRINTF(3, 4);
#define sc_info(log, ...) sc_log_line((log), SC_LOG_INFO, __VA_ARGS__)
#define sc_warn(log, ...) sc_log_line((log), SC_LOG_WARN, __VA_ARGS__)

/* ---- memory and text ---------------------------------------------------------------------- */
/* Like malloc/calloc/realloc/strdup, but overflow-checked and with a message; NULL on failure. */
void *sc_alloc(size_t count, size_t size);  /* zeroed; count 0 gives a valid pointer */
void *sc_realloc(void *p, size_t count, size_t size);
char *sc_strdup(const char *s);
char *sc_strndup(const char *s, size_t n);
char *sc_format(const char *fmt, ...) SC_PRINTF(1, 2); /* heap text; NULL on failure */
bool sc_mul_overflow(size_t a, size_t b, size_t *out);

/* A growing byte buffer, NUL-terminated behind its length. A failed growth sets `failed` and
 * makes the later calls no-ops: check once, at the end, with sc_text_status. */
typedef struct sc_text {
    char *data;
    size_t len, cap;
    bool failed;
} sc_text;
void sc_text_init(sc_text *t);
void sc_text_free(sc_text *t);
void sc_text_clear(sc_text *t);
void sc_text_add(sc_text *t, const void *bytes, size_t n);
void sc_text_puts(sc_text *t, const char *s);
void sc_text_putf(sc_text *t, const char *fmt, ...) SC_PRINTF(2, 3);
sc_status sc_text_status(const sc_text *t);

/* Nearest of `names` to `word` by edit distance for "did you mean"; NULL if none is near. */
const char *sc_nearest(const char *word, const char *const *names, size_t n);
bool sc_utf8_valid(const char *s, size_t n);

/* What is wrong with many things at once, in one line: the first few are named, the others counted.
 * Begin with a zeroed one. */
#define SC_OFFENDERS_SHOWN 3
typedef struct sc_offenders {
    sc_text text;
    size_t count;
} sc_offenders;
void sc_offend(sc_offenders *o, const char *fmt, ...) SC_PRINTF(2, 3);
/* SC_OK without offenders; else SC_EFORMAT "<what>: a; b; c; and 4 more". Frees the text. */
sc_status sc_offenders_status(sc_offenders *o, const char *what, ...) SC_PRINTF(2, 3);

/* A bump arena: many small allocations, freed at once. */
typedef struct sc_arena sc_arena;
sc_arena *sc_arena_new(size_t block_bytes);
void *sc_arena_alloc(sc_arena *a, size_t bytes); /* zeroed, 16-byte aligned; NULL on failure */
char *sc_arena_strdup(sc_arena *a, const char *s);
void sc_arena_free(sc_arena *a);

/* ---- element types ------------------------------------------------------------------------ */
typedef enum sc_dtype {
    SC_F32, SC_F64, SC_BF16, SC_F16, SC_I64, SC_I32, SC_I16, SC_I8, SC_U8, SC_BOOL
} sc_dtype;
size_t sc_dtype_size(sc_dtype t);
const char *sc_dtype_name(sc_dtype t); /* "float32", ... */
bool sc_dtype_is_float(sc_dtype t);

/* ---- random numbers ----------------------------------------------------------------------- */
/* Philox4x32-10 (Salmon et al. 2011), the generator of every random choice of the training. */
typedef enum sc_stream {
    SC_STREAM_INIT = 1, SC_STREAM_ORDER = 2, SC_STREAM_AUGMENT = 3, SC_STREAM_VAL_ORDER = 4
} sc_stream;
void sc_philox4x32(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]);
/* uniform in [0,1): the upper 24 bits of a word times 2^-24 */
static inline float sc_uniform24(uint32_t word) { return (float)(word >> 8) * 0x1p-24f; }
/* exact floor(u * n) for u = uniform24(word), 1 <= n <= 2^32 */
static inline uint32_t sc_below24(uint32_t word, uint32_t n)
{
    return (uint32_t)(((uint64_t)(word >> 8) * n) >> 24);
}

/* MT19937 as numpy's legacy RandomState(int seed) uses it: Knuth fill (init_genrand). */
typedef struct sc_mt19937 { uint32_t key[624]; int pos; } sc_mt19937;
void sc_mt19937_seed(sc_mt19937 *mt, uint32_t seed);
uint32_t sc_mt19937_next(sc_mt19937 *mt);
/* numpy's rk_interval: uniform in 0..max inclusive by masked rejection; max 0 draws nothing */
uint32_t sc_mt19937_interval(sc_mt19937 *mt, uint32_t max);

/* ---- checksums ---------------------------------------------------------------------------- */
/* CRC-32C (Castagnoli, reflected 0x82F63B78). Start with 0; feed the result back to continue. */
uint32_t sc_crc32c(uint32_t crc, const void *data, size_t n);

/* ---- files -------------------------------------------------------------------------------- */
/* Whole-file replacement that survives a crash: bytes go to "<path>.tmp.<thread id>" in the same
 * folder; commit = flush, fsync, rename, fsync of the folder. abort (or a failed commit) removes
 * the temporary file and leaves the old one as it was. */
typedef struct sc_atomic_file sc_atomic_file;
sc_status sc_atomic_open(const char *path, sc_atomic_file **out);
sc_status sc_atomic_write(sc_atomic_file *f, const void *data, size_t n);
sc_status sc_atomic_pwrite(sc_atomic_file *f, const void *data, size_t n, uint64_t offset);
uint64_t sc_atomic_tell(const sc_atomic_file *f);
sc_status sc_atomic_commit(sc_atomic_file *f); /* frees f in every case */
void sc_atomic_abort(sc_atomic_file *f);       /* frees f; NULL is fine */
sc_status sc_write_file(const char *path, const void *data, size_t n); /* atomic, whole */
/* Whole regular file into memory, NUL-terminated; an error above max_bytes. Caller frees. */
sc_status sc_read_file(const char *path, size_t max_bytes, char **data, size_t *n);
sc_status sc_make_dirs(const char *path); /* mkdir -p */
sc_status sc_remove_tree(const char *path); /* does not follow links; missing is fine */
bool sc_file_exists(const char *path);
char *sc_path_join(const char *a, const char *b); /* heap; NULL on failure */

/* ---- time --------------------------------------------------------------------------------- */
double sc_now(void); /* monotonic seconds */

/* ---- cores -------------------------------------------------------------------------------- */
/* Cores of this node that the process may use, hyperthreads counted once; launched: look behind the
 * binding a launcher chose. */
int sc_cores(bool launched);
/* Threads of one of `processes` on the node: OMP_NUM_THREADS, else its share of the cores. */
int sc_threads(int cores, int processes);

#endif
