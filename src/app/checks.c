/* What can be judged before anything is written. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "app.h"

static sc_status file_is_there(const char *flag, const char *path)
{
    if (!path)
        return SC_OK;
    struct stat st;
    if (stat(path, &st) != 0)
        return sc_fail(SC_EUSAGE, "%s: cannot open %s: %s", flag, path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return sc_fail(SC_EUSAGE, "%s: %s is not a file", flag, path);
    return SC_OK;
}

sc_status app_check_configs(app *a)
{
    int ranks = a->options.plan_ranks > 0 ? a->options.plan_ranks : a->world->comm->size;
    if (a->options.group_size > ranks)
        return sc_fail(SC_EUSAGE,
                       "--group-size %d is more than the %d rank%s there %s; lower it, or start "
                       "more ranks",
                       a->options.group_size, ranks, ranks == 1 ? "" : "s",
                       ranks == 1 ? "is" : "are");
    for (int i = 0; i < a->options.configs_count; i++) {
        const sc_config *c = &a->options.configs[i];
        sc_status status = sc_encoder_check(c->image_encoder, true);
        if (status != SC_OK)
            return sc_fail_prefix(status, "%s: key 'image_encoder_name'", c->source);
        status = sc_encoder_check_size(c->image_encoder, c->img_size);
        if (status != SC_OK)
            return sc_fail_prefix(status, "%s: key 'img_size'", c->source);
        status = sc_encoder_check(c->text_encoder, false);
        if (status != SC_OK)
            return sc_fail_prefix(status, "%s: key 'text_encoder_name'", c->source);
        if (c->freeze_text_encoder && !sc_encoder_has_projection(c->text_encoder, c->embed_dim))
            sc_warn(&a->log,
                    "%s: key 'freeze_text_encoder': %s gives %d features itself, so there is no "
                    "text_encoder.projection and nothing of the text tower is trained",
                    c->source, c->text_encoder, c->embed_dim);
    }
    SC_TRY(file_is_there("--init-from", a->options.init_from));
    return file_is_there("--resume-from", a->options.resume_from);
}

/* The folder that exists already, at or above `path`. Heap. */
static char *nearest_existing(const char *path)
{
    char *p = sc_strdup(path);
    struct stat st;
    while (p && stat(p, &st) != 0 && errno == ENOENT) {
        char *slash = strrchr(p, '/');
        while (slash && slash > p && slash[1] == '\0') { /* trailing slashes */
            *slash = '\0';
            slash = strrchr(p, '/');
        }
        if (!slash) {
            strcpy(p, ".");
            break;
        }
        slash[slash == p ? 1 : 0] = '\0';
        if (strcmp(p, "/") == 0)
            break;
    }
    return p;
}

sc_status app_check_folder(const char *path, const char *flag)
{
    if (*path == '\0')
        return sc_fail(SC_EUSAGE, "%s: the folder's name is empty", flag);
    char *p = nearest_existing(path);
    if (!p)
        return SC_ENOMEM;
    struct stat st;
    sc_status status = SC_OK;
    if (stat(p, &st) != 0)
        status = sc_fail(SC_EUSAGE, "%s: cannot use %s: %s", flag, p, strerror(errno));
    else if (!S_ISDIR(st.st_mode))
        status = sc_fail(SC_EUSAGE, "%s: %s is not a folder", flag, p);
    else if (access(p, W_OK | X_OK) != 0)
        status = sc_fail(SC_EUSAGE, "%s: cannot write in %s: %s", flag, p, strerror(errno));
    free(p);
    return status;
}

