/* Configs and data become cases and jobs. */
#include <stdlib.h>
#include <string.h>

#include "app.h"

static void warn_of_unknown(const sc_tokenizer *t, const char *class_name, const char *text,
                            const int32_t *ids, int n, const sc_log *log)
{
    int unknown = 0;
    for (int i = 0; i < n; i++)
        unknown += ids[i] == sc_tokenizer_unknown(t);
    if (unknown > 0)
        sc_warn(log, "class '%s': the vocabulary does not know %d of the words of \"%.60s\"%s",
                class_name, unknown, text,
                " (has it lower case only? then do_lower_case in its tokenizer_config.json)");
}

static sc_status make_tokens(app_case *k, const sc_log *log)
{
    sc_tokenizer *t = NULL;
    SC_TRY(sc_tokenizer_open(sc_encoder_find(k->config->text_encoder)->tokenizer,
                             k->weights.vocabulary.path, &t));
    sc_status status = SC_OK;
    k->vocabulary = sc_tokenizer_vocabulary(t);
    k->context = sc_tokenizer_context(t);
    k->tokens = sc_alloc((size_t)k->classes, sizeof *k->tokens);
    if (!k->tokens)
        status = SC_ENOMEM;
    for (int c = 0; c < k->classes && status == SC_OK; c++) {
        const sc_class_text *text = &k->texts[c];
        int32_t **ids = sc_alloc((size_t)text->count, sizeof *ids);
        int *lengths = sc_alloc((size_t)text->count, sizeof *lengths);
        k->tokens[c] = (sc_train_text){text->texts, ids, lengths, text->count};
        if (!ids || !lengths)
            status = SC_ENOMEM;
        for (int i = 0; i < text->count && status == SC_OK; i++) {
            bool cut = false;
            status = sc_tokenizer_encode(t, text->texts[i], &ids[i], &lengths[i], &cut);
            if (cut)
                sc_warn(log,
                        "class '%s': a text is longer than %d tokens and was cut: \"%.60s...\"",
                        text->class_name, k->context, text->texts[i]);
            if (status == SC_OK)
                warn_of_unknown(t, text->class_name, text->texts[i], ids[i], lengths[i], log);
        }
    }
    sc_tokenizer_free(t);
    return status;
}

/* --overfit: the first n images of the fold's first epoch, so that classes are mixed. */
static sc_status make_overfit(const app *a, app_case *k, int fold, int n)
{
    const sc_fold *f = &k->folds[fold];
    int64_t count = f->train_count < n ? f->train_count : n;
    int64_t *order = sc_alloc((size_t)f->train_count, sizeof *order);
    sc_fold *o = &k->overfit[fold];
    o->train = sc_alloc((size_t)count, sizeof *o->train);
    o->val = sc_alloc((size_t)count, sizeof *o->val);
    sc_status status = order && o->train && o->val ? SC_OK : SC_ENOMEM;
    if (status == SC_OK)
        status = sc_train_order(f, a->facts.labels, NULL, k->classes, k->config->random_state, 0,
                                fold + 1, order);
    if (status == SC_OK) {
        for (int64_t i = 0; i < count; i++) { /* ascending, as sc_fold wants it */
            int64_t at = i;
            for (; at > 0 && o->train[at - 1] > order[i]; at--)
                o->train[at] = o->train[at - 1];
            o->train[at] = order[i];
        }
        memcpy(o->val, o->train, (size_t)count * sizeof *o->val);
        o->train_count = o->val_count = count;
    }
    free(order);
    return status;
}

/* Warnings of the folds, which know nothing of configs, with the config they are about. */
typedef struct case_voice {
    const sc_log *log;
    const sc_config *config;
} case_voice;

static void say_for_case(void *ctx, sc_log_level level, const char *line)
{
    const case_voice *v = ctx;
    sc_log_line(v->log, level, "%s: config '%s': %s", v->config->source, v->config->name, line);
}

static sc_status make_folds(const app *a, app_case *k, const sc_log *log)
{
    const sc_config *c = k->config;
    case_voice voice = {log, c};
    const sc_log named = {say_for_case, &voice};
    return sc_folds_make(a->facts.labels, a->facts.count, a->facts.class_names, c->n_splits,
                         c->random_state, &named, &k->folds);
}

