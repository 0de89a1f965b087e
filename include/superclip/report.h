/* report: what people read while and after a run. Progress lines, the run log, timing.
 */
#ifndef SUPERCLIP_REPORT_H
#define SUPERCLIP_REPORT_H

#include "superclip/base.h"
#include "superclip/jobs.h"

/* "Epoch 1 [Train]: 100%|##########| 202/202 [00:18<00:00, 11.26it/s, loss=2.6845, cls=1.5028, ...]"
 * and the [Val] form; class and contrastive parts only with superclip. */
typedef struct sc_progress_state {
    bool validating, superclip;
    int epoch;
    int64_t done, total;
    double seconds; /* since the pass began */
    double loss, class_loss, contrastive_loss, acc;
} sc_progress_state;
void sc_progress_format(const sc_progress_state *s, sc_text *out);
/* "Train Loss: ... Train Acc: ..%" and "Val Loss: ...": two lines. */
void sc_epoch_format(const sc_epoch_metrics *m, bool superclip, sc_text *out);

/* One log file a config, appended: <log_dir>/<name>_gpu<id>_<YYYYmmdd_HHMMSS>.log */
typedef struct sc_run_log sc_run_log;
sc_status sc_run_log_open(const char *log_dir, const char *name, int gpu_id, sc_run_log **out);
void sc_run_log_close(sc_run_log *l);
const char *sc_run_log_path(const sc_run_log *l);
/* A line, with "[fold k] " before it when fold > 0. A full disk is reported once, training goes on. */
void sc_run_log_line(sc_run_log *l, int fold, const char *line);

/* The console, on standard output. live: one line a running job and one for the matrix, redrawn in place
 * at most ten times a second, never wider than the terminal; plain: whole lines only, the end of every
 * pass and of a long one at most ten, 5 s apart. Safe to call from several threads. */
typedef enum sc_progress_mode { SC_PROGRESS_AUTO, SC_PROGRESS_LIVE, SC_PROGRESS_PLAIN } sc_progress_mode;
typedef struct sc_console sc_console;
/* AUTO: live when the launcher's standard output is a terminal (readlink /proc/PPID/fd/1 under
 * mpirun, whose ranks always see a pseudo terminal), TERM is set and not dumb, NO_COLOR is not set. */
sc_status sc_console_open(sc_progress_mode mode, int jobs, sc_console **out);
void sc_console_close(sc_console *c);
void sc_console_line(sc_console *c, const char *line);                       /* a whole line, kept */
/* Progress of a running job; `label` ("[fold 2]", or NULL) goes before the line. */
void sc_console_job(sc_console *c, int job, const char *label, const sc_progress_state *s);
void sc_console_job_done(sc_console *c, int job);
/* The matrix line: jobs that ended well, jobs that failed, and the fraction of all work done, from which
 * the ETA comes (work done in an earlier run, the first fraction told, does not count as speed). */
void sc_console_matrix(sc_console *c, int done, int failed, double fraction);

#endif