/* Waits a little: a network file system may show a new file late. */
static sc_status see_token(const char *token, const char *flag)
{
    for (int i = 0; i < 50; i++) {
        if (sc_file_exists(token))
            return SC_OK;
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    return sc_fail(SC_EUSAGE,
                   "%s: a file that rank 0 wrote (%s) is not seen here; the folder must be on "
                   "a file system that all nodes share",
                   flag, token);
}

static sc_status write_token(const char *path, const char *flag, char **token)
{
    char *dir = nearest_existing(path);
    if (!dir)
        return SC_ENOMEM;
    *token = sc_format("%s/.sc_mpi_probe.%ld.%lld", dir, (long)getpid(), (long long)time(NULL));
    free(dir);
    if (!*token)
        return SC_ENOMEM;
    char block[4096] = {0};
    int fd = open(*token, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    sc_status status = SC_OK;
    if (fd < 0 || write(fd, block, sizeof block) != (ssize_t)sizeof block || fsync(fd) != 0)
        status = sc_fail(SC_EUSAGE, "%s: cannot write in %s: %s", flag, path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return status;
}

sc_status app_check_shared(app *a, const char *path, const char *flag)
{
    const sc_comm *c = a->world->comm;
    char *token = NULL;
    sc_status status = c->rank == 0 ? write_token(path, flag, &token) : SC_OK;
    status = app_agree(a->world, c, status);
    if (status == SC_OK && c->size > 1) {
        size_t n = token ? strlen(token) : 0;
        status = app_share_bytes(c, &token, &n);
        if (status == SC_OK)
            status = app_agree(a->world, c, see_token(token, flag));
    }
    if (c->rank == 0 && token)
        unlink(token);
    free(token);
    return status;
}

static bool remember_created(app *a, const char *path)
{
    char **grown = sc_realloc(a->created, (size_t)a->created_count + 1, sizeof *grown);
    if (!grown)
        return false;
    a->created = grown;
    a->created[a->created_count] = sc_strdup(path);
    return a->created[a->created_count] && ++a->created_count;
}

sc_status app_make_dirs(app *a, const char *path)
{
    char *p = sc_strdup(path);
    if (!p)
        return SC_ENOMEM;
    sc_status status = SC_OK;
    for (char *at = p; status == SC_OK && *at;) {
        char *slash = strchr(at + 1, '/');
        if (slash)
            *slash = '\0';
        if (mkdir(p, 0777) == 0)
            status = remember_created(a, p) ? SC_OK : SC_ENOMEM;
        else if (errno != EEXIST && errno != EISDIR)
            status = sc_fail(SC_EIO, "cannot make the folder %s: %s", p, strerror(errno));
        if (!slash)
            break;
        *slash = '/';
        at = slash;
    }
    free(p);
    return status;
}

void app_remove_created(app *a)
{
    for (int i = a->created_count - 1; i >= 0; i--)
        rmdir(a->created[i]); /* fails where something was left: then the folder is wanted */
}

static double job_bytes(const app *a, const app_case *k)
{
    const sc_encoder_info *image = sc_encoder_find(k->config->image_encoder);
    const sc_encoder_info *text = sc_encoder_find(k->config->text_encoder);
    double parameters = image->parameters + text->parameters + 4096.0 * k->config->embed_dim;
    double real = a->backend->real == SC_F64 ? 8 : 4;
    /* best: the weights; latest: weights and two moments. */
    return parameters * real * 4;
}

sc_status app_check_space(app *a)
{
    double packed = 0, results = 0, running = 0;
    for (int i = 0; i < a->set_count; i++) {
        if (a->sets[i].dataset || !a->source_dir || sc_is_packed(a->sets[i].dir))
            continue;
        double s = a->sets[i].img_size, t = sc_train_size(a->sets[i].img_size);
        packed += (double)a->list->count * (s * s + t * t) * 3;
    }
    for (int j = 0; j < a->job_count; j++) {
        const app_job *job = &a->jobs[j];
        double bytes = job_bytes(a, &a->cases[job->config]);
        char *latest = sc_path_join(job->dir, "checkpoint_latest.pth");
        if (latest && !sc_file_exists(latest))
            results += bytes;
        free(latest);
        if (bytes > running)
            running = bytes; /* one more latest and its fallback while they are replaced */
    }
    struct {
        const char *flag, *path;
        double need;
    } places[] = {
        {"--output-dir", a->options.output_dir, results + 1.5 * running},
        {a->options.cache_dir ? "--cache-dir" : "--output-dir",
         a->options.cache_dir ? a->options.cache_dir : a->options.output_dir, packed},
    };
    if (!a->options.cache_dir)
        places[0].need += packed;
    for (int i = 0; i < 2; i++) {
        char *dir = nearest_existing(places[i].path);
        struct statvfs fs;
        bool known = dir && statvfs(dir, &fs) == 0 && fs.f_blocks > 0;
        free(dir);
        double have = known ? (double)fs.f_bavail * (double)fs.f_frsize : 0;
        if (known && have < places[i].need)
            return sc_fail(SC_EUSAGE,
                           "%s: %s has %.1f MB free, this run needs about %.1f MB; free some "
                           "space or choose another folder",
                           places[i].flag, places[i].path, have / 1e6, places[i].need / 1e6);
    }
    return SC_OK;
}
