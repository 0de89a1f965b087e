#include "fuzz.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 4 };
static struct fuzz_slot {
    char path[160];
    int fd;
} slots[MOST];
static int used;
static char folder[128];

static void fail(const char *what)
{
    fprintf(stderr, "fuzz: %s\n", what);
    abort();
}

static void clean_up(void)
{
    for (int i = 0; i < used; i++)
        (void)unlink(slots[i].path);
    (void)rmdir(folder);
}

/* In memory where the system has such a place: a target writes thousands of files a second. */
static void make_folder(void)
{
    const char *root = getenv("TMPDIR");
    if (!root)
        root = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(folder, sizeof folder, "%s/sc_fuzz.XXXXXX", root);
    if (!mkdtemp(folder))
        fail("no temporary folder");
    atexit(clean_up);
}

const char *fuzz_file(const char *name, const void *data, size_t n)
{
    struct fuzz_slot *s = NULL;
    if (!*folder)
        make_folder();
    for (int i = 0; i < used; i++)
        if (strcmp(slots[i].path + strlen(folder) + 1, name) == 0)
            s = &slots[i];
    if (!s) {
        if (used == MOST)
            fail("too many files");
        s = &slots[used++];
        snprintf(s->path, sizeof s->path, "%s/%s", folder, name);
        s->fd = open(s->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (s->fd < 0)
            fail("a file cannot be made");
    }
    if (ftruncate(s->fd, 0) != 0 || pwrite(s->fd, data, n, 0) != (ssize_t)n)
        fail("a file cannot be written");
    return s->path;
}

void fuzz_judge(sc_status status, const char *path)
{
    const char *m = sc_message();
    if (status == SC_OK)
        return;
    if (status != SC_EFORMAT && status != SC_EUSAGE) {
        fprintf(stderr, "fuzz: status %s: %s\n", sc_status_name(status), m);
        abort();
    }
    if (strncmp(m, path, strlen(path)) != 0 || m[strlen(path)] != ':' || strchr(m, '\n') ||
        !sc_utf8_valid(m, strlen(m))) {
        fprintf(stderr, "fuzz: not one line about the file: %s\n", m);
        abort();
    }
}
