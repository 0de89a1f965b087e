#include "zip.h"

#include "superclip/codec.h"

#include <stdlib.h>
#include <string.h>

enum {
    END_BYTES = 22,
    LOCATOR_BYTES = 20,
    END64_BYTES = 56,
    ENTRY_BYTES = 46,
    LOCAL_BYTES = 30,
    LONGEST_COMMENT = 0xFFFF,
    FLAG_ENCRYPTED = 1,
    PIECE = 1 << 18,
};

typedef struct directory {
    uint64_t offset, bytes, count;
    uint64_t end; /* where its end records begin: it has to stop before */
} directory;

static sc_status damaged(const sc_zip_reader *z, const char *what)
{
    return sc_fail(SC_EFORMAT, "%s: damaged zip file: %s", z->file.path, what);
}

/* The record is the last thing in the file but for a comment whose length it holds. */
static sc_status find_end(const sc_zip_reader *z, uint8_t end[END_BYTES], uint64_t *at)
{
    uint64_t size = z->file.size;
    if (size < END_BYTES)
        return damaged(z, "it is too short");
    size_t tail = size < END_BYTES + LONGEST_COMMENT ? (size_t)size : END_BYTES + LONGEST_COMMENT;
    uint8_t *bytes = sc_alloc(tail, 1);
    if (!bytes)
        return SC_ENOMEM;
    sc_status status = sc_input_read(&z->file, bytes, tail, size - tail);
    bool found = false;
    for (size_t i = tail - END_BYTES + 1; status == SC_OK && !found && i-- > 0;) {
        if (sc_le32(bytes + i) != 0x06054b50 || sc_le16(bytes + i + 20) != tail - END_BYTES - i)
            continue;
        memcpy(end, bytes + i, END_BYTES);
        *at = size - tail + i;
        found = true;
    }
    free(bytes);
    if (status == SC_OK && !found)
        status = damaged(z, "no directory at its end; the file is cut off or was changed");
    return status;
}

static sc_status read_end64(const sc_zip_reader *z, uint64_t end_at, directory *d, bool *found)
{
    uint8_t locator[LOCATOR_BYTES], end[END64_BYTES];
    *found = false;
    if (end_at < LOCATOR_BYTES)
        return SC_OK;
    SC_TRY(sc_input_read(&z->file, locator, sizeof locator, end_at - LOCATOR_BYTES));
    if (sc_le32(locator) != 0x07064b50)
        return SC_OK;
    uint64_t at = sc_le64(locator + 8);
    if (at > end_at - LOCATOR_BYTES || end_at - LOCATOR_BYTES - at < END64_BYTES)
        return damaged(z, "its zip64 directory is outside the file");
    SC_TRY(sc_input_read(&z->file, end, sizeof end, at));
    if (sc_le32(end) != 0x06064b50)
        return damaged(z, "its zip64 directory is not where it should be");
    *d = (directory){.count = sc_le64(end + 32),
                     .bytes = sc_le64(end + 40),
                     .offset = sc_le64(end + 48),
                     .end = at};
    *found = true;
    return SC_OK;
}

static sc_status find_directory(const sc_zip_reader *z, directory *d)
{
    uint8_t end[END_BYTES] = {0};
    uint64_t at = 0;
    bool zip64;
    SC_TRY(find_end(z, end, &at));
    SC_TRY(read_end64(z, at, d, &zip64));
    if (!zip64)
        *d = (directory){.count = sc_le16(end + 10),
                         .bytes = sc_le32(end + 12),
                         .offset = sc_le32(end + 16),
                         .end = at};
    if (d->offset > d->end || d->bytes > d->end - d->offset)
        return damaged(z, "its directory is outside the file");
    if (d->count > d->bytes / ENTRY_BYTES)
        return damaged(z, "its directory holds fewer entries than it says");
    return SC_OK;
}

/* Sizes and offset that did not fit 32 bits stand in the zip64 field, in this order. */
static bool widen(const uint8_t *extra, size_t n, sc_zip_entry *e)
{
    uint64_t *wanted[] = {&e->size, &e->packed, &e->offset};
    bool missing = false;
    for (int i = 0; i < 3; i++)
        missing |= *wanted[i] == 0xFFFFFFFFu;
    while (missing && n >= 4) {
        size_t len = sc_le16(extra + 2);
        if (len > n - 4)
            return false;
        if (sc_le16(extra) == 1) {
            const uint8_t *p = extra + 4;
            for (int i = 0; i < 3; i++) {
                if (*wanted[i] != 0xFFFFFFFFu)
                    continue;
                if (len < 8)
                    return false;
                *wanted[i] = sc_le64(p);
                p += 8;
                len -= 8;
            }
            return true;
        }
        extra += 4 + len;
        n -= 4 + len;
    }
    return !missing;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const sc_zip_entry *)a)->name, ((const sc_zip_entry *)b)->name);
}