static sc_status build_case(app *a, int index, const sc_log *log)
{
    app_case *k = &a->cases[index];
    const sc_config *c = k->config;
    k->classes = a->facts.classes;
    k->n_splits = c->n_splits;
    k->folds_used = c->use_cv ? c->n_splits : 1;
    k->bf16 = c->use_amp && a->bf16;
    k->dir = a->options.config_file ? sc_path_join(a->options.output_dir, c->name)
                                    : sc_strdup(a->options.output_dir);
    if (!k->dir)
        return SC_ENOMEM;
    SC_TRY(make_folds(a, k, log));
    if (a->options.overfit > 0) {
        k->overfit = sc_alloc((size_t)k->folds_used, sizeof *k->overfit);
        if (!k->overfit)
            return SC_ENOMEM;
        for (int f = 0; f < k->folds_used; f++)
            SC_TRY(make_overfit(a, k, f, a->options.overfit));
    }
    SC_TRY(sc_config_class_texts(c, a->facts.class_names, a->facts.classes, log, &k->texts));
    return make_tokens(k, log);
}

static sc_status list_jobs(app *a)
{
    for (int i = 0; i < a->options.configs_count; i++)
        a->job_count += a->cases[i].folds_used;
    a->jobs = sc_alloc((size_t)a->job_count, sizeof *a->jobs);
    if (!a->jobs)
        return SC_ENOMEM;
    for (int i = 0, j = 0; i < a->options.configs_count; i++) {
        a->cases[i].first_job = j;
        a->cases[i].open_jobs = a->cases[i].folds_used;
        for (int f = 1; f <= a->cases[i].folds_used; f++, j++) {
            a->jobs[j].config = i;
            a->jobs[j].fold = f;
            a->jobs[j].dir = sc_format("%s/fold_%d", a->cases[i].dir, f);
            if (a->options.dump_steps > 0)
                a->jobs[j].dump_dir = a->job_count == 1
                                          ? sc_strdup(a->options.dump_dir)
                                          : sc_format("%s/%s/fold_%d", a->options.dump_dir,
                                                      a->options.configs[i].name, f);
            if (!a->jobs[j].dir || (a->options.dump_steps > 0 && !a->jobs[j].dump_dir))
                return SC_ENOMEM;
        }
    }
    return SC_OK;
}

/* The message says already where in which file the config stands. */
static bool has_place(const sc_config *c)
{
    return strncmp(sc_message(), c->source, strlen(c->source)) == 0;
}

sc_status app_build_cases(app *a, const sc_log *log)
{
    for (int i = 0; i < a->options.configs_count; i++) {
        sc_status status = build_case(a, i, log);
        if (status != SC_OK && !has_place(&a->options.configs[i]))
            return sc_fail_prefix(status, "%s: config '%s'", a->options.configs[i].source,
                                  a->options.configs[i].name);
        SC_TRY(status);
    }
    SC_TRY(list_jobs(a));
    if (a->options.resume_from && a->job_count != 1)
        return sc_fail(SC_EUSAGE,
                       "--resume-from is for a run of one job and this one has %d; give one "
                       "config and --use-cv false, or just repeat the earlier command, which "
                       "continues every job",
                       a->job_count);
    return SC_OK;
}

void app_free_cases(app *a)
{
    for (int i = 0; i < a->options.configs_count && a->cases; i++) {
        app_case *k = &a->cases[i];
        free(k->dir);
        if (k->folds)
            sc_folds_free(k->folds, k->n_splits);
        for (int f = 0; f < k->folds_used && k->overfit; f++) {
            free(k->overfit[f].train);
            free(k->overfit[f].val);
        }
        free(k->overfit);
        for (int c = 0; c < k->classes && k->tokens; c++) {
            for (int t = 0; t < k->tokens[c].count && k->tokens[c].ids; t++)
                free(k->tokens[c].ids[t]);
            free((void *)k->tokens[c].ids);
            free((void *)k->tokens[c].lengths);
        }
        free(k->tokens);
        if (k->texts)
            sc_class_texts_free(k->texts, k->classes);
        app_free_weights(k);
        free(k->identity);
        free(k->unknown);
        free(k->config_json);
        if (k->log)
            sc_run_log_close(k->log);
    }
    free(a->cases);
    for (int j = 0; j < a->job_count && a->jobs; j++) {
        free(a->jobs[j].dir);
        free(a->jobs[j].dump_dir);
    }
    free(a->jobs);
    free(a->job_memory);
    for (int s = 0; s < a->set_count; s++) {
        if (a->sets[s].dataset)
            sc_dataset_close(a->sets[s].dataset);
        free(a->sets[s].dir);
    }
    free(a->sets);
}
