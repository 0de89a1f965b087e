/* A profile as people read it. */
#include "profile.h"

static const struct {
    const char *name, *title;
} parts[SC_PROFILE_PARTS] = {
    [SC_TIME_LOADER] = {"loader_wait", "waiting for images"},
    [SC_TIME_RANKS] = {"ranks_wait", "waiting for other ranks"},
    [SC_TIME_INPUT] = {"input", "handing images over"},
    [SC_TIME_FORWARD] = {"forward", "forward"},
    [SC_TIME_LOSSES] = {"losses", "losses and accuracy"},
    [SC_TIME_BACKWARD] = {"backward", "backward"},
    [SC_TIME_REDUCE] = {"reduction", "summing gradients"},
    [SC_TIME_ADAMW] = {"adamw", "AdamW"},
    [SC_TIME_SAVING] = {"saving", "progress, files"},
    [SC_TIME_EVAL_LOADER] = {"evaluation_loader_wait", "evaluation: waiting for images"},
    [SC_TIME_EVAL_FORWARD] = {"evaluation_forward", "evaluation: forward"},
    [SC_TIME_EVAL_OTHER] = {"evaluation_other", "evaluation: the rest"},
};

const char *sc_profile_part_name(sc_profile_part part)
{
    return parts[part].name;
}

/* Of a training step, or of the evaluation, which has none. */
static double unit(const sc_profile_report *r)
{
    return 1e3 / (double)(r->steps > 0 ? r->steps : 1);
}

/* How often a step runs it; a step of the last, smaller batch runs others. */
static double times(const sc_profile_report *r, const sc_profile_row *row)
{
    return r->steps > 0 ? (double)row->calls / (double)r->steps : (double)row->evaluation_calls;
}

static void put_parts(const sc_profile_report *r, sc_text *out)
{
    sc_text_putf(out, "%-32s %9s %10s %7s\n", "where the time went", "seconds", "ms a step",
                 "share");
    for (int i = 0; i < SC_PROFILE_PARTS; i++) {
        if (r->part[i] <= 0 || (i == SC_TIME_RANKS && r->ranks == 1))
            continue;
        double share = r->seconds > 0 ? 100 * r->part[i] / r->seconds : 0;
        sc_text_putf(out, "  %-30s %9.3f ", parts[i].title, r->part[i]);
        if (i < SC_TIME_EVAL_LOADER)
            sc_text_putf(out, "%10.2f", r->part[i] * unit(r));
        else
            sc_text_putf(out, "%10s", "");
        sc_text_putf(out, " %5.1f %%", share);
        if (i == SC_TIME_REDUCE && r->reduced_bytes > 0)
            sc_text_putf(out, "  %.1f MB a step", r->reduced_bytes * 1e-3 * unit(r) * 1e-6);
        sc_text_puts(out, "\n");
    }
}

static void put_rates(const sc_profile_row *row, sc_text *out)
{
    double s = row->forward + row->backward + row->evaluation;
    if (s <= 0)
        s = 1e-9;
    if (row->flops > 0)
        sc_text_putf(out, " %8.0f", row->flops / s * 1e-9);
    else
        sc_text_putf(out, " %8s", "");
    sc_text_putf(out, " %7.1f", row->bytes / s * 1e-9);
    if (row->share > 0)
        sc_text_putf(out, " %4.0f %% %s", 100 * row->share, row->memory ? "memory" : "arithmetic");
    if (row->done < 0.999 * row->flops)
        sc_text_putf(out, ", %.0f %% done", 100 * row->share * row->done / row->flops);
}

static void put_kinds(const sc_profile_report *r, sc_text *out)
{
    bool groups = r->ranks > 1;
    sc_text_putf(out, "%-16s %5s %9s %9s %9s%s %8s %7s  %s\n", "op, ms a step", "times", "forward",
                 "backward", "eval. s", groups ? "  waiting" : "", "GFLOP/s", "GB/s", "of peak");
    for (int i = 0; i < r->n_kinds; i++) {
        const sc_profile_row *row = &r->kinds[i];
        sc_text_putf(out, "  %-14s %5.3g %9.2f %9.2f %9.3f", sc_op_name(row->op), times(r, row),
                     row->forward * unit(r), row->backward * unit(r), row->evaluation);
        if (groups)
            sc_text_putf(out, " %8.2f", row->collectives * unit(r));
        put_rates(row, out);
        sc_text_puts(out, "\n");
    }
    if (r->adamw > 0) {
        sc_profile_row row = {.forward = r->adamw, .bytes = r->adamw_bytes};
        row.share = r->peak_bytes > 0 ? r->adamw_bytes / r->adamw / r->peak_bytes : 0;
        row.memory = true;
        sc_text_putf(out, "  %-14s %5s %9s %9.2f %9s%s", "adamw", "", "", r->adamw * unit(r), "",
                     groups ? "         " : "");
        put_rates(&row, out);
        sc_text_puts(out, "\n");
    }
}

static void put_slowest(const sc_profile_report *r, int top, sc_text *out)
{
    sc_text_putf(out, "%-16s %5s %9s %9s %8s %7s  %-16s %s\n", "slowest", "times", "forward",
                 "backward", "GFLOP/s", "GB/s", "of peak", "shapes");
    for (int i = 0, shown = 0; i < r->n_nodes && shown < top; i++) {
        const sc_profile_row *row = &r->nodes[i];
        if (r->steps > 0 && row->evaluation > 0)
            continue; /* once an epoch; its kind's row says enough */
        size_t before = out->len;
        sc_text_putf(out, "  %-14s %5.3g %9.2f %9.2f", sc_op_name(row->op), times(r, row),
                     (row->forward + row->evaluation) * unit(r), row->backward * unit(r));
        put_rates(row, out);
        sc_text_putf(out, "%*s %s\n", (int)(before + 77 > out->len ? before + 77 - out->len : 0),
                     "", row->what);
        shown++;
    }
}

void sc_profile_report_text(const sc_profile_report *r, int top, sc_text *out)
{
    sc_text_putf(out, "%s; %d rank%s a group; %lld steps, %.1f s\n", r->device, r->ranks,
                 r->ranks == 1 ? "" : "s", (long long)r->steps, r->seconds);
    if (r->peak_flops > 0)
        sc_text_putf(out,
                     "measured peak of this rank: %.0f GFLOP/s, %.1f GB/s (more than 100 %% of "
                     "memory: from cache)\n",
                     r->peak_flops * 1e-9, r->peak_bytes * 1e-9);
    put_parts(r, out);
    put_kinds(r, out);
    put_slowest(r, top, out);
}
