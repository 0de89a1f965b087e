/* Opening: which format, the pickle, the tree. */
#include "pth.h"

#include <stdlib.h>
#include <string.h>

/* torch stores its pickle as it is; where another program has deflated it, a small file does not
 * get to fill the memory. */
static uint64_t max_pickle_bytes(uint64_t file_bytes)
{
    const uint64_t most = SC_PTH_MOST_PICKLE, base = (uint64_t)1 << 20;
    return file_bytes < (most - base) / 16 ? 16 * file_bytes + base : most;
}

typedef enum kind { ZIP, LEGACY, TAR } kind;

/* A file of another kind gets the name of its kind. */
static sc_status recognise(const char *path, kind *out)
{
    static const uint8_t legacy[] = {0x80, 0x02, 0x8A, 0x0A, 0x6C, 0xFC, 0x9C, 0x46,
                                     0xF9, 0x20, 0x6A, 0xA8, 0x50, 0x19, 0x2E};
    uint8_t head[512] = {0};
    sc_input_file f;
    SC_TRY(sc_input_open(path, &f));
    size_t n = f.size < sizeof head ? (size_t)f.size : sizeof head;
    sc_status status = sc_input_read(&f, head, n, 0);
    sc_input_close(&f);
    SC_TRY(status);
    if (n == 0)
        return sc_fail(SC_EFORMAT, "%s: is empty (0 bytes)", path);
    bool zip = !memcmp(head, "PK\3\4", 4), old = !memcmp(head, legacy, sizeof legacy);
    *out = zip ? ZIP : old ? LEGACY : TAR;
    if (zip || old || !memcmp(head + 257, "ustar", 5))
        return SC_OK;
    if (n > 9 && head[8] == '{')
        return sc_fail(SC_EFORMAT, "%s: is not a .pth file; it looks like safetensors", path);
    if (head[0] == '<' || head[0] == '{' || head[0] == 'v')
        return sc_fail(SC_EFORMAT,
                       "%s: is text, not a .pth file (a web page or a pointer saved in "
                       "its place?); download it again",
                       path);
    return sc_fail(SC_EFORMAT, "%s: is not a .pth file (torch.save's zip format)", path);
}

/* A small record as text, NUL-terminated; NULL when it is not there. */
static sc_status read_record(const sc_pth *f, const char *record, uint64_t max, uint8_t **data,
                             size_t *size)
{
    *data = NULL;
    *size = 0;
    char *name = sc_format("%s/%s", f->prefix, record);
    if (!name)
        return SC_ENOMEM;
    const sc_zip_entry *e = sc_zip_find(&f->zip, name);
    free(name);
    if (!e)
        return SC_OK;
    if (e->size > max)
        return sc_fail(SC_EFORMAT, "%s: member '%s' has %llu bytes, at most %llu are read", f->path,
                       e->name, (unsigned long long)e->size, (unsigned long long)max);
    uint8_t *bytes = sc_alloc(e->size + 1, 1);
    if (!bytes)
        return sc_fail_prefix(SC_ENOMEM, "%s", f->path);
    sc_status status = sc_zip_read(&f->zip, e, bytes);
    if (status != SC_OK) {
        free(bytes);
        return status;
    }
    *data = bytes;
    *size = e->size;
    return SC_OK;
}

/* A TorchScript archive has the constants of its code beside its data. */
static sc_status check_kind(sc_pth *f)
{
    uint8_t *order;
    size_t n;
    char *constants = sc_format("%s/constants.pkl", f->prefix);
    if (!constants)
        return SC_ENOMEM;
    f->script = f->machine.script = sc_zip_find(&f->zip, constants) != NULL;
    free(constants);
    SC_TRY(read_record(f, "byteorder", 16, &order, &n));
    sc_status status = SC_OK;
    if (order && strcmp((char *)order, "little") != 0)
        status = sc_fail(SC_EFORMAT, "%s: byte order '%s' is not read, only 'little'", f->path,
                         (char *)order);
    free(order);
    return status;
}

static sc_status open_zip(sc_pth *f)
{
    f->zipped = true;
    SC_TRY(sc_zip_open(f->path, &f->zip));
    const char *slash = strchr(f->zip.first, '/');
    f->prefix = slash ? sc_strndup(f->zip.first, (size_t)(slash - f->zip.first)) : sc_strdup("");
    f->place_count = f->zip.count;
    f->places = sc_alloc(f->place_count, sizeof *f->places);
    if (!f->prefix || !f->places)
        return sc_fail_prefix(SC_ENOMEM, "%s", f->path);
    SC_TRY(check_kind(f));
    uint8_t *pickle;
    size_t n;
    SC_TRY(read_record(f, "data.pkl", max_pickle_bytes(f->zip.file.size), &pickle, &n));
    if (!pickle)
        return sc_fail(SC_EFORMAT, "%s: holds no data.pkl: a zip file, but not one of torch.save",
                       f->path);
    f->tree_left = 256 * (uint64_t)n + ((uint64_t)1 << 16);
    f->data_left = 16 * f->zip.file.size + ((uint64_t)4 << 20);
    sc_pv *root;
    sc_status status = sc_unpickle(&f->machine, f->path, "data.pkl", pickle, n, &root);
    free(pickle);
    return status == SC_OK ? sc_pth_make_tree(f, root) : status;
}

sc_status sc_pth_open(const char *path, sc_pth **out)
{
    *out = NULL;
    kind k;
    SC_TRY(recognise(path, &k));
    sc_pth *f = sc_alloc(1, sizeof *f);
    if (!f)
        return SC_ENOMEM;
    f->file.fd = f->zip.file.fd = -1;
    f->path = sc_strdup(path);
    sc_status status = f->path ? SC_OK : SC_ENOMEM;
    if (status == SC_OK && k == ZIP)
        status = open_zip(f);
    else if (status == SC_OK && (status = sc_input_open(f->path, &f->file)) == SC_OK)
        status = k == LEGACY ? sc_pth_open_legacy(f) : sc_pth_open_tar(f);
    if (status == SC_OK)
        *out = f;
    else
        sc_pth_close(f);
    return status;
}

const sc_object *sc_pth_root(const sc_pth *f)
{
    return f->root;
}

bool sc_pth_is_script(const sc_pth *f)
{
    return f->script;
}

const char *sc_pth_path(const sc_pth *f)
{
    return f->path;
}

void sc_pth_close(sc_pth *f)
{
    if (!f)
        return;
    sc_obj_free(f->root);
    sc_unpickle_free(&f->machine);
    if (f->zipped)
        sc_zip_close(&f->zip);
    sc_input_close(&f->file);
    sc_pth_tar_free(f->tar);
    free(f->held_bytes);
    free(f->tensors);
    free(f->places);
    free(f->prefix);
    free(f->path);
    free(f);
}
