/* The only file that calls HDF5: it creates a shard with all its sets allocated, and tells where
 * they lie. Bytes depend on shape and class names alone: no time stamps, latest format, contiguous,
 * early allocated.
 */
#include "pack_priv.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <hdf5.h>

/* HDF5 identifiers opened by one function, closed together in reverse order. */
typedef struct handles {
    hid_t id[16];
    herr_t (*close[16])(hid_t);
    int n;
} handles;

static hid_t keep(handles *h, hid_t id, herr_t (*close_fn)(hid_t))
{
    if (id >= 0) {
        h->id[h->n] = id;
        h->close[h->n++] = close_fn;
    }
    return id;
}

static bool close_all(handles *h)
{
    bool ok = true;
    while (h->n > 0) {
        h->n--;
        ok = h->close[h->n](h->id[h->n]) >= 0 && ok;
    }
    return ok;
}

/* HDF5's own error stack stays silent while we look; plugins are never loaded. */
typedef struct quiet {
    H5E_auto2_t function;
    void *data;
} quiet;
static quiet be_quiet(void)
{
    quiet q;
    H5Eget_auto2(H5E_DEFAULT, &q.function, &q.data);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    H5PLset_loading_state(0);
    return q;
}
static void restore(quiet q)
{
    H5Eset_auto2(H5E_DEFAULT, q.function, q.data);
}

