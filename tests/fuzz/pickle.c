/* The bytes are the data.pkl of a .pth whose archive is in order: with three storages, and as
 * TorchScript where the stream speaks of its classes.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "superclip/codec.h"
#include "superclip/weights.h"

static void put16(sc_text *t, uint32_t v)
{
    sc_text_add(t, (const uint8_t[]){(uint8_t)v, (uint8_t)(v >> 8)}, 2);
}

static void put32(sc_text *t, uint32_t v)
{
    put16(t, v & 0xFFFF);
    put16(t, v >> 16);
}

typedef struct archive {
    sc_text file, directory;
    uint32_t members;
} archive;

static void put_header(sc_text *t, const char *name, const void *data, size_t n)
{
    put16(t, 20);
    put16(t, 0x0800);
    put16(t, 0); /* stored */
    put32(t, 0);
    put32(t, sc_crc32(0, data, n));
    put32(t, (uint32_t)n);
    put32(t, (uint32_t)n);
    put16(t, (uint32_t)strlen(name));
    put16(t, 0);
}

static void put_member(archive *a, const char *name, const void *data, size_t n)
{
    uint32_t at = (uint32_t)a->file.len;
    put32(&a->file, 0x04034b50);
    put_header(&a->file, name, data, n);
    sc_text_puts(&a->file, name);
    sc_text_add(&a->file, data, n);
    put32(&a->directory, 0x02014b50);
    put16(&a->directory, 20);
    put_header(&a->directory, name, data, n);
    put16(&a->directory, 0);
    put16(&a->directory, 0);
    put16(&a->directory, 0);
    put32(&a->directory, 0);
    put32(&a->directory, at);
    sc_text_puts(&a->directory, name);
    a->members++;
}

static void finish(archive *a)
{
    uint32_t at = (uint32_t)a->file.len;
    sc_text_add(&a->file, a->directory.data, a->directory.len);
    put32(&a->file, 0x06054b50);
    put32(&a->file, 0);
    put16(&a->file, a->members);
    put16(&a->file, a->members);
    put32(&a->file, (uint32_t)a->directory.len);
    put32(&a->file, at);
    put16(&a->file, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const uint8_t storage[64] = {0, 0, 128, 63, 1, 2, 3, 4};
    archive a = {0};
    sc_text_init(&a.file);
    sc_text_init(&a.directory);
    put_member(&a, "a/data.pkl", data, n);
    put_member(&a, "a/data/0", storage, 64);
    put_member(&a, "a/data/1", storage, 16);
    put_member(&a, "a/data/2", storage, 0);
    if (n > 9 && memmem(data, n, "__torch__", 9))
        put_member(&a, "a/constants.pkl", "\x80\x02).", 4);
    put_member(&a, "a/version", "3\n", 2);
    finish(&a);
    const char *path = fuzz_file("pickle.pth", a.file.data, a.file.len);
    sc_text_free(&a.file);
    sc_text_free(&a.directory);

    sc_object *root;
    sc_status status = sc_pth_load(path, &root);
    fuzz_judge(status, path);
    if (status == SC_OK) {
        sc_tensor_set set;
        fuzz_judge(sc_state_dict_of(path, root, &set), path);
        sc_tensor_set_free(&set);
        sc_obj_free(root);
    }
    return 0;
}
