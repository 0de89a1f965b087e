/* The end of a packing: judge all bad files, close the gaps that skipped ones leave, seal, rename.
 */
#include "pack_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct judged {
    sc_pack_record *records; /* [l->count] */
    char **reasons;          /* [l->count], NULL: good */
    int64_t bad, grey16_low;
} judged;

static void judged_free(judged *j, int64_t n)
{
    for (int64_t i = 0; j->reasons && i < n; i++)
        free(j->reasons[i]);
    free(j->reasons);
    free(j->records);
}

static sc_status read_part(const sc_source_list *l, const sc_pack_plan *p, int part, int parts,
                           judged *j)
{
    int64_t first = sc_pack_part_first(l, part, parts);
    size_t n = (size_t)(sc_pack_part_first(l, part + 1, parts) - first);
    size_t head = n * sizeof(sc_pack_record), bytes;
    char *path = sc_pack_part_path(p, part), *data = NULL;
    sc_status status = path ? sc_read_file(path, SIZE_MAX / 2, &data, &bytes) : SC_ENOMEM;
    if (status == SC_OK && bytes < head)
        status = sc_fail(SC_EINTERNAL, "%s: has %zu bytes instead of %zu", path, bytes, head);
    if (status == SC_OK)
        memcpy(j->records + first, data, head);
    for (size_t i = 0; status == SC_OK && i < n; i++) {
        const sc_pack_record *r = &j->records[first + (int64_t)i];
        j->grey16_low += r->grey16_low;
        if (!r->bad)
            continue;
        j->bad++;
        j->reasons[first + (int64_t)i] =
            sc_strdup(head + r->reason < bytes ? data + head + r->reason : "unknown");
        if (!j->reasons[first + (int64_t)i])
            status = SC_ENOMEM;
    }
    free(data);
    free(path);
    return status;
}

static void tell(const sc_pack_options *o, const sc_source_list *l, const judged *j)
{
    for (int64_t i = 0; i < l->count; i++) {
        if (!j->records[i].bad)
            continue;
        char *name = sc_printable_name(l->paths[i]);
        sc_log_line(o->log, o->skip_bad ? SC_LOG_WARN : SC_LOG_ERROR, "%s/%s: %s%s", o->src,
                    name ? name : "?", o->skip_bad ? "skipped: " : "", j->reasons[i]);
        free(name);
    }
    if (j->grey16_low > 0 && !o->decode.window)
        sc_warn(o->log,
                "%lld 16-bit grey images hold no value of 4096 or more (12-bit X-rays?) and come "
                "out nearly black; %s--window 0,4095 would use their range%s",
                (long long)j->grey16_low, o->automatic ? "pack_hdf5 SRC DST " : "",
                o->automatic ? " (then give DST as --data-dir)" : "");
}

/* The good samples; every class must keep one. */
static sc_status choose_rows(const sc_source_list *l, const judged *j, sc_pack_rows *out)
{
    int64_t *per_class = sc_alloc((size_t)l->classes, sizeof *per_class);
    *out = (sc_pack_rows){.list = l, .records = j->records};
    out->source = sc_alloc((size_t)l->count, sizeof *out->source);
    if (!per_class || !out->source) {
        free(per_class);
        return SC_ENOMEM;
    }
    for (int64_t i = 0; i < l->count; i++) {
        if (j->records[i].bad)
            continue;
        out->source[out->n++] = i;
        per_class[l->labels[i]]++;
    }
    sc_status status = SC_OK;
    for (int c = 0; c < l->classes && status == SC_OK; c++)
        if (per_class[c] == 0)
            status = sc_fail(SC_EFORMAT,
                             "class '%s' has no image that can be read; repair one or remove the "
                             "folder",
                             l->class_names[c]);
    free(per_class);
    return status;
}

/* ---- skipped files leave gaps -----------------------------------------------------------------
 */

typedef struct open_shard {
    int shard, fd;
    char *path;
    sc_shard_map map;
} open_shard;

static void shard_close(open_shard *s)
{
    if (s->fd >= 0)
        close(s->fd);
    free(s->path);
    *s = (open_shard){.shard = -1, .fd = -1};
}