static hid_t file_access(handles *h)
{
    hid_t fapl = keep(h, H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
    if (fapl < 0 || H5Pset_libver_bounds(fapl, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST) < 0 ||
        H5Pset_file_locking(fapl, 0, 1) < 0)
        return -1;
    return fapl;
}

static hid_t element_type(handles *h, sc_set s, const sc_shard_shape *shape)
{
    switch (s) {
    case SC_SET_LABELS:
        return H5T_STD_I32LE;
    case SC_SET_INDEX:
        return H5T_STD_I64LE;
    case SC_SET_CRC_EVAL:
    case SC_SET_CRC_TRAIN:
        return H5T_STD_U32LE;
    case SC_SET_PATHS: {
        hid_t t = keep(h, H5Tcopy(H5T_C_S1), H5Tclose);
        if (t < 0 || H5Tset_size(t, shape->path_bytes) < 0 || H5Tset_cset(t, H5T_CSET_UTF8) < 0 ||
            H5Tset_strpad(t, H5T_STR_NULLPAD) < 0)
            return -1;
        return t;
    }
    default:
        return H5T_STD_U8LE;
    }
}

static int dimensions(sc_set s, const sc_shard_shape *shape, hsize_t d[4])
{
    d[0] = (hsize_t)shape->n;
    if (s == SC_SET_EVAL || s == SC_SET_TRAIN) {
        d[1] = d[2] =
            (hsize_t)(s == SC_SET_EVAL ? shape->img_size : sc_train_size(shape->img_size));
        d[3] = 3;
        return 4;
    }
    d[1] = 32;
    return s == SC_SET_SHA256 ? 2 : 1;
}

static bool create_set(hid_t file, sc_set s, const sc_shard_shape *shape, uint64_t *offset)
{
    handles h = {.n = 0};
    hsize_t d[4];
    int rank = dimensions(s, shape, d);
    hid_t type = element_type(&h, s, shape);
    hid_t space = keep(&h, H5Screate_simple(rank, d, NULL), H5Sclose);
    hid_t plist = keep(&h, H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    bool ok = type >= 0 && space >= 0 && plist >= 0 && H5Pset_layout(plist, H5D_CONTIGUOUS) >= 0 &&
              H5Pset_alloc_time(plist, H5D_ALLOC_TIME_EARLY) >= 0 &&
              H5Pset_fill_time(plist, H5D_FILL_TIME_NEVER) >= 0 &&
              H5Pset_obj_track_times(plist, 0) >= 0;
    hid_t set =
        !ok ? -1
            : keep(&h,
                   H5Dcreate2(file, sc_set_name(s), type, space, H5P_DEFAULT, plist, H5P_DEFAULT),
                   H5Dclose);
    haddr_t at = set < 0 ? HADDR_UNDEF : H5Dget_offset(set);
    *offset = at;
    return close_all(&h) && at != HADDR_UNDEF;
}

static bool create_group(hid_t file, const char *name)
{
    handles h = {.n = 0};
    hid_t plist = keep(&h, H5Pcreate(H5P_GROUP_CREATE), H5Pclose);
    bool ok = plist >= 0 && H5Pset_obj_track_times(plist, 0) >= 0 &&
              keep(&h, H5Gcreate2(file, name, H5P_DEFAULT, plist, H5P_DEFAULT), H5Gclose) >= 0;
    return close_all(&h) && ok;
}

static bool write_attribute(hid_t file, const char *name, hid_t type, hsize_t count,
                            const void *data)
{
    handles h = {.n = 0};
    hid_t space =
        keep(&h, count ? H5Screate_simple(1, &count, NULL) : H5Screate(H5S_SCALAR), H5Sclose);
    hid_t attr = space < 0 ? -1
                           : keep(&h, H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT),
                                  H5Aclose);
    bool ok = attr >= 0 && H5Awrite(attr, type, data) >= 0;
    return close_all(&h) && ok;
}

/* Variable-length UTF-8, which h5py hands out as str; count 0: a scalar. */
static bool write_strings(hid_t file, const char *name, const char *const *text, hsize_t count)
{
    handles h = {.n = 0};
    hid_t type = keep(&h, H5Tcopy(H5T_C_S1), H5Tclose);
    bool ok = type >= 0 && H5Tset_size(type, H5T_VARIABLE) >= 0 &&
              H5Tset_cset(type, H5T_CSET_UTF8) >= 0 &&
              write_attribute(file, name, type, count, text);
    return close_all(&h) && ok;
}

static bool write_int(hid_t file, const char *name, int value)
{
    return write_attribute(file, name, H5T_STD_I32LE, 0, &value);
}

sc_status sc_shard_create(const char *path, const sc_shard_shape *shape, char *const *class_names,
                          int classes, sc_shard_map *out)
{
    quiet q = be_quiet();
    handles h = {.n = 0};
    hid_t fapl = file_access(&h);
    hid_t plist = keep(&h, H5Pcreate(H5P_FILE_CREATE), H5Pclose);
    bool ok = fapl >= 0 && plist >= 0 && H5Pset_obj_track_times(plist, 0) >= 0;
    hid_t file = ok ? keep(&h, H5Fcreate(path, H5F_ACC_TRUNC, plist, fapl), H5Fclose) : -1;
    const char *format = SC_SHARD_FORMAT, *packer = SC_PACKER;
    ok = file >= 0 && write_strings(file, "format", &format, 0) &&
         write_int(file, "format_version", SC_SHARD_VERSION) &&
         write_int(file, "img_size", shape->img_size) &&
         write_strings(file, "class_names", (const char *const *)class_names, (hsize_t)classes) &&
         write_strings(file, "packer_version", &packer, 0) && create_group(file, "images") &&
         create_group(file, "crc32c");
    for (int s = 0; ok && s < SC_SETS; s++)
        ok = create_set(file, (sc_set)s, shape, &out->offset[s]);
    ok = close_all(&h) && ok;
    restore(q);
    struct stat st;
    if (!ok || stat(path, &st) != 0)
        return sc_fail(SC_EIO, "%s: cannot be written (no room on the disk, or no right to write)",
                       path);
    out->bytes = (uint64_t)st.st_size;
    return SC_OK;
}

/* Every step of the path is a plain link inside this file: no external and no soft ones. */
static bool hard_links(hid_t file, const char *name)
{
    char step[32];
    for (size_t i = 1; i <= strlen(name); i++) {
        if (name[i] != '/' && name[i] != '\0')
            continue;
        memcpy(step, name, i);
        step[i] = '\0';
        H5L_info_t info;
        if (H5Lget_info(file, step, &info, H5P_DEFAULT) < 0 || info.type != H5L_TYPE_HARD)
            return false;
    }
    return true;
}

/* NULL when the set is what we write; else what is wrong. */
static const char *check_set(hid_t file, sc_set s, const sc_shard_shape *shape, uint64_t *offset)
{
    handles h = {.n = 0};
    const char *wrong = NULL;
    H5O_info_t object;
    hid_t set = -1;
    if (!hard_links(file, sc_set_name(s)))
        return "is not there";
    if (H5Oget_info_by_name2(file, sc_set_name(s), &object, H5O_INFO_BASIC, H5P_DEFAULT) < 0 ||
        object.type != H5O_TYPE_DATASET ||
        (set = keep(&h, H5Dopen2(file, sc_set_name(s), H5P_DEFAULT), H5Dclose)) < 0)
        return "is not a dataset";
    hid_t plist = keep(&h, H5Dget_create_plist(set), H5Pclose);
    hid_t type = keep(&h, H5Dget_type(set), H5Tclose);
    hid_t space = keep(&h, H5Dget_space(set), H5Sclose);
    hid_t wanted = element_type(&h, s, shape);
    hsize_t want[4], have[4];
    int rank = dimensions(s, shape, want);
    if (plist < 0 || type < 0 || space < 0 || wanted < 0)
        wrong = "cannot be read";
    else if (H5Pget_layout(plist) != H5D_CONTIGUOUS || H5Pget_external_count(plist) != 0 ||
             H5Pget_nfilters(plist) != 0)
        wrong = "is not one contiguous block";
    else if (H5Tequal(type, wanted) <= 0)
        wrong = "has another element type";
    else if (H5Sget_simple_extent_ndims(space) != rank ||
             H5Sget_simple_extent_dims(space, have, NULL) != rank ||
             memcmp(want, have, (size_t)rank * sizeof want[0]) != 0)
        wrong = "has another shape";
    else if (H5Dget_storage_size(set) != sc_set_bytes(s, shape))
        wrong = "is not allocated";
    haddr_t at = wrong ? HADDR_UNDEF : H5Dget_offset(set);
    if (!wrong && at == HADDR_UNDEF)
        wrong = "has no place in the file";
    *offset = at;
    close_all(&h);
    return wrong;
}

sc_status sc_shard_locate(const char *path, const sc_shard_shape *shape, sc_shard_map *out)
{
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode))
        return sc_fail(SC_EFORMAT, "%s: is missing or not a file; pack the images again", path);
    out->bytes = (uint64_t)st.st_size;
    quiet q = be_quiet();
    handles h = {.n = 0};
    hid_t fapl = file_access(&h);
    hid_t file = fapl < 0 ? -1 : keep(&h, H5Fopen(path, H5F_ACC_RDONLY, fapl), H5Fclose);
    const char *wrong = NULL;
    int s = 0;
    for (; file >= 0 && s < SC_SETS; s++) {
        wrong = check_set(file, (sc_set)s, shape, &out->offset[s]);
        if (!wrong && (out->offset[s] > out->bytes ||
                       sc_set_bytes((sc_set)s, shape) > out->bytes - out->offset[s]))
            wrong = "reaches beyond the end of the file";
        if (wrong)
            break;
    }
    close_all(&h);
    restore(q);
    if (file < 0)
        return sc_fail(SC_EFORMAT, "%s: is not a readable HDF5 file; pack the images again", path);
    if (wrong)
        return sc_fail(SC_EFORMAT, "%s: %s %s; pack the images again", path, sc_set_name((sc_set)s),
                       wrong);
    return SC_OK;
}
