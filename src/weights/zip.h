/* The part of the zip format that torch.save uses: stored members (deflated ones are read), zip64.
 * Specification: PKWARE APPNOTE 6.3. The central directory is believed, local headers are checked.
 */
#ifndef SC_WEIGHTS_ZIP_H
#define SC_WEIGHTS_ZIP_H

#include "input_file.h"

/* ---- writing: members go straight through to the file, nothing is kept but their names ------- */
typedef struct sc_zip_member {
    char *name;
    uint32_t crc;
    uint64_t size, offset;
} sc_zip_member;

typedef struct sc_zip_writer {
    sc_atomic_file *file;
    sc_zip_member *members;
    size_t count, cap;
    uint64_t limit; /* sizes, offsets and counts from here on need zip64 */
} sc_zip_writer;

sc_status sc_zip_create(const char *path, sc_zip_writer *out);
/* A stored member whose bytes begin at a multiple of 64. */
sc_status sc_zip_add(sc_zip_writer *w, const char *name, const void *data, size_t n);
/* Writes the directory. The file is whole then and the caller's to commit; frees w in every case.
 */
sc_status sc_zip_finish(sc_zip_writer *w, sc_atomic_file **out);
sc_status sc_zip_commit(sc_zip_writer *w); /* the same, then fsync and rename */
void sc_zip_abort(sc_zip_writer *w);

/* ---- reading --------------------------------------------------------------------------------- */
typedef struct sc_zip_entry {
    const char *name;
    uint16_t method, flags;
    uint32_t crc;
    uint64_t packed, size; /* bytes in the file, bytes of the member */
    uint64_t offset;       /* of the local header */
} sc_zip_entry;

typedef struct sc_zip_reader {
    sc_input_file file;
    sc_zip_entry *entries; /* sorted by name */
    size_t count;
    const char *first; /* name of the directory's first entry */
    char *names;
} sc_zip_reader;

sc_status sc_zip_open(const char *path, sc_zip_reader *out);
void sc_zip_close(sc_zip_reader *z);
sc_zip_entry *sc_zip_find(const sc_zip_reader *z, const char *name);
/* entry->size bytes into dst, checksum verified. */
sc_status sc_zip_read(const sc_zip_reader *z, const sc_zip_entry *entry, void *dst);
/* The checksum only; a stored member passes through a small buffer. */
sc_status sc_zip_verify(const sc_zip_reader *z, const sc_zip_entry *entry);

#endif
