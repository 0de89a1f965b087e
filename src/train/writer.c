/* The thread that waits for the disk (fsync, rename) while the training goes on. One file at a
 * time: a second one waits, so that files appear in the order in which they were written.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "trainer.h"

struct sc_ckpt_writer {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool busy, quit;
    sc_atomic_file *file;
    char *path, *prev;
    sc_status status;
    char message[512];
};

/* The present file also gets the name of the fallback; the new one then takes its own name over. At
 * every moment a whole checkpoint has one of the two names. */
static sc_status keep_as(const char *path, const char *prev)
{
    if (!sc_file_exists(path))
        return SC_OK;
    char *step = sc_format("%s.link", prev);
    if (!step)
        return SC_ENOMEM;
    (void)unlink(step);
    sc_status status = SC_OK;
    if (link(path, step) == 0) {
        if (rename(step, prev) != 0)
            status = sc_fail(SC_EIO, "%s: cannot be renamed: %s", step, strerror(errno));
    } else if (rename(path, prev) != 0) /* a file system without hard links */
        status = sc_fail(SC_EIO, "%s: cannot be renamed: %s", path, strerror(errno));
    (void)unlink(step);
    free(step);
    return status;
}

static sc_status finish_file(const sc_ckpt_writer *w)
{
    sc_status status = w->prev ? keep_as(w->path, w->prev) : SC_OK;
    if (status == SC_OK)
        return sc_atomic_commit(w->file);
    sc_atomic_abort(w->file);
    return status;
}

static void *work(void *arg)
{
    sc_ckpt_writer *w = arg;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->file && !w->quit)
            pthread_cond_wait(&w->changed, &w->lock);
        if (!w->file)
            break;
        pthread_mutex_unlock(&w->lock);
        sc_status status = finish_file(w);
        pthread_mutex_lock(&w->lock);
        if (status != SC_OK && w->status == SC_OK) {
            w->status = status;
            snprintf(w->message, sizeof w->message, "%s", sc_message());
        }
        free(w->path);
        free(w->prev);
        w->file = NULL;
        w->path = w->prev = NULL;
        w->busy = false;
        pthread_cond_broadcast(&w->changed);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

sc_status sc_ckpt_writer_open(sc_ckpt_writer **out)
{
    sc_ckpt_writer *w = *out = sc_alloc(1, sizeof *w);
    if (!w)
        return SC_ENOMEM;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    int error = pthread_create(&w->thread, NULL, work, w);
    if (error) {
        pthread_cond_destroy(&w->changed);
        pthread_mutex_destroy(&w->lock);
        free(w);
        *out = NULL;
        return sc_fail(SC_ENOMEM, "no thread for writing checkpoints: %s", strerror(error));
    }
    return SC_OK;
}

static sc_status wait_idle(sc_ckpt_writer *w)
{
    while (w->busy)
        pthread_cond_wait(&w->changed, &w->lock);
    return w->status == SC_OK ? SC_OK : sc_fail(w->status, "%s", w->message);
}

sc_status sc_ckpt_writer_submit(sc_ckpt_writer *w, sc_atomic_file *file, const char *path,
                                const char *prev)
{
    char *own_path = sc_strdup(path), *own_prev = prev ? sc_strdup(prev) : NULL;
    pthread_mutex_lock(&w->lock);
    sc_status status = wait_idle(w);
    if (status == SC_OK && (!own_path || (prev && !own_prev)))
        status = SC_ENOMEM;
    if (status == SC_OK) {
        w->file = file;
        w->path = own_path;
        w->prev = own_prev;
        w->busy = true;
        pthread_cond_broadcast(&w->changed);
    }
    pthread_mutex_unlock(&w->lock);
    if (status != SC_OK) {
        sc_atomic_abort(file);
        free(own_path);
        free(own_prev);
    }
    return status;
}

bool sc_ckpt_writer_busy(sc_ckpt_writer *w)
{
    pthread_mutex_lock(&w->lock);
    bool busy = w->busy;
    pthread_mutex_unlock(&w->lock);
    return busy;
}

sc_status sc_ckpt_writer_flush(sc_ckpt_writer *w)
{
    pthread_mutex_lock(&w->lock);
    sc_status status = wait_idle(w);
    pthread_mutex_unlock(&w->lock);
    return status;
}

void sc_ckpt_writer_close(sc_ckpt_writer *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->quit = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    free(w);
}
