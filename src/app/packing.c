/* Automatic packing: all ranks help, rank 0 shows how far they are. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "app.h"
#include "lock.h"
#include "signals.h"

enum { MAIL_PACKED = 1 };
typedef struct packed_mail {
    int64_t done;
    int32_t ended;
    int32_t unused;
} packed_mail;

typedef struct packing {
    app *a;
    int img_size;
    int64_t total;
    int64_t *done; /* [ranks], rank 0 */
    int ended;     /* ranks, rank 0 */
    double began, told;
    int told_percent;
} packing;

static void show(packing *p)
{
    int64_t done = 0;
    for (int r = 0; r < p->a->world->comm->size; r++)
        done += p->done[r];
    double now = sc_now(), seconds = now - p->began;
    int percent = p->total ? (int)(100 * done / p->total) : 100;
    bool last = done == p->total && p->told_percent < 100;
    if (!last && (percent < p->told_percent + 5 || now - p->told < 1))
        return;
    p->told = now;
    p->told_percent = percent;
    double rate = seconds > 0 ? (double)done / seconds : 0;
    int left = rate > 0 ? (int)((double)(p->total - done) / rate) : 0;
    char bar[11] = "          ";
    memset(bar, '#', (size_t)(percent / 10));
    sc_info(&p->a->log, "Packing %d px: %3d%%|%s| %lld/%lld [%02d:%02d<%02d:%02d, %.1f images/s]",
            p->img_size, percent, bar, (long long)done, (long long)p->total, (int)seconds / 60,
            (int)seconds % 60, left / 60, left % 60, rate);
}

static sc_status take_mail(packing *p)
{
    for (bool got = true; got;) {
        int from, tag;
        char *data;
        size_t n;
        SC_TRY(sc_mail_poll(p->a->mail, &got, &from, &tag, &data, &n));
        if (got && tag == MAIL_PACKED) {
            packed_mail m;
            memcpy(&m, data, sizeof m);
            p->done[from] = m.done;
            p->ended += m.ended;
        }
        free(data);
    }
    show(p);
    return SC_OK;
}

/* Called on the main thread, so it may use the mail. */
static void on_progress(void *ctx, int64_t done, int64_t total)
{
    packing *p = ctx;
    (void)total;
    if (app_is_root(p->a)) {
        p->done[0] = done;
        (void)take_mail(p);
        (void)app_lock_renew(p->a->lock); /* whether it is still ours is asked before training */
    } else if (sc_now() - p->told > 0.5) {
        packed_mail m = {.done = done};
        p->told = sc_now();
        (void)sc_mail_send(p->a->mail, 0, MAIL_PACKED, &m, sizeof m);
    }
}

static bool on_stop(void *ctx)
{
    (void)ctx;
    return signals_stop_asked();
}

