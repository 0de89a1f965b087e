/* config: one option table drives JSON keys, flags, --help, the resolved dump and its documentation.
 * Class texts come from here too, as they are part of a config.
 */
#ifndef SUPERCLIP_CONFIG_H
#define SUPERCLIP_CONFIG_H

#include "superclip/base.h"
#include "superclip/json.h"

/* The texts of one class; list: several texts whose features are averaged. */
typedef struct sc_class_text { char *class_name; char **texts; int count; } sc_class_text;

/* One resolved training configuration. Strings are owned; NULL where the default is null. */
typedef struct sc_config {
    char *name; /* never NULL after resolving; unique among the configs of a run */
    char *image_encoder, *text_encoder;
    bool pretrained;
    char *image_weights, *text_weights, *tokenizer;
    int embed_dim, batch_size, epochs;
    double learning_rate, weight_decay, temperature;
    int img_size;
    char *augmentation; /* "none", "minimal", "standard" */
    int num_workers;
    bool use_amp;
    int gpu_id;
    bool save_best;
    char *best_metric; /* val_loss, val_acc, val_mAP */
    bool use_cv;
    int n_splits;
    uint32_t random_state;
    int early_stopping_patience; /* -1: null */
    double early_stopping_min_delta;
    char *early_stopping_monitor;
    char *class_texts_file;
    sc_class_text *class_texts; /* from class_texts_dict or the file, in given order */
    int class_texts_count;
    char *text_template;
    bool use_weighted_sampling;
    char *weight_method; /* inverse_freq, balanced, inverse_sqrt */
    double weight_smooth_factor;
    bool use_superclip_loss;
    double class_loss_weight, contrastive_loss_weight;
    char *class_weights; /* train, none */
    bool use_focal_loss;
    double focal_alpha, focal_gamma;
    char *contrastive_targets; /* diagonal, multi_positive */
    bool freeze_image_encoder, freeze_text_encoder, freeze_bn;
    bool sync_bn;
    double checkpoint_interval_s;
    char *source; /* "FILE:LINE" of the object, or "command line"; for messages */
} sc_config;

typedef enum sc_action {
    SC_ACTION_TRAIN, SC_ACTION_PLAN, SC_ACTION_CHECK, SC_ACTION_HELP, SC_ACTION_VERSION
} sc_action;

/* What a command line asks for. */
typedef struct sc_options {
    sc_action action;
    char *config_file; /* NULL: flags only */
    char *data_dir, *output_dir, *log_dir, *cache_dir; /* cache_dir NULL: <output_dir>/.cache */
    char *backend;     /* auto, cpu, cuda, ref */
    char *gpus;        /* "0,2,5" or NULL */
    char *init_from, *resume_from;
    char *progress;    /* auto, live, plain */
    char *jobs_per_gpu; /* auto, or "1" to "8" */
    char *data_on_gpu; /* auto, on, off */
    int group_size;    /* 0: the planner decides */
    int plan_ranks;    /* 0: the ranks there are */
    char *plan_gpu;    /* auto, or a GPU of the table: what --plan and --check reckon with */
    int overfit;       /* 0: off */
    int dump_steps;    /* 0: off */
    char *dump_dir;
    bool restart, multi_config, profile, no_graph;
    sc_config *configs;
    int configs_count;
} sc_options;

/* Reads argv and the config file, resolves names, checks every range and every combination. Warnings
 * go to log. On failure nothing needs freeing. File existence beyond the config and class texts is
 * not looked at here. */
sc_status sc_options_parse(int argc, char **argv, const sc_log *log, sc_options *out);
void sc_options_free(sc_options *o);
/* SC_ACTION_HELP or SC_ACTION_VERSION when the line asks for it, in any spelling and whatever else is
 * on it; else SC_ACTION_TRAIN. sc_options_parse decides by it too, and then reads nothing else: such
 * options have no configs. */
sc_action sc_options_only_tell(int argc, char **argv);
/* --help, grouped, from the table. Caller frees. */
char *sc_options_help(const char *program);
/* The table as Markdown, for docs/options.md; a test keeps the file equal to it. */
char *sc_options_markdown(void);

/* Writes every key of the config into the open object of w, in table order. */
void sc_config_write(const sc_config *c, sc_json_writer *w);
/* The keys that change the training (not epochs, use_cv, save_best, num_workers, gpu_id, name,
 * checkpoint_interval_s), as one compact JSON object: what a checkpoint is bound to. Class texts are in
 * it by content, wherever they came from; options of the run (overfit, init_from) are the caller's to
 * add. Caller frees; NULL on failure. */
char *sc_config_identity(const sc_config *c);

/* Texts of every class of the data, in class order: given texts, else the template. A class without
 * given texts: warning; a given class that the data lacks: error. */
sc_status sc_config_class_texts(const sc_config *c, const char *const *class_names, int classes,
                                const sc_log *log, sc_class_text **out /* [classes] */);
void sc_class_texts_free(sc_class_text *t, int count);

#endif
