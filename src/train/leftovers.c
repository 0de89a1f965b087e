/* A killed run can leave a temporary file behind, as large as a checkpoint. The next run of the
 * job, the only writer of its folder, removes them. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "trainer.h"

static const char *const files[] = {SC_CKPT_LATEST, SC_CKPT_PREV,  SC_CKPT_BEST,
                                    "history.json", "timing.json", "val_predictions.csv",
                                    "profile.json"};

/* "<file of ours>.tmp.<digits>" (sc_atomic_open) or "<file of ours>.link" (the writer's). */
static bool is_leftover(const char *name)
{
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        size_t n = strlen(files[i]);
        if (strncmp(name, files[i], n) != 0)
            continue;
        const char *rest = name + n;
        if (strcmp(rest, ".link") == 0)
            return true;
        if (strncmp(rest, ".tmp.", 5) == 0 && rest[5] &&
            strspn(rest + 5, "0123456789") == strlen(rest + 5))
            return true;
    }
    return false;
}

void sc_remove_leftovers(const char *dir)
{
    DIR *d = opendir(dir);
    const struct dirent *e;
    while (d && (e = readdir(d)) != NULL)
        if (is_leftover(e->d_name)) {
            char *path = sc_path_join(dir, e->d_name);
            if (path)
                (void)unlink(path);
            free(path);
        }
    if (d)
        closedir(d);
}
