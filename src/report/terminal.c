#include "terminal.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Under mpirun every rank writes to a pseudo terminal of mpirun's own making, also when mpirun's
 * output is a file. Programs between the two (bash, numactl) share that pseudo terminal: the
 * launcher is the nearest ancestor whose standard output is another file. */
static bool under_launcher(void)
{
    static const char *const marks[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK",
                                        "SLURM_PROCID"};
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++)
        if (getenv(marks[i]))
            return true;
    return false;
}

static bool output_of(long pid, char *target, size_t n)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/fd/1", pid);
    ssize_t got = readlink(path, target, n - 1);
    if (got <= 0)
        return false;
    target[got] = '\0';
    return true;
}

static long parent_of(long pid)
{
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    size_t got = fread(line, 1, sizeof line - 1, f);
    fclose(f);
    line[got] = '\0';
    const char *name_end = strrchr(line, ')'); /* names may hold blanks and parentheses */
    long parent = 0;
    return name_end && sscanf(name_end + 1, " %*c %ld", &parent) == 1 ? parent : 0;
}

/* The launcher's standard output into target; false when no ancestor tells. */
static bool launcher_output(long *pid, char *target, size_t n)
{
    char mine[256];
    if (!output_of((long)getpid(), mine, sizeof mine))
        return false;
    for (long p = (long)getppid(); p > 1; p = parent_of(p)) {
        if (!output_of(p, target, n))
            return false;
        if (strcmp(target, mine) != 0) {
            *pid = p;
            return true;
        }
    }
    return false;
}

static bool names_terminal(const char *path)
{
    return strncmp(path, "/dev/pts/", 9) == 0 || strncmp(path, "/dev/tty", 8) == 0 ||
           strcmp(path, "/dev/console") == 0;
}

bool sc_terminal_is_live(void)
{
    const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
    if (!isatty(STDOUT_FILENO) || !term || !term[0] || strcmp(term, "dumb") == 0 ||
        (no_color && no_color[0]))
        return false;
    char target[256];
    long pid;
    return !under_launcher() ||
           (launcher_output(&pid, target, sizeof target) && names_terminal(target));
}

static bool size_of(int fd, int *columns, int *rows)
{
    struct winsize size;
    if (fd < 0 || ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        return false;
    *columns = size.ws_col;
    *rows = size.ws_row > 0 ? size.ws_row : 24;
    return true;
}

static int from_environment(const char *name, int otherwise)
{
    const char *text = getenv(name);
    long v = text ? strtol(text, NULL, 10) : 0;
    return v > 0 && v < 10000 ? (int)v : otherwise;
}

void sc_terminal_size(int *columns, int *rows)
{
    char target[256], path[64];
    long pid;
    bool known = false;
    if (!under_launcher()) {
        known = size_of(STDOUT_FILENO, columns, rows);
    } else if (launcher_output(&pid, target, sizeof target) && names_terminal(target)) {
        snprintf(path, sizeof path, "/proc/%ld/fd/1", pid);
        int fd = open(path, O_RDONLY | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
        known = size_of(fd, columns, rows);
        if (fd >= 0)
            close(fd);
    }
    if (!known) {
        *columns = from_environment("COLUMNS", 80);
        *rows = from_environment("LINES", 24);
    }
}

/* One UTF-8 sequence: its bytes, and the columns it takes. Broken bytes count as one column. */
static size_t letter(const unsigned char *s, int *columns)
{
    size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc0 ? 2 : 1;
    uint32_t code = n == 1 ? s[0] : s[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            *columns = 1;
            return 1;
        }
        code = code << 6 | (s[i] & 0x3f);
    }
    /* East Asian wide and full-width blocks, and pictographs */
    bool wide = (code >= 0x1100 && code <= 0x115f) || (code >= 0x2e80 && code <= 0xa4cf) ||
                (code >= 0xac00 && code <= 0xd7a3) || (code >= 0xf900 && code <= 0xfaff) ||
                (code >= 0xfe30 && code <= 0xfe6f) || (code >= 0xff00 && code <= 0xff60) ||
                (code >= 0xffe0 && code <= 0xffe6) || (code >= 0x1f300 && code <= 0x3fffd);
    bool joins = code >= 0x300 && code <= 0x36f;
    *columns = joins ? 0 : wide ? 2 : 1;
    return n;
}

size_t sc_terminal_fit(const char *line, int columns)
{
    size_t at = 0;
    int used = 0;
    while (line[at]) {
        int width;
        size_t n = letter((const unsigned char *)line + at, &width);
        if (used + width > columns)
            break;
        used += width;
        at += n;
    }
    return at;
}
