/* The files rank 0 writes: config.json and folds_info.json before any job, cv_summary.json after a
 * config's last one. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app.h"

static const char *precision_name(const app *a, const app_case *k)
{
    return a->backend == sc_backend_ref() ? "fp64" : k->bf16 ? "bf16" : "fp32";
}

static sc_status save(sc_json_writer *w, const char *dir, const char *name)
{
    char *path = sc_path_join(dir, name);
    sc_status status = path ? sc_jw_save(w, path) : SC_ENOMEM;
    free(path);
    sc_jw_free(w);
    return status;
}

static sc_status write_config(const app *a, const app_case *k)
{
    const sc_config *c = k->config;
    sc_json_writer w;
    sc_jw_init(&w);
    sc_jw_object(&w, NULL);
    sc_config_write(c, &w);
    sc_jw_string(&w, "image_encoder", c->image_encoder);
    sc_jw_string(&w, "text_encoder", c->text_encoder);
    sc_jw_string(&w, "data_dir", a->options.data_dir);
    sc_jw_string(&w, "data_hash", sc_dataset_hash(a->sets[k->set].dataset));
    sc_jw_string(&w, "init_from", a->options.init_from);
    sc_jw_int(&w, "overfit", a->options.overfit);
    app_write_weights(a, k, &w);
    sc_jw_string(&w, "backend", a->backend->name);
    sc_jw_string(&w, "precision_used", precision_name(a, k));
    sc_jw_object(&w, "software");
    sc_jw_string(&w, "sc_mpi", SC_VERSION);
    sc_jw_string(&w, "libraries", app_libraries());
    sc_jw_end(&w);
    sc_jw_end(&w);
    return save(&w, k->dir, "config.json");
}

static void write_indices(sc_json_writer *w, const char *key, const int64_t *v, int64_t n)
{
    sc_jw_inline_list(w, key);
    for (int64_t i = 0; i < n; i++)
        sc_jw_int(w, NULL, v[i]);
    sc_jw_end(w);
}

static sc_status write_counts(const app *a, sc_json_writer *w, const char *key, const int64_t *v,
                              int64_t n)
{
    int64_t *counts = sc_alloc((size_t)a->facts.classes, sizeof *counts);
    if (!counts)
        return SC_ENOMEM;
    for (int64_t i = 0; i < n; i++)
        counts[a->facts.labels[v[i]]]++;
    sc_jw_object(w, key);
    for (int c = 0; c < a->facts.classes; c++)
        sc_jw_int(w, a->facts.class_names[c], counts[c]);
    sc_jw_end(w);
    free(counts);
    return SC_OK;
}

static sc_status write_fold(const app *a, const app_case *k, int f, sc_json_writer *w)
{
    const sc_fold *fold = k->overfit ? &k->overfit[f] : &k->folds[f];
    sc_jw_object(w, NULL);
    sc_jw_int(w, "fold", f + 1);
    write_indices(w, "train_indices", fold->train, fold->train_count);
    write_indices(w, "val_indices", fold->val, fold->val_count);
    SC_TRY(write_counts(a, w, "train_class_counts", fold->train, fold->train_count));
    SC_TRY(write_counts(a, w, "val_class_counts", fold->val, fold->val_count));
    sc_jw_list(w, "val_files");
    for (int64_t i = 0; i < fold->val_count; i++)
        sc_jw_string(w, NULL, sc_dataset_path(a->sets[k->set].dataset, fold->val[i]));
    sc_jw_end(w);
    sc_jw_end(w);
    return SC_OK;
}

static sc_status write_folds_info(const app *a, const app_case *k)
{
    sc_json_writer w;
    sc_jw_init(&w);
    sc_jw_object(&w, NULL);
    sc_jw_int(&w, "n_splits", k->n_splits);
    sc_jw_int(&w, "random_state", k->config->random_state);
    sc_jw_list(&w, "class_names");
    for (int c = 0; c < a->facts.classes; c++)
        sc_jw_string(&w, NULL, a->facts.class_names[c]);
    sc_jw_end(&w);
    sc_jw_list(&w, "folds");
    for (int f = 0; f < k->folds_used; f++) {
        sc_status status = write_fold(a, k, f, &w);
        if (status != SC_OK) {
            sc_jw_free(&w);
            return status;
        }
    }
    sc_jw_end(&w);
    sc_jw_end(&w);
    return save(&w, k->dir, "folds_info.json");
}

/* What sc_mpi writes into a fold's and a config's folder: nothing else is ever removed there. */
static const char *const of_fold[] = {"checkpoint_latest.pth", "checkpoint_latest.prev.pth",
                                      "checkpoint_best.pth",   "history.json",
                                      "timing.json",           "val_predictions.csv",
                                      "profile.json"};