/* Own part, then, on rank 0, until the others have ended theirs. */
static sc_status pack_own_part(packing *p, sc_pack_options *o)
{
    const sc_comm *c = p->a->world->comm;
    o->progress = on_progress;
    o->stop = on_stop;
    o->progress_ctx = p;
    sc_status status = sc_pack_part(o, p->a->list, c->rank, c->size);
    int64_t own = p->total * (c->rank + 1) / c->size - p->total * c->rank / c->size;
    if (c->rank != 0) {
        packed_mail m = {.done = own, .ended = 1};
        sc_status sent = sc_mail_send(p->a->mail, 0, MAIL_PACKED, &m, sizeof m);
        return status != SC_OK ? status : sent;
    }
    char *message = status != SC_OK ? sc_strdup(sc_message()) : NULL;
    p->done[0] = own;
    sc_status taken = SC_OK;
    while (taken == SC_OK && p->ended < c->size - 1) {
        taken = take_mail(p);
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    if (taken == SC_OK && status == SC_OK)
        taken = take_mail(p);
    if (status != SC_OK && message)
        sc_fail(status, "%s", message);
    free(message);
    return status != SC_OK ? status : taken;
}

/* The entry's name is ours, so whatever lies there without a manifest is what is left of one. */
static sc_status make_way(const sc_pack_options *o)
{
    return o->force ? SC_OK : sc_remove_tree(o->dst);
}

static sc_status pack_set(app *a, int set)
{
    sc_pack_options o = app_pack_options(a, set);
    o.automatic = true;
    o.force = sc_is_packed(o.dst); /* a damaged one is in its place */
    packing p = {.a = a, .img_size = o.img_size, .total = a->list->count, .began = sc_now()};
    p.done = sc_alloc((size_t)a->world->comm->size, sizeof *p.done);
    sc_status status = p.done ? SC_OK : SC_ENOMEM;
    if (status == SC_OK && app_is_root(a)) {
        sc_info(&a->log, "Packing %lld images of %s at %d px into %s", (long long)a->list->count,
                a->source_dir, o.img_size, o.dst);
        status = make_way(&o);
        if (status == SC_OK)
            status = sc_pack_begin(&o, a->list);
    }
    status = app_agree(a->world, a->world->comm, status);
    if (status == SC_OK) {
        status = app_agree(a->world, a->world->comm, pack_own_part(&p, &o));
        if (status == SC_OK && app_is_root(a))
            status = sc_pack_finish(&o, a->list, a->world->comm->size);
        status = app_agree(a->world, a->world->comm, status);
        if (status != SC_OK && app_is_root(a))
            sc_pack_abandon(&o);
    }
    free(p.done);
    return status;
}

static sc_status open_set(app *a, int set)
{
    app_set *s = &a->sets[set];
    if (s->dataset)
        return SC_OK;
    SC_TRY(sc_dataset_open(s->dir, s->img_size, &a->log, &s->dataset));
    if (s->cached)
        sc_dataset_is_cache(s->dataset);
    return SC_OK;
}

/* Rank 0: the cache entry is there and opens. One that does not is told and packed again. */
static bool usable(app *a, int set)
{
    if (!sc_is_packed(a->sets[set].dir))
        return false;
    if (open_set(a, set) == SC_OK)
        return true;
    sc_warn(&a->log, "%s; packing it again", sc_message());
    return false;
}

/* The other run may pack for hours; a request to stop is heard meanwhile. */
static sc_status wait_for_lock(const app *a, const char *path, app_lock **lock)
{
    double began = sc_now();
    for (;;) {
        sc_status status = app_lock_take(path, a->world->host, 1, lock);
        if (status != SC_EUSAGE || sc_now() - began > 24 * 3600.0)
            return status;
        if (signals_stop_asked())
            return sc_fail_prefix(SC_EINTERRUPTED, "stopped while waiting");
        SC_TRY(app_lock_renew(a->lock));
    }
}

/* A run with the same --cache-dir and another --output-dir may be packing the same images. */
static sc_status pack_locked(app *a, int set)
{
    app_lock *lock = NULL;
    sc_status status = SC_OK;
    int32_t there = 0;
    if (app_is_root(a) && a->options.cache_dir) {
        char *path = sc_format("%s.lock", a->sets[set].dir);
        status = path ? wait_for_lock(a, path, &lock) : SC_ENOMEM;
        free(path);
        there = status == SC_OK && usable(a, set); /* the other run was quicker */
    }
    status = app_agree(a->world, a->world->comm, status);
    if (status == SC_OK)
        status = a->world->comm->broadcast(a->world->comm, &there, sizeof there, 0);
    if (status == SC_OK && !there)
        status = pack_set(a, set);
    app_lock_release(lock);
    return status;
}

static sc_status open_cached(app *a, int set)
{
    const sc_comm *c = a->world->comm;
    int32_t there = app_is_root(a) && usable(a, set);
    SC_TRY(c->broadcast(c, &there, sizeof there, 0));
    return there ? SC_OK : pack_locked(a, set);
}

sc_status app_open_sets(app *a)
{
    for (int s = 0; s < a->set_count; s++) {
        sc_status status = a->sets[s].cached ? open_cached(a, s) : SC_OK;
        if (status == SC_EINTERRUPTED)
            sc_info(&a->log, "stopped while packing; the same command packs again");
        SC_TRY(status);
        APP_AGREE(a, open_set(a, s));
    }
    app_take_facts(a);
    return SC_OK;
}
