/* What binds a checkpoint to its config and data, and which jobs earlier runs finished. */
#include <stdlib.h>
#include <string.h>

#include "app.h"

static uint32_t hash_tokens(const app_case *k)
{
    uint32_t crc = 0;
    for (int c = 0; c < k->classes; c++)
        for (int t = 0; t < k->tokens[c].count; t++) {
            crc = sc_crc32c(crc, &k->tokens[c].lengths[t], sizeof k->tokens[c].lengths[t]);
            crc = sc_crc32c(crc, k->tokens[c].ids[t],
                            (size_t)k->tokens[c].lengths[t] * sizeof k->tokens[c].ids[t][0]);
        }
    return crc;
}

/* Keys that are not known: the data's as long as they are not packed, and those of published
 * weights that are not here any more when a checkpoint stands for them. */
static sc_status list_unknown(const app *a, app_case *k)
{
    bool data = a->sets[k->set].dataset != NULL, resume = a->options.resume_from != NULL;
    free(k->unknown);
    k->unknown = sc_format("%s%s%s", data ? "" : "data ",
                           resume && !k->weights.image.path ? "image_weights_sha256 " : "",
                           resume && !k->weights.text.path ? "text_weights_sha256" : "");
    return k->unknown ? SC_OK : SC_ENOMEM;
}

/* The config's keys, and what only the run knows: the data (null before they are packed), the
 * tokens, where weights came from. */
static sc_status make_identity(const app *a, app_case *k)
{
    const sc_dataset *data = a->sets[k->set].dataset;
    SC_TRY(list_unknown(a, k));
    char *keys = sc_config_identity(k->config);
    sc_json_doc *doc = NULL;
    if (!keys)
        return SC_ENOMEM;
    sc_status status = sc_json_parse("identity", keys, strlen(keys), &doc);
    free(keys);
    SC_TRY(status);
    sc_json_writer w;
    sc_jw_init(&w);
    w.compact = true;
    sc_jw_object(&w, NULL);
    for (const sc_json *v = sc_json_first(sc_json_root(doc)); v; v = sc_json_next(v))
        sc_jw_value(&w, sc_json_key(v), v);
    sc_jw_string(&w, "data", data ? sc_dataset_hash(data) : NULL);
    sc_jw_int(&w, "tokens", hash_tokens(k));
    sc_jw_string(&w, "init_from", a->options.init_from);
    if (k->weights.image.path)
        sc_jw_string(&w, "image_weights_sha256", k->weights.image.sha256);
    if (k->weights.text.path)
        sc_jw_string(&w, "text_weights_sha256", k->weights.text.sha256);
    sc_jw_int(&w, "overfit", a->options.overfit);
    sc_jw_end(&w);
    status = sc_text_status(&w.text);
    free(k->identity);
    k->identity = status == SC_OK ? sc_strdup(w.text.data) : NULL;
    sc_jw_free(&w);
    sc_json_free(doc);
    return k->identity ? SC_OK : SC_ENOMEM;
}

static sc_status make_config_json(app_case *k)
{
    sc_json_writer w;
    sc_jw_init(&w);
    w.compact = true;
    sc_jw_object(&w, NULL);
    sc_config_write(k->config, &w);
    sc_jw_end(&w);
    sc_status status = sc_text_status(&w.text);
    k->config_json = status == SC_OK ? sc_strdup(w.text.data) : NULL;
    sc_jw_free(&w);
    return k->config_json ? SC_OK : SC_ENOMEM;
}

sc_status app_identify_cases(app *a)
{
    for (int i = 0; i < a->options.configs_count; i++) {
        SC_TRY(make_identity(a, &a->cases[i]));
        SC_TRY(make_config_json(&a->cases[i]));
    }
    return SC_OK;
}

static bool same_file(const sc_found *x, const sc_found *y)
{
    return x->path && y->path ? strcmp(x->path, y->path) == 0 : x->path == y->path;
}