static const char *const of_case[] = {"cv_summary.json", "config.json", "folds_info.json"};
enum { OF_FOLD = sizeof of_fold / sizeof of_fold[0], OF_CASE = sizeof of_case / sizeof of_case[0] };

static void remove_file(const char *dir, const char *name)
{
    char *path = sc_path_join(dir, name);
    if (path)
        unlink(path);
    free(path);
}

/* "<file of ours>.tmp.<digits>" or "<file of ours>.link" */
static bool is_leftover(const char *entry, const char *const *names, int count)
{
    for (int i = 0; i < count; i++) {
        size_t n = strlen(names[i]);
        const char *rest = entry + n;
        if (strncmp(entry, names[i], n) != 0)
            continue;
        if (strcmp(rest, ".link") == 0)
            return true;
        if (strncmp(rest, ".tmp.", 5) == 0 && rest[5] &&
            rest[5 + strspn(rest + 5, "0123456789")] == '\0')
            return true;
    }
    return false;
}

/* Temporary files of a run that was killed: the lock says that nobody is writing them any more. */
static void remove_leftovers(const char *dir, const char *const *names, int count)
{
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));)
        if (is_leftover(e->d_name, names, count))
            remove_file(dir, e->d_name);
    if (d)
        closedir(d);
}

static bool is_fold(const char *entry)
{
    return strncmp(entry, "fold_", 5) == 0 && entry[5] >= '1' && entry[5] <= '9' &&
           entry[5 + strspn(entry + 5, "0123456789")] == '\0';
}

/* --restart: an earlier run's results must not be taken for this one's, those of folds that this
 * run has not either. */
static sc_status remove_results(const char *dir)
{
    remove_file(dir, "cv_summary.json");
    DIR *d = opendir(dir);
    sc_status status = SC_OK;
    for (struct dirent *e; d && status == SC_OK && (e = readdir(d));) {
        if (!is_fold(e->d_name))
            continue;
        char *fold = sc_path_join(dir, e->d_name);
        if (!fold)
            status = SC_ENOMEM;
        for (int i = 0; fold && i < OF_FOLD; i++)
            remove_file(fold, of_fold[i]);
        if (fold) {
            remove_leftovers(fold, of_fold, OF_FOLD);
            rmdir(fold); /* stays when anything else lies there */
        }
        free(fold);
    }
    if (d)
        closedir(d);
    return status;
}

sc_status app_write_run_files(app *a)
{
    for (int i = 0; i < a->options.configs_count && a->options.restart; i++)
        SC_TRY(remove_results(a->cases[i].dir));
    for (int j = 0; j < a->job_count; j++) {
        const app_job *job = &a->jobs[j];
        SC_TRY(app_make_dirs(a, job->dir));
        remove_leftovers(job->dir, of_fold, OF_FOLD);
        if (job->done_before) /* killed between its last checkpoint and the fallback's end */
            remove_file(job->dir, "checkpoint_latest.prev.pth");
        else if (job->dump_dir)
            SC_TRY(app_make_dirs(a, job->dump_dir));
    }
    for (int i = 0; i < a->options.configs_count; i++) {
        remove_leftovers(a->cases[i].dir, of_case, OF_CASE);
        SC_TRY(write_config(a, &a->cases[i]));
        SC_TRY(write_folds_info(a, &a->cases[i]));
    }
    return SC_OK;
}

sc_status app_write_summary(app *a, int config)
{
    const app_case *k = &a->cases[config];
    sc_fold_result *folds = sc_alloc((size_t)k->folds_used, sizeof *folds);
    if (!folds)
        return SC_ENOMEM;
    for (int f = 0; f < k->folds_used; f++)
        folds[f] = a->jobs[k->first_job + f].result;
    sc_json_writer w;
    sc_jw_init(&w);
    sc_jw_object(&w, NULL);
    sc_jw_object(&w, "config");
    sc_config_write(k->config, &w);
    sc_jw_end(&w);
    sc_summary_write(folds, k->folds_used, &w);
    sc_jw_end(&w);
    free(folds);
    return save(&w, k->dir, "cv_summary.json");
}
