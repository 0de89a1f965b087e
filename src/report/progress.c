/* Progress and epoch lines, in the form tqdm and the old script gave them. */
#include "superclip/report.h"

#include <math.h>
#include <string.h>

enum { BAR = 10 };

/* 4000 s -> "1:06:40", 62 s -> "01:02" */
static void interval(double seconds, sc_text *out)
{
    int64_t t = seconds > 0 && seconds < 1e15 ? (int64_t)seconds : 0;
    long long s = t % 60, m = t / 60 % 60, h = t / 3600;
    if (h)
        sc_text_putf(out, "%lld:%02lld:%02lld", h, m, s);
    else
        sc_text_putf(out, "%02lld:%02lld", m, s);
}

/* Ten cells of '#'; the last, partly filled one shows its tenths as a digit, as tqdm's does. */
static void bar(int64_t done, int64_t total, sc_text *out)
{
    int tenths = (int)((double)done / (double)total * BAR * 10);
    int full = tenths / 10, part = tenths % 10;
    for (int i = 0; i < BAR; i++) {
        char cell = i < full ? '#' : i == full && part ? (char)('0' + part) : ' ';
        sc_text_add(out, &cell, 1);
    }
}

static void rate(double per_second, sc_text *out)
{
    if (!(per_second > 0))
        sc_text_puts(out, "?it/s");
    else if (per_second < 1)
        sc_text_putf(out, "%5.2fs/it", 1 / per_second);
    else
        sc_text_putf(out, "%5.2fit/s", per_second);
}

static void figures(const sc_progress_state *s, sc_text *out)
{
    sc_text_putf(out, ", loss=%.4f", s->loss);
    if (s->superclip)
        sc_text_putf(out, ", cls=%.4f, clip=%.4f", s->class_loss, s->contrastive_loss);
    sc_text_putf(out, ", acc=%.2f%%", s->acc);
}

void sc_progress_format(const sc_progress_state *s, sc_text *out)
{
    int64_t total = s->total > 0 ? s->total : 1;
    int64_t done = s->done < 0 ? 0 : s->done > total ? total : s->done;
    double per_second = done > 0 && s->seconds > 0 ? (double)done / s->seconds : 0;
    if (s->validating)
        sc_text_puts(out, "[Val]: ");
    else
        sc_text_putf(out, "Epoch %d [Train]: ", s->epoch);
    sc_text_putf(out, "%3.0f%%|", 100.0 * (double)done / (double)total);
    bar(done, total, out);
    sc_text_putf(out, "| %lld/%lld [", (long long)done, (long long)total);
    interval(s->seconds, out);
    sc_text_puts(out, "<");
    if (per_second > 0)
        interval((double)(total - done) / per_second, out);
    else
        sc_text_puts(out, "?");
    sc_text_puts(out, ", ");
    rate(per_second, out);
    if (done > 0)
        figures(s, out);
    sc_text_puts(out, "]");
}

static void losses(const char *pass, double all, double class_loss, double contrastive,
                   bool superclip, sc_text *out)
{
    sc_text_putf(out, "%s Loss: %.4f", pass, all);
    if (superclip)
        sc_text_putf(out, " (Class: %.4f, Contrastive: %.4f)", class_loss, contrastive);
}

void sc_epoch_format(const sc_epoch_metrics *m, bool superclip, sc_text *out)
{
    losses("Train", m->train_loss, m->train_class_loss, m->train_contrastive_loss, superclip, out);
    sc_text_putf(out, ", Train Acc: %.2f%%\n", m->train_acc);
    losses("Val", m->val_loss, m->val_class_loss, m->val_contrastive_loss, superclip, out);
    sc_text_putf(out, ", Val Acc: %.2f%%, Val mAP: %.2f%%\n", m->val_acc, m->val_mAP);
}