/* Fills entries and names from the directory's bytes. */
static sc_status read_entries(sc_zip_reader *z, const directory *d, const uint8_t *bytes)
{
    size_t at = 0, names = 0;
    for (z->count = 0; z->count < d->count; z->count++) {
        const uint8_t *p = bytes + at;
        if (d->bytes - at < ENTRY_BYTES || sc_le32(p) != 0x02014b50)
            return damaged(z, "its directory is damaged");
        size_t name = sc_le16(p + 28), extra = sc_le16(p + 30), comment = sc_le16(p + 32);
        if (d->bytes - at - ENTRY_BYTES < name + extra + comment)
            return damaged(z, "its directory is damaged");
        sc_zip_entry *e = &z->entries[z->count];
        *e = (sc_zip_entry){.flags = sc_le16(p + 8),
                            .method = sc_le16(p + 10),
                            .crc = sc_le32(p + 16),
                            .packed = sc_le32(p + 20),
                            .size = sc_le32(p + 24),
                            .offset = sc_le32(p + 42)};
        if (!widen(p + ENTRY_BYTES + name, extra, e))
            return damaged(z, "a zip64 field is damaged");
        /* deflate makes at most 1032 bytes of one: a larger claim is a lie or a bomb */
        if (e->packed > z->file.size || (e->method == 0 && e->packed != e->size) ||
            (e->method == 8 && e->size > e->packed * 1032 + 1024))
            return damaged(z, "a member has an impossible size");
        if (memchr(p + ENTRY_BYTES, 0, name) || name == 0)
            return damaged(z, "a member has no valid name");
        e->name = z->names + names;
        memcpy(z->names + names, p + ENTRY_BYTES, name); /* NUL behind it: names are zeroed */
        names += name + 1;
        at += ENTRY_BYTES + name + extra + comment;
    }
    z->first = z->count ? z->entries[0].name : "";
    qsort(z->entries, z->count, sizeof *z->entries, by_name);
    for (size_t i = 1; i < z->count; i++)
        if (!strcmp(z->entries[i - 1].name, z->entries[i].name))
            return damaged(z, "two members have the same name");
    return SC_OK;
}

sc_status sc_zip_open(const char *path, sc_zip_reader *out)
{
    *out = (sc_zip_reader){0};
    SC_TRY(sc_input_open(path, &out->file));
    directory d;
    uint8_t *bytes = NULL;
    sc_status status = find_directory(out, &d);
    if (status == SC_OK) {
        bytes = sc_alloc(d.bytes, 1);
        out->entries = sc_alloc(d.count, sizeof *out->entries);
        /* every entry's name lies in `bytes` next to at least 46 others: its NUL has room */
        out->names = sc_alloc(d.bytes, 1);
        if (!bytes || !out->entries || !out->names)
            status = sc_fail_prefix(SC_ENOMEM, "%s", path);
    }
    if (status == SC_OK)
        status = sc_input_read(&out->file, bytes, d.bytes, d.offset);
    if (status == SC_OK)
        status = read_entries(out, &d, bytes);
    free(bytes);
    if (status != SC_OK)
        sc_zip_close(out);
    return status;
}

void sc_zip_close(sc_zip_reader *z)
{
    free(z->entries);
    free(z->names);
    sc_input_close(&z->file);
    *z = (sc_zip_reader){.file.fd = -1};
}

sc_zip_entry *sc_zip_find(const sc_zip_reader *z, const char *name)
{
    sc_zip_entry wanted = {.name = name};
    return z->count ? bsearch(&wanted, z->entries, z->count, sizeof wanted, by_name) : NULL;
}