static bool same_model(const app_case *x, const app_case *y)
{
    const sc_config *c = x->config, *d = y->config;
    return strcmp(c->image_encoder, d->image_encoder) == 0 &&
           strcmp(c->text_encoder, d->text_encoder) == 0 && c->embed_dim == d->embed_dim &&
           c->img_size == d->img_size && x->vocabulary == y->vocabulary &&
           x->context == y->context && same_file(&x->weights.image, &y->weights.image) &&
           same_file(&x->weights.text, &y->weights.text);
}

/* An embedding of another size than the vocabulary is the commonest misfit, and not seen at once.
 */
static void hint_at_vocabulary(const app_case *k)
{
    char message[1600];
    snprintf(message, sizeof message, "%s", sc_message());
    if (strstr(message, "token_embedding.weight' is [") ||
        strstr(message, "word_embeddings.weight' is ["))
        sc_fail(SC_EFORMAT,
                "%s; the vocabulary in use (%s) has %d tokens: name the one that belongs to the "
                "weights by key 'tokenizer'",
                message,
                k->weights.vocabulary.path ? k->weights.vocabulary.path : "bytes only, no merges",
                k->vocabulary);
}

static sc_status check_start(app *a, app_case *k)
{
    sc_train_options o;
    SC_TRY(make_identity(a, k));
    app_train_options(a, k->first_job, &a->log, &o);
    sc_status status = sc_train_check_start(&o);
    if (status == SC_OK)
        return SC_OK;
    const char *flag = a->options.resume_from ? "--resume-from"
                       : a->options.init_from ? "--init-from"
                                              : "pretrained weights";
    hint_at_vocabulary(k);
    if (!o.resume_from && !o.init_from)
        return sc_fail_prefix(status, "%s: %s", k->config->source, flag);
    return a->options.configs_count > 1
               ? sc_fail_prefix(status, "config '%s': %s", k->config->name, flag)
               : sc_fail_prefix(status, "%s", flag);
}

/* --restart empties the configs' folders before a job reads its weights. */
static sc_status check_stays(const app *a, const char *flag, const char *path)
{
    sc_status status = SC_OK;
    char *file = path ? realpath(path, NULL) : NULL;
    for (int i = 0; i < a->options.configs_count && file && status == SC_OK; i++) {
        char *dir = realpath(a->cases[i].dir, NULL);
        size_t n = dir ? strlen(dir) : 0;
        if (dir && strncmp(file, dir, n) == 0 && strncmp(file + n, "/fold_", 6) == 0)
            status = sc_fail(SC_EUSAGE,
                             "%s: %s lies where --restart removes what is there; copy it "
                             "to another folder first, or give another name or --output-dir",
                             flag, path);
        free(dir);
    }
    free(file);
    return status;
}

static sc_status check_all_stay(const app *a)
{
    SC_TRY(check_stays(a, "--init-from", a->options.init_from));
    for (int i = 0; i < a->options.configs_count; i++) {
        SC_TRY(check_stays(a, "key 'image_weights'", a->cases[i].weights.image.path));
        SC_TRY(check_stays(a, "key 'text_weights'", a->cases[i].weights.text.path));
    }
    return SC_OK;
}

static bool has_files(const app *a, const app_case *k)
{
    return a->options.init_from || a->options.resume_from || k->weights.image.path ||
           k->weights.text.path;
}

sc_status app_check_start(app *a)
{
    if (a->options.restart)
        SC_TRY(check_all_stay(a));
    for (int i = 0; i < a->options.configs_count; i++) {
        int like = 0;
        while (like < i && !same_model(&a->cases[like], &a->cases[i]))
            like++;
        if (like == i && has_files(a, &a->cases[i]))
            SC_TRY(check_start(a, &a->cases[i]));
    }
    return SC_OK;
}

static sc_status ask_finished(app *a)
{
    if (a->options.resume_from) /* once more, now that the data are known */
        return check_start(a, &a->cases[0]);
    if (a->options.restart)
        return SC_OK;
    for (int j = 0; j < a->job_count; j++) {
        app_job *job = &a->jobs[j];
        if (!sc_file_exists(job->dir))
            continue;
        sc_train_options o;
        sc_train_result r = {0};
        app_train_options(a, j, &a->log, &o);
        sc_status status = sc_train_finished(&o, &job->done_before, &r);
        if (status == SC_EUSAGE && !strstr(sc_message(), "--restart"))
            return sc_fail(status,
                           "%s; --restart begins again, another name or --output-dir keeps both",
                           sc_message());
        SC_TRY(status);
        if (job->done_before) {
            job->result = r.fold;
            job->result.config = job->config;
            job->result.fold = job->fold;
        }
        sc_train_result_free(&r);
    }
    return SC_OK;
}

