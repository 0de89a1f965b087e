/* How samples lie in shards and in parts, and the name of the temporary folder. Pure arithmetic. */
#include "pack_priv.h"

#include <stdlib.h>
#include <string.h>

char *sc_pack_tmp_path(const char *dst)
{
    size_t n = strlen(dst);
    while (n > 1 && dst[n - 1] == '/')
        n--;
    size_t base = n;
    while (base > 0 && dst[base - 1] != '/')
        base--;
    return sc_format("%.*s.%.*s.packing", (int)base, dst, (int)(n - base), dst + base);
}

char *sc_pack_part_path(const sc_pack_plan *p, int part)
{
    return sc_format("%s/part-%05d", p->tmp, part);
}

static int default_shards(int64_t n, const sc_shard_shape *one)
{
    double bytes = (double)n * (double)(sc_set_row_bytes(SC_SET_EVAL, one) +
                                        sc_set_row_bytes(SC_SET_TRAIN, one));
    double k = bytes / 2147483648.0;
    int64_t shards = (int64_t)k;
    if ((double)shards < k || shards < 1)
        shards++;
    return (int)(shards > n ? n : shards > 99999 ? 99999 : shards);
}

sc_status sc_pack_plan_make(const sc_pack_options *o, int64_t n, char *const *paths,
                            sc_pack_plan *out)
{
    *out = (sc_pack_plan){.n = n, .img_size = o->img_size};
    for (int64_t i = 0; i < n; i++) {
        size_t length = strlen(paths[i]) + 1;
        out->path_bytes = length > out->path_bytes ? length : out->path_bytes;
    }
    sc_shard_shape one = {1, o->img_size, out->path_bytes};
    out->shards = o->shards > 0 ? o->shards : default_shards(n, &one);
    if (out->shards > n || out->shards > 99999)
        return sc_fail(SC_EUSAGE,
                       "--shards %d: more than the %lld images that can be packed; ask for fewer",
                       out->shards, (long long)n);
    out->tmp = sc_pack_tmp_path(o->dst);
    out->set = out->tmp ? sc_path_join(out->tmp, "set") : NULL;
    return out->set ? SC_OK : SC_ENOMEM;
}

void sc_pack_plan_free(sc_pack_plan *p)
{
    free(p->tmp);
    free(p->set);
    p->tmp = p->set = NULL;
}

int64_t sc_plan_first(const sc_pack_plan *p, int shard)
{
    /* n * shard may overflow only beyond 2^46 samples */
    return p->n * shard / p->shards;
}

int sc_plan_shard_of(const sc_pack_plan *p, int64_t sample)
{
    int lo = 0, hi = p->shards - 1;
    while (lo < hi) {
        int mid = lo + (hi - lo + 1) / 2;
        if (sc_plan_first(p, mid) <= sample)
            lo = mid;
        else
            hi = mid - 1;
    }
    return lo;
}

sc_shard_shape sc_plan_shape(const sc_pack_plan *p, int shard)
{
    return (sc_shard_shape){sc_plan_first(p, shard + 1) - sc_plan_first(p, shard), p->img_size,
                            p->path_bytes};
}

/* A file costs about its bytes, plus what resizing costs at least. */
static double cost(const sc_source_list *l, int64_t i)
{
    return (double)l->sizes[i] + 20000;
}

/* Parts are contiguous ranges of about the same cost. */
int64_t sc_pack_part_first(const sc_source_list *l, int part, int parts)
{
    if (part <= 0)
        return 0;
    if (part >= parts)
        return l->count;
    double total = 0, sum = 0;
    for (int64_t i = 0; i < l->count; i++)
        total += cost(l, i);
    int64_t i = 0;
    for (; i < l->count && sum + cost(l, i) / 2 < total * part / parts; i++)
        sum += cost(l, i);
    return i;
}
