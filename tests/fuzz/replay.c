/* The main of a target without libFuzzer: every file of the folders given. The process may grow by
 * 256 MiB only, far beyond what the small files of a corpus justify.
 */
#include "fuzz.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

static void bound_memory(void)
{
    struct rlimit limit;
    char *statm;
    size_t n;
    if (SANITIZED || sc_read_file("/proc/self/statm", 4096, &statm, &n) != SC_OK)
        return;
    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = strtoul(statm, NULL, 10) * (rlim_t)sysconf(_SC_PAGESIZE) + (256u << 20);
    free(statm);
    setrlimit(RLIMIT_AS, &limit);
}

static bool replay_file(const char *path)
{
    char *data;
    size_t n;
    if (sc_read_file(path, 1 << 20, &data, &n) != SC_OK) {
        fprintf(stderr, "replay: %s\n", sc_message());
        return false;
    }
    fprintf(stderr, "%s\n", path); /* the last line before a crash */
    sc_message_clear();
    LLVMFuzzerTestOneInput((const uint8_t *)data, n);
    free(data);
    return true;
}

static bool replay_folder(const char *folder, int *count)
{
    DIR *dir = opendir(folder);
    bool ok = dir != NULL;
    for (struct dirent *e; ok && (e = readdir(dir)) != NULL;) {
        if (e->d_name[0] == '.')
            continue;
        char *path = sc_path_join(folder, e->d_name);
        ok = path && replay_file(path);
        free(path);
        ++*count;
    }
    if (dir)
        closedir(dir);
    return ok;
}

int main(int argc, char **argv)
{
    int count = 0;
    bool ok = argc > 1;
    bound_memory();
    for (int i = 1; i < argc && ok; i++)
        ok = replay_folder(argv[i], &count);
    printf("%d inputs\n", count);
    return ok && count > 0 ? 0 : 1;
}
