#include "zip.h"

#include "superclip/codec.h"

#include <stdlib.h>
#include <string.h>

enum {
    ALIGNMENT = 64,
    LOCAL_BYTES = 30,
    FLAG_UTF8 = 0x0800,
    DATE_1980 = 0x0021, /* the first day the format knows: the same tree gives the same bytes */
};

/* Little-endian fields, one after the other. */
typedef struct fields {
    uint8_t bytes[128];
    size_t n;
} fields;

static void put(fields *f, int width, uint64_t v)
{
    for (int i = 0; i < width; i++)
        f->bytes[f->n++] = (uint8_t)(v >> (8 * i));
}

static uint64_t clip32(const sc_zip_writer *w, uint64_t v)
{
    return v >= w->limit ? 0xFFFFFFFFu : v;
}

sc_status sc_zip_create(const char *path, sc_zip_writer *out)
{
    *out = (sc_zip_writer){.limit = 0xFFFFFFFFu};
    return sc_atomic_open(path, &out->file);
}

static void free_members(sc_zip_writer *w)
{
    for (size_t i = 0; i < w->count; i++)
        free(w->members[i].name);
    free(w->members);
    *w = (sc_zip_writer){0};
}

static sc_status remember(sc_zip_writer *w, const sc_zip_member *m)
{
    if (w->count == w->cap) {
        size_t cap = w->cap ? w->cap * 2 : 64;
        sc_zip_member *members = sc_realloc(w->members, cap, sizeof *members);
        if (!members)
            return SC_ENOMEM;
        w->members = members;
        w->cap = cap;
    }
    sc_zip_member copy = *m;
    copy.name = sc_strdup(m->name);
    if (!copy.name)
        return SC_ENOMEM;
    w->members[w->count++] = copy;
    return SC_OK;
}

/* What local header and directory entry have in common: version needed ... extra length. */
static void put_common(fields *f, const sc_zip_writer *w, const sc_zip_member *m, size_t extra)
{
    put(f, 2, m->size >= w->limit || m->offset >= w->limit ? 45 : 20);
    put(f, 2, FLAG_UTF8);
    put(f, 2, 0); /* stored */
    put(f, 2, 0); /* time */
    put(f, 2, DATE_1980);
    put(f, 4, m->crc);
    put(f, 4, clip32(w, m->size));
    put(f, 4, clip32(w, m->size));
    put(f, 2, strlen(m->name));
    put(f, 2, extra);
}

sc_status sc_zip_add(sc_zip_writer *w, const char *name, const void *data, size_t n)
{
    sc_zip_member m = {.name = (char *)name,
                       .size = n,
                       .offset = sc_atomic_tell(w->file),
                       .crc = sc_crc32(0, data, n)};
    size_t zip64 = m.size >= w->limit ? 20 : 0;
    uint64_t unpadded = m.offset + LOCAL_BYTES + strlen(name) + zip64 + 4;
    size_t padding = (size_t)((ALIGNMENT - unpadded % ALIGNMENT) % ALIGNMENT);
    fields f = {0};
    put(&f, 4, 0x04034b50);
    put_common(&f, w, &m, zip64 + 4 + padding);
    SC_TRY(sc_atomic_write(w->file, f.bytes, f.n));
    SC_TRY(sc_atomic_write(w->file, name, strlen(name)));
    f.n = 0;
    if (zip64) {
        put(&f, 2, 1);
        put(&f, 2, 16);
        put(&f, 8, m.size);
        put(&f, 8, m.size);
    }
    put(&f, 2, 0x4246); /* torch's padding field: "FB" */
    put(&f, 2, padding);
    memset(f.bytes + f.n, 'Z', padding);
    SC_TRY(sc_atomic_write(w->file, f.bytes, f.n + padding));
    SC_TRY(sc_atomic_write(w->file, data, n));
    return remember(w, &m);
}

static sc_status write_directory_entry(sc_zip_writer *w, const sc_zip_member *m)
{
    fields extra = {0}, f = {0};
    if (m->size >= w->limit || m->offset >= w->limit) {
        size_t values = (m->size >= w->limit ? 16u : 0u) + (m->offset >= w->limit ? 8u : 0u);
        put(&extra, 2, 1);
        put(&extra, 2, values);
        if (m->size >= w->limit) {
            put(&extra, 8, m->size);
            put(&extra, 8, m->size);
        }
        if (m->offset >= w->limit)
            put(&extra, 8, m->offset);
    }
    put(&f, 4, 0x02014b50);
    put(&f, 2, 45); /* made by: version 4.5, no attributes of a system */
    put_common(&f, w, m, extra.n);
    put(&f, 2, 0); /* comment */
    put(&f, 2, 0); /* disk */
    put(&f, 2, 0); /* internal attributes */
    put(&f, 4, 0); /* external attributes */
    put(&f, 4, clip32(w, m->offset));
    SC_TRY(sc_atomic_write(w->file, f.bytes, f.n));
    SC_TRY(sc_atomic_write(w->file, m->name, strlen(m->name)));
    return sc_atomic_write(w->file, extra.bytes, extra.n);
}

static sc_status write_directory(sc_zip_writer *w)
{
    uint64_t start = sc_atomic_tell(w->file);
    for (size_t i = 0; i < w->count; i++)
        SC_TRY(write_directory_entry(w, &w->members[i]));
    uint64_t end = sc_atomic_tell(w->file);
    uint64_t most = w->limit < 0xFFFF ? w->limit : 0xFFFF; /* the count has 16 bits */
    fields f = {0};
    if (w->count >= most || start >= w->limit || end - start >= w->limit) {
        put(&f, 4, 0x06064b50); /* zip64 end of directory, then its locator */
        put(&f, 8, 44);
        put(&f, 2, 45);
        put(&f, 2, 45);
        put(&f, 4, 0);
        put(&f, 4, 0);
        put(&f, 8, w->count);
        put(&f, 8, w->count);
        put(&f, 8, end - start);
        put(&f, 8, start);
        put(&f, 4, 0x07064b50);
        put(&f, 4, 0);
        put(&f, 8, end);
        put(&f, 4, 1);
    }
    put(&f, 4, 0x06054b50);
    put(&f, 2, 0);
    put(&f, 2, 0);
    put(&f, 2, w->count >= most ? 0xFFFF : w->count);
    put(&f, 2, w->count >= most ? 0xFFFF : w->count);
    put(&f, 4, clip32(w, end - start));
    put(&f, 4, clip32(w, start));
    put(&f, 2, 0);
    return sc_atomic_write(w->file, f.bytes, f.n);
}

sc_status sc_zip_finish(sc_zip_writer *w, sc_atomic_file **out)
{
    sc_status status = write_directory(w);
    *out = w->file;
    if (status != SC_OK) {
        sc_atomic_abort(w->file);
        *out = NULL;
    }
    free_members(w);
    return status;
}

sc_status sc_zip_commit(sc_zip_writer *w)
{
    sc_atomic_file *file;
    SC_TRY(sc_zip_finish(w, &file));
    return sc_atomic_commit(file);
}

void sc_zip_abort(sc_zip_writer *w)
{
    sc_atomic_abort(w->file);
    free_members(w);
}