/* The local header is believed in nothing but its two lengths; it has to carry the same name. */
static sc_status find_payload(const sc_zip_reader *z, const sc_zip_entry *e, uint64_t *payload)
{
    uint8_t local[LOCAL_BYTES];
    char name[256];
    size_t len = strlen(e->name);
    SC_TRY(sc_input_read(&z->file, local, sizeof local, e->offset));
    if (sc_le32(local) != 0x04034b50 || sc_le16(local + 26) != len)
        return damaged(z, "a member is not where the directory says");
    for (size_t done = 0; done < len;) {
        size_t n = len - done < sizeof name ? len - done : sizeof name;
        SC_TRY(sc_input_read(&z->file, name, n, e->offset + LOCAL_BYTES + done));
        if (memcmp(name, e->name + done, n) != 0)
            return damaged(z, "a member is not where the directory says");
        done += n;
    }
    *payload = e->offset + LOCAL_BYTES + len + sc_le16(local + 28);
    return SC_OK;
}

static sc_status read_deflated(const sc_zip_reader *z, const sc_zip_entry *e, uint64_t payload,
                               void *dst)
{
    if (payload > z->file.size || e->packed > z->file.size - payload)
        return damaged(z, "a member reaches beyond the end of the file");
    void *packed = sc_alloc(e->packed, 1);
    if (!packed)
        return SC_ENOMEM;
    sc_status status = sc_input_read(&z->file, packed, e->packed, payload);
    if (status == SC_OK && (status = sc_inflate_raw(packed, e->packed, dst, e->size)) != SC_OK)
        sc_fail_prefix(status, "%s: member '%s'", z->file.path, e->name);
    free(packed);
    return status;
}

static sc_status check_method(const sc_zip_reader *z, const sc_zip_entry *e)
{
    if (e->flags & FLAG_ENCRYPTED)
        return sc_fail(SC_EFORMAT, "%s: member '%s' is encrypted", z->file.path, e->name);
    if (e->method != 0 && e->method != 8)
        return sc_fail(SC_EFORMAT, "%s: member '%s' is compressed by method %u, which is not read",
                       z->file.path, e->name, (unsigned)e->method);
    return SC_OK;
}

static sc_status check_sum(const sc_zip_reader *z, const sc_zip_entry *e, uint32_t crc)
{
    if (crc != e->crc)
        return sc_fail(SC_EFORMAT,
                       "%s: member '%s' is damaged: its checksum is %08x, the file says %08x",
                       z->file.path, e->name, (unsigned)crc, (unsigned)e->crc);
    return SC_OK;
}

/* In pieces that the cache still holds when their sum is made. */
static sc_status read_stored(const sc_zip_reader *z, const sc_zip_entry *e, uint64_t payload,
                             uint8_t *dst)
{
    uint32_t crc = 0;
    for (uint64_t at = 0, n; at < e->size; at += n) {
        n = e->size - at < PIECE ? e->size - at : PIECE;
        SC_TRY(sc_input_read(&z->file, dst + at, n, payload + at));
        crc = sc_crc32(crc, dst + at, n);
    }
    return check_sum(z, e, crc);
}

sc_status sc_zip_read(const sc_zip_reader *z, const sc_zip_entry *e, void *dst)
{
    uint64_t payload;
    SC_TRY(check_method(z, e));
    SC_TRY(find_payload(z, e, &payload));
    if (e->method == 0)
        return read_stored(z, e, payload, dst);
    SC_TRY(read_deflated(z, e, payload, dst));
    return check_sum(z, e, sc_crc32(0, dst, e->size));
}

sc_status sc_zip_verify(const sc_zip_reader *z, const sc_zip_entry *e)
{
    uint64_t payload, room = e->method == 8 || e->size < PIECE ? e->size : PIECE;
    uint32_t crc = 0;
    SC_TRY(check_method(z, e));
    SC_TRY(find_payload(z, e, &payload));
    if (e->method == 0 && (payload > z->file.size || e->size > z->file.size - payload))
        return damaged(z, "a member reaches beyond the end of the file");
    void *buffer = sc_alloc(room, 1);
    if (!buffer)
        return sc_fail_prefix(SC_ENOMEM, "%s", z->file.path);
    sc_status status = e->method == 8 ? sc_zip_read(z, e, buffer) : SC_OK;
    for (uint64_t at = 0; e->method == 0 && at < e->size && status == SC_OK; at += room) {
        uint64_t n = e->size - at < room ? e->size - at : room;
        status = sc_input_read(&z->file, buffer, n, payload + at);
        crc = sc_crc32(crc, buffer, n);
    }
    free(buffer);
    return status == SC_OK && e->method == 0 ? check_sum(z, e, crc) : status;
}
