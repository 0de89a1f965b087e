/* The log file of a config: whole lines, one write each, so that `tail -f` never sees half of one.
 */
#include "superclip/report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct sc_run_log {
    char *path;
    int fd;
    bool told;     /* the user knows that lines are being lost */
    bool mid_line; /* the file ends in a torn line */
};

static char *log_path(const char *log_dir, const char *name, int gpu_id)
{
    time_t now = time(NULL);
    struct tm t;
    char stamp[32];
    if (!localtime_r(&now, &t) || strftime(stamp, sizeof stamp, "%Y%m%d_%H%M%S", &t) == 0)
        snprintf(stamp, sizeof stamp, "%lld", (long long)now);
    return sc_format("%s/%s_gpu%d_%s.log", log_dir, name, gpu_id, stamp);
}

sc_status sc_run_log_open(const char *log_dir, const char *name, int gpu_id, sc_run_log **out)
{
    SC_TRY(sc_make_dirs(log_dir));
    sc_run_log *l = sc_alloc(1, sizeof *l);
    if (!l)
        return SC_ENOMEM;
    l->path = log_path(log_dir, name, gpu_id);
    if (!l->path) {
        free(l);
        return SC_ENOMEM;
    }
    l->fd = open(l->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (l->fd < 0) {
        sc_status status = sc_fail(SC_EIO, "%s: %s; check the folder, or give another --log-dir",
                                   l->path, strerror(errno));
        free(l->path);
        free(l);
        return status;
    }
    *out = l;
    return SC_OK;
}

void sc_run_log_close(sc_run_log *l)
{
    if (!l)
        return;
    close(l->fd);
    free(l->path);
    free(l);
}

const char *sc_run_log_path(const sc_run_log *l)
{
    return l->path;
}

static bool write_all(sc_run_log *l, const char *data, size_t n)
{
    while (n > 0) {
        ssize_t done = write(l->fd, data, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        l->mid_line = true;
        data += done;
        n -= (size_t)done;
    }
    l->mid_line = false;
    return true;
}

void sc_run_log_line(sc_run_log *l, int fold, const char *line)
{
    sc_text t;
    sc_text_init(&t);
    if (l->mid_line)
        sc_text_puts(&t, "\n");
    if (fold > 0)
        sc_text_putf(&t, "[fold %d] ", fold);
    sc_text_puts(&t, line);
    if (t.len == 0 || t.data[t.len - 1] != '\n')
        sc_text_puts(&t, "\n");
    bool ok = !t.failed && write_all(l, t.data, t.len);
    if (!ok && !l->told) {
        l->told = true;
        sc_warn(NULL, "%s: %s; lines of this log are lost, training goes on", l->path,
                strerror(errno));
    }
    sc_text_free(&t);
}