sc_status app_find_finished(app *a)
{
    const sc_comm *c = a->world->comm;
    APP_AGREE(a, c->rank == 0 ? ask_finished(a) : SC_OK);
    uint8_t *done = sc_alloc((size_t)a->job_count, 1);
    APP_AGREE(a, done ? SC_OK : SC_ENOMEM);
    for (int j = 0; j < a->job_count; j++)
        done[j] = a->jobs[j].done_before;
    sc_status status = c->broadcast(c, done, (size_t)a->job_count, 0);
    for (int j = 0; j < a->job_count && status == SC_OK; j++) {
        a->jobs[j].done_before = done[j];
        a->jobs[j].state = done[j] ? JOB_DONE : JOB_WAITING;
        a->jobs[j].fraction = done[j];
        if (done[j])
            a->cases[a->jobs[j].config].open_jobs--;
    }
    free(done);
    return status;
}

static sc_weight_method weight_method(const char *name)
{
    return strcmp(name, "inverse_sqrt") == 0 ? SC_INVERSE_SQRT : SC_INVERSE_FREQ;
}

void app_train_options(app *a, int j, const sc_log *log, sc_train_options *o)
{
    const app_job *job = &a->jobs[j];
    const app_case *k = &a->cases[job->config];
    const sc_config *c = k->config;
    *o = (sc_train_options){
        .dir = job->dir,
        .fold = job->fold,
        .identity = k->identity,
        .unknown = k->unknown,
        .config_json = k->config_json,
        .dataset = a->sets[k->set].dataset,
        .resident = a->resident,
        .split = k->overfit ? &k->overfit[job->fold - 1] : &k->folds[job->fold - 1],
        .class_texts = k->tokens,
        .image_encoder = c->image_encoder,
        .text_encoder = c->text_encoder,
        .embed_dim = c->embed_dim,
        .img_size = c->img_size,
        .vocabulary = k->vocabulary,
        .context = k->context,
        .temperature = c->temperature,
        .freeze_image = c->freeze_image_encoder,
        .freeze_text = c->freeze_text_encoder,
        .freeze_bn = c->freeze_bn,
        .sync_bn = c->sync_bn,
        .init_from = a->options.init_from,
        .image_weights = k->weights.image.path,
        .text_weights = k->weights.text.path,
        .batch_size = c->batch_size,
        .epochs = c->epochs,
        .learning_rate = c->learning_rate,
        .weight_decay = c->weight_decay,
        .random_state = c->random_state,
        .augment = strcmp(c->augmentation, "standard") == 0,
        .weighted_sampling = c->use_weighted_sampling,
        .weight_method = weight_method(c->weight_method),
        .weight_smooth = c->weight_smooth_factor,
        .weighted_loss = strcmp(c->class_weights, "train") == 0,
        .loss = {.superclip = c->use_superclip_loss,
                 .class_weight = c->class_loss_weight,
                 .contrastive_weight = c->contrastive_loss_weight,
                 .focal = c->use_focal_loss,
                 .focal_alpha = c->focal_alpha,
                 .focal_gamma = c->focal_gamma,
                 .tau0 = c->temperature,
                 .multi_positive = strcmp(c->contrastive_targets, "multi_positive") == 0},
        .save_best = c->save_best,
        .best_metric = c->best_metric,
        .patience = c->early_stopping_patience,
        .min_delta = c->early_stopping_min_delta,
        .monitor = c->early_stopping_monitor,
        .loader_threads = c->num_workers,
        .checkpoint_interval_s = c->checkpoint_interval_s,
        .restart = a->options.restart,
        .resume_from = a->options.resume_from,
        .dump_steps = a->options.dump_steps,
        .dump_dir = job->dump_dir,
        .profile = a->options.profile,
        .no_graph = a->options.no_graph,
        .log = log,
    };
}