static sc_status shard_switch(const sc_pack_plan *p, int shard, int flags, open_shard *s)
{
    if (s->shard == shard)
        return SC_OK;
    shard_close(s);
    char name[40];
    sc_shard_file_name(shard, p->shards, name);
    s->path = sc_path_join(p->set, name);
    if (!s->path)
        return SC_ENOMEM;
    sc_shard_shape shape = sc_plan_shape(p, shard);
    SC_TRY(sc_shard_locate(s->path, &shape, &s->map));
    s->fd = open(s->path, flags | O_CLOEXEC);
    if (s->fd < 0)
        return sc_fail(SC_EIO, "%s: cannot be opened: %s", s->path, strerror(errno));
    s->shard = shard;
    return SC_OK;
}

/* Row i of a set in an open shard of plan p. */
static uint64_t place(const sc_pack_plan *p, const open_shard *s, sc_set set, int64_t i)
{
    sc_shard_shape shape = sc_plan_shape(p, s->shard);
    return s->map.offset[set] +
           (uint64_t)(i - sc_plan_first(p, s->shard)) * sc_set_row_bytes(set, &shape);
}

static sc_status copy_rows(const sc_pack_plan *from, const sc_pack_plan *to,
                           const sc_pack_rows *rows, uint8_t *buffer)
{
    open_shard in = {.shard = -1, .fd = -1}, out = {.shard = -1, .fd = -1};
    sc_status status = SC_OK;
    sc_shard_shape one = {1, to->img_size, to->path_bytes};
    for (int64_t i = 0; i < rows->n; i++) {
        int64_t source = rows->source[i];
        int shard = sc_plan_shard_of(from, source);
        if (in.shard >= 0 && in.shard != shard)
            unlink(in.path); /* its rows are all copied: the disk may be nearly full */
        SC_TRY_GOTO(shard_switch(from, shard, O_RDONLY, &in));
        SC_TRY_GOTO(shard_switch(to, sc_plan_shard_of(to, i), O_WRONLY, &out));
        for (sc_set set = SC_SET_EVAL; set <= SC_SET_TRAIN; set++) {
            size_t n = sc_set_row_bytes(set, &one);
            SC_TRY_GOTO(sc_pread_all(in.fd, in.path, buffer, n, place(from, &in, set, source)));
            SC_TRY_GOTO(sc_pwrite_all(out.fd, out.path, buffer, n, place(to, &out, set, i)));
        }
    }
done:
    shard_close(&in);
    shard_close(&out);
    return status;
}

/* Replaces *p by the plan of the good samples, with its own shards, rows copied. */
static sc_status close_gaps(const sc_pack_options *o, const sc_pack_rows *rows, sc_pack_plan *p)
{
    sc_pack_plan good = {0};
    char **paths = sc_alloc((size_t)rows->n, sizeof *paths);
    sc_shard_shape one = {1, p->img_size, p->path_bytes};
    uint8_t *buffer = sc_alloc(sc_set_row_bytes(SC_SET_TRAIN, &one), 1);
    sc_status status = paths && buffer ? SC_OK : SC_ENOMEM;
    for (int64_t i = 0; paths && i < rows->n; i++)
        paths[i] = rows->list->paths[rows->source[i]];
    if (status == SC_OK)
        status = sc_pack_plan_make(o, rows->n, paths, &good);
    if (status == SC_OK) {
        free(good.set);
        good.set = sc_path_join(good.tmp, "good");
        status = good.set ? sc_pack_make_shards(&good, rows->list->class_names, rows->list->classes)
                          : SC_ENOMEM;
    }
    if (status == SC_OK)
        status = copy_rows(p, &good, rows, buffer);
    if (status == SC_OK) {
        sc_pack_plan old = *p;
        *p = good;
        good = old;
    }
    sc_pack_plan_free(&good);
    free(paths);
    free(buffer);
    return status;
}

/* ---- into place ---------------------------------------------------------------------------------
 */

