#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { TEXT_MAX = 1024, STALE_SECONDS = 120 };
static const double RENEW_SECONDS = 5;

struct app_lock {
    int fd;
    char *path;
    char text[TEXT_MAX]; /* what we wrote: unique, as it names host, process and its start */
    double renewed;
};

typedef struct holder {
    char host[256], started[64];
    long pid;
    unsigned long long ticks; /* start of the process, in the kernel's ticks since boot */
    char job[64];             /* Slurm job, "-" outside */
} holder;

/* Field 22 of /proc/PID/stat: tells a process from a later one with the same number. 0: no such
 * process (a zombie counts as gone). */
static unsigned long long process_start(long pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    const char *at = strrchr(text, ')'); /* the name before it may hold anything */
    if (!at || at[1] == '\0' || at[2] == 'Z' || at[2] == 'X')
        return 0;
    at += 2;
    for (int field = 3; field < 22 && at; field++)
        at = strchr(at + 1, ' ');
    return at ? strtoull(at, NULL, 10) : 0;
}

static bool parse(const char *text, holder *h)
{
    memset(h, 0, sizeof *h);
    return sscanf(text, "host %255s\npid %ld\nticks %llu\njob %63s\nstarted %63[^\n]", h->host,
                  &h->pid, &h->ticks, h->job, h->started) == 5;
}

static sc_status refuse(const char *path, const holder *h)
{
    if (h->host[0] == '\0')
        return sc_fail(SC_EUSAGE, "%s is locked by another process", path);
    return sc_fail(
        SC_EUSAGE,
        "%s: another run is writing here: host %s, process %ld, started %s; wait for it, "
        "or choose another folder (delete the file only if that run is dead)",
        path, h->host, h->pid, h->started);
}

/* Seconds since the file was renewed, by the file system's own clock: *now is a file just made
 * there. */
static double age(int fd, const struct stat *now)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return 0;
    return difftime(now->st_mtime, st.st_mtime);
}

/* Is the process that wrote `h` certainly gone? locked: we hold the kernel's lock on its file. */
static bool is_gone(const holder *h, const char *host, bool locked, double seconds)
{
    const char *job = getenv("SLURM_JOB_ID");
    if (strcmp(h->host, host) == 0)
        return locked || process_start(h->pid) != h->ticks;
    /* The same Slurm job again, requeued: its earlier life is over. */
    if (job && strcmp(job, h->job) == 0 && getenv("SLURM_RESTART_COUNT"))
        return true;
    return seconds > STALE_SECONDS;
}

static void describe(const char *host, char text[TEXT_MAX])
{
    char started[64];
    time_t now = time(NULL);
    struct tm tm;
    localtime_r(&now, &tm);
    strftime(started, sizeof started, "%Y-%m-%d %H:%M:%S", &tm);
    const char *job = getenv("SLURM_JOB_ID");
    snprintf(text, TEXT_MAX, "host %s\npid %ld\nticks %llu\njob %s\nstarted %s\n", host,
             (long)getpid(), process_start((long)getpid()), job && *job ? job : "-", started);
}

static sc_status write_text(int fd, const char *path, const char *text)
{
    size_t n = strlen(text);
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, n, 0) != (ssize_t)n || fsync(fd) != 0)
        return sc_fail(SC_EIO, "cannot write %s: %s", path, strerror(errno));
    return SC_OK;
}

/* The clock of the file system: the time of a file written just now. */
static void file_system_now(const char *path, struct stat *now)
{
    memset(now, 0, sizeof *now);
    now->st_mtime = time(NULL);
    char *probe = sc_format("%s.%ld", path, (long)getpid());
    int fd = probe ? open(probe, O_CREAT | O_WRONLY | O_CLOEXEC, 0600) : -1;
    if (fd >= 0) {
        if (write(fd, "x", 1) == 1)
            (void)fstat(fd, now);
        close(fd);
        unlink(probe);
    }
    free(probe);
}

typedef enum verdict { OURS, HELD, AGAIN } verdict;

/* One attempt on an open file. */
static sc_status judge(int fd, const char *path, const char *host, verdict *v, holder *h)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    bool locked = fcntl(fd, F_OFD_SETLK, &whole) == 0;
    int why = errno;
    char text[TEXT_MAX] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    bool known = parse(text, h);
    if (!locked && (why == EAGAIN || why == EACCES)) {
        *v = HELD;
        return SC_OK;
    }
    struct stat here, there, now;
    if (fstat(fd, &here) != 0 || stat(path, &there) != 0 || here.st_ino != there.st_ino ||
        here.st_dev != there.st_dev) {
        *v = AGAIN; /* its holder removed it between our open and our lock */
        return SC_OK;
    }
    file_system_now(path, &now);
    *v = !known || is_gone(h, host, locked, age(fd, &now)) ? OURS : HELD;
    return SC_OK;
}

sc_status app_lock_take(const char *path, const char *host, double wait_s, app_lock **out)
{
    *out = NULL;
    app_lock *l = sc_alloc(1, sizeof *l);
    if (!l)
        return SC_ENOMEM;
    l->fd = -1;
    l->path = sc_strdup(path);
    sc_status status = l->path ? SC_OK : SC_ENOMEM;
    double until = sc_now() + wait_s;
    while (status == SC_OK) {
        l->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (l->fd < 0) {
            status = sc_fail(SC_EIO, "cannot open %s: %s", path, strerror(errno));
            break;
        }
        verdict v = HELD;
        holder h;
        SC_TRY_GOTO(judge(l->fd, path, host, &v, &h));
        if (v == OURS) {
            describe(host, l->text);
            SC_TRY_GOTO(write_text(l->fd, path, l->text));
            l->renewed = sc_now();
            *out = l;
            return SC_OK;
        }
        close(l->fd);
        l->fd = -1;
        if (v == HELD && sc_now() >= until)
            status = refuse(path, &h);
        else if (v == HELD)
            nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    }
done:
    if (l->fd >= 0)
        close(l->fd);
    free(l->path);
    free(l);
    return status;
}

sc_status app_lock_renew(app_lock *l)
{
    if (!l || sc_now() - l->renewed < RENEW_SECONDS)
        return SC_OK;
    l->renewed = sc_now();
    char text[TEXT_MAX] = "";
    int fd = open(l->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno != ENOENT)
        return SC_OK; /* a file system that answers slowly is no reason to end a training */
    if (fd >= 0) {
        ssize_t n = read(fd, text, sizeof text - 1);
        text[n > 0 ? n : 0] = '\0';
        close(fd);
    }
    if (strcmp(text, l->text) != 0) {
        holder h;
        parse(text, &h);
        return sc_fail(SC_EIO, "%s is no longer this run's: %s%s took the output folder over",
                       l->path, h.host[0] ? "host " : "somebody", h.host);
    }
    (void)futimens(l->fd, NULL);
    return SC_OK;
}

void app_lock_release(app_lock *l)
{
    if (!l)
        return;
    l->renewed = -1e9;
    if (app_lock_renew(l) == SC_OK)
        unlink(l->path);
    close(l->fd);
    free(l->path);
    free(l);
}