static sc_status put_in_place(const sc_pack_options *o, const sc_pack_plan *p)
{
    struct stat st;
    char *old = NULL;
    int failed = 0;
    if (lstat(o->dst, &st) != 0) {
        failed = rename(p->set, o->dst) != 0 ? errno : 0;
    } else if (!o->force) {
        return sc_fail(SC_EUSAGE, "%s: somebody else made it meanwhile; nothing was replaced",
                       o->dst);
    } else if (renameat2(AT_FDCWD, p->set, AT_FDCWD, o->dst, RENAME_EXCHANGE) != 0) {
        if (errno != EINVAL && errno != ENOSYS)
            return sc_fail(SC_EIO, "%s: cannot be replaced: %s", o->dst, strerror(errno));
        /* a file system without the exchange: the old set keeps existing under one of two names */
        old = sc_path_join(p->tmp, "old");
        if (!old)
            return SC_ENOMEM;
        failed = rename(o->dst, old) != 0 ? errno : 0;
        if (!failed && rename(p->set, o->dst) != 0) {
            failed = errno;
            if (rename(old, o->dst) != 0)
                sc_warn(o->log, "%s: the old set is now %s", o->dst, old);
        }
        free(old);
    }
    if (failed)
        return sc_fail(SC_EIO, "%s: cannot be put in place: %s", o->dst, strerror(failed));
    return SC_OK;
}

static sc_status seal_and_rename(const sc_pack_options *o, const sc_source_list *l, judged *j,
                                 sc_pack_plan *p)
{
    sc_pack_rows rows = {0};
    sc_skipped *skipped = sc_alloc((size_t)j->bad, sizeof *skipped);
    char *parent =
        sc_format("%s/..", o->dst); /* nothing may fail needlessly once the set is in place */
    int64_t n = 0;
    sc_status status = SC_ENOMEM;
    if (!skipped || !parent)
        goto done;
    SC_TRY_GOTO(choose_rows(l, j, &rows));
    for (int64_t i = 0; i < l->count; i++)
        if (j->records[i].bad) {
            skipped[n].path = sc_printable_name(l->paths[i]);
            skipped[n++].reason = j->reasons[i];
        }
    if (j->bad > 0)
        SC_TRY_GOTO(close_gaps(o, &rows, p));
    SC_TRY_GOTO(sc_pack_seal(o, p, &rows, skipped, n));
    SC_TRY_GOTO(put_in_place(o, p));
    status = sc_fsync_path(parent);
    if (status == SC_OK)
        sc_info(o->log, "packed %lld images of %d classes into %s (%d shard%s, %lld skipped)",
                (long long)rows.n, l->classes, o->dst, p->shards, p->shards == 1 ? "" : "s",
                (long long)n);
done:
    for (int64_t i = 0; skipped && i < n; i++)
        free(skipped[i].path);
    free(skipped);
    free(parent);
    free(rows.source);
    return status;
}

sc_status sc_pack_finish(const sc_pack_options *o, const sc_source_list *l, int parts)
{
    sc_pack_plan p = {0};
    judged j = {0};
    sc_status status = SC_ENOMEM;
    j.records = sc_alloc((size_t)l->count, sizeof *j.records);
    j.reasons = sc_alloc((size_t)l->count, sizeof *j.reasons);
    if (!j.records || !j.reasons)
        goto done;
    SC_TRY_GOTO(sc_pack_plan_make(o, l->count, l->paths, &p));
    for (int part = 0; part < parts; part++)
        SC_TRY_GOTO(read_part(l, &p, part, parts, &j));
    tell(o, l, &j);
    if (j.bad > 0 && !o->skip_bad)
        status = sc_fail(SC_EFORMAT,
                         "%lld of %lld images cannot be read (listed above), nothing was written; "
                         "repair or remove them, or %s",
                         (long long)j.bad, (long long)l->count,
                         o->automatic ? "leave them out: pack_hdf5 SRC DST --skip-bad, and give "
                                        "DST as --data-dir"
                                      : "leave them out with --skip-bad");
    else
        status = seal_and_rename(o, l, &j, &p);
    if (status == SC_OK && !sc_tmp_remove(p.tmp))
        sc_warn(o->log, "%s: cannot be removed; the set is complete, this folder can go", p.tmp);
done:
    if (status != SC_OK)
        sc_pack_clear(o);
    judged_free(&j, l->count);
    sc_pack_plan_free(&p);
    return status;
}
