/* Private to app: one run of sc_mpi, as every file of this room sees it.
 *
 * The order of a run (sc_mpi.c): open the world, read the options, look at the data and judge
 * everything that can be judged (nothing is written up to here), lock the output folder, pack what
 * is not packed, plan, split the ranks into groups, write config.json and folds_info.json (with
 * --restart, remove what an earlier run left), train, close. Rank 0 alone talks to the user and
 * writes files outside fold_k; the other ranks send it mail.
 */
#ifndef SC_APP_H
#define SC_APP_H

#include <signal.h>

#include "superclip/absent.h"
#include "superclip/backend.h"
#include "superclip/comm.h"
#include "superclip/config.h"
#include "superclip/data.h"
#include "superclip/jobs.h"
#include "superclip/report.h"
#include "superclip/text.h"
#include "superclip/train.h"
#include "superclip/weights.h"

enum { EXIT_USAGE = 1, EXIT_SOME_FAILED = 2, EXIT_RESUMABLE = 42 };

/* What the data holds, known before anything is packed. Pointers belong to `list` or to a set. */
typedef struct app_facts {
    int64_t count;
    int classes;
    const char *const *class_names;
    const int32_t *labels;
} app_facts;

/* One packed image size. */
typedef struct app_set {
    int img_size;
    char *dir;
    bool cached; /* packed by us into the cache, may be packed again when damaged */
    sc_dataset *dataset;
} app_set;

/* Files that a config's weights and vocabulary come from; path NULL: there is none. */
typedef struct app_weights {
    sc_found image, text, vocabulary;
} app_weights;

/* One config of the run, with everything derived from it and the data. */
typedef struct app_case {
    const sc_config *config;
    char *dir; /* <output>/<name> or <output> */
    int set;   /* its image size, index into app.sets */
    bool bf16; /* wants bf16 and every rank has it */
    app_weights weights;
    int n_splits, folds_used;
    sc_fold *folds;        /* [n_splits] */
    sc_fold *overfit;      /* [folds_used] with --overfit, else NULL */
    sc_class_text *texts;  /* [classes] */
    sc_train_text *tokens; /* [classes] */
    int classes, vocabulary, context;
    char *identity, *unknown, *config_json; /* unknown: see sc_train_options */
    int first_job;                          /* its jobs stand together, in fold order */
    int open_jobs;                          /* rank 0: not ended yet */
    int failed_jobs;
    sc_run_log *log; /* rank 0, NULL until jobs start */
} app_case;

typedef enum app_job_state {
    JOB_WAITING,
    JOB_RUNNING,
    JOB_DONE,
    JOB_FAILED,
    JOB_STOPPED
} app_job_state;
typedef struct app_job {
    int config, fold;      /* fold from 1 */
    char *dir, *dump_dir;  /* dump_dir: NULL without --dump-steps */
    app_job_state state;   /* true on rank 0 only */
    bool done_before;      /* finished in an earlier run; true on every rank */
    sc_fold_result result; /* of a done job, rank 0 */
    double fraction;       /* of its epochs, rank 0 */
} app_job;

typedef struct app app;
/* An sc_log whose lines go to the console and to one config's run log. */
typedef struct app_voice {
    app *app;
    int config, fold; /* config -1: all; fold 0: no prefix */
} app_voice;

struct app {
    sc_world *world;
    sc_options options;
    sc_backend const *backend;
    sc_device *devices[2]; /* fp32 (fp64 for ref), bf16; opened when first needed */
    bool absent;     /* --plan or --check for a GPU that is not here */
    size_t gpu_room; /* bytes free for one rank on the fullest GPU when the run began, 0: no GPU */
    sc_device *keeper;     /* of the data sets on the GPU; NULL: there are none */
    sc_resident *resident; /* the same */
    int at_once;           /* jobs that a group of one rank trains at once; see at_once.c */
    bool bf16;             /* every rank's processor has it */
    int threads;           /* per rank */
    int cores;             /* of this node */

    char *source_dir;     /* image folder, NULL when data_dir is packed */
    sc_source_list *list; /* of source_dir */
    app_facts facts;
    app_set *sets;
    int set_count;
    app_case *cases; /* [options.configs_count] */
    app_job *jobs;
    int job_count;
    size_t *job_memory; /* [jobs] bytes a rank, 0 unknown; rank 0, on GPUs all */

    sc_plan plan;       /* rank 0 */
    int *group_of_rank; /* [ranks], -1: idle */
    sc_comm *group;     /* NULL: idle */
    sc_mail *mail;
    bool stop; /* somebody asked for the end; see signals.h */

    /* rank 0 */
    struct app_lock *lock;
    sc_console *console;
    app_voice voice; /* of the whole run */
    sc_text held;    /* lines said before `talking` */
    bool talking;
    sc_log log;     /* writes to voice; on the other ranks it drops lines */
    char **created; /* folders this run made and may remove again while they are empty */
    int created_count;
    double started;
    struct coordinator *coordinator;
};

static inline bool app_is_root(const app *a)
{
    return a->world->comm->rank == 0;
}

/* ---- agree.c: the same verdict on every rank -------------------------------------------------
 * Collective. Everybody gets the status and message of the first failing rank; its rank and host
 * are named unless it is rank 0 or all failed. */
sc_status app_agree(const sc_world *w, const sc_comm *c, sc_status mine);
/* SC_TRY of a step that every rank takes, or only some. */
#define APP_AGREE(a, expr) SC_TRY(app_agree((a)->world, (a)->world->comm, (expr)))
/* Collective: rank 0's n bytes; the others get a heap copy with a NUL behind it. */
sc_status app_share_bytes(const sc_comm *c, char **data, size_t *n);
/* Collective: what `write` says on rank 0 is told to `read` on all others; all agree on the
 * outcome. */
sc_status app_share(app *a, void (*write)(app *, sc_text *),
                    sc_status (*read)(app *, const char *));

/* ---- voice.c: what the user reads ---------------------------------------------------------------
 */
void app_voice_write(void *ctx, sc_log_level level, const char *line);
/* Rank 0's line for config/fold; config -1: everywhere. */
void app_say(app *a, int config, int fold, sc_log_level level, const char *line);
sc_log app_log_of(app_voice *v);
void app_begin_talking(app *a);                /* prints what waited */
void app_repeat_held(app *a, sc_run_log *log); /* the same lines for a log opened later */
/* The one line of a failed run, on standard error. */
void app_print_error(const app *a, const char *message);

/* ---- machine.c
 * ------------------------------------------------------------------------------------ */
/* Chooses backend and opens the device that tells the precision. Collective. */
sc_status app_open_backend(app *a);
sc_status app_device(app *a, bool bf16, sc_device **out);
/* Another one in the same place, which the caller closes, with its share of the rank's threads when
 * it is one of `neighbours`. For several threads at once. */
sc_status app_open_device(const app *a, bool bf16, int neighbours, const sc_log *log,
                          sc_device **out);
void app_close_devices(app *a);
/* Sustained operations per second of one rank, a guess good enough to compare plans. */
double app_flops(const app *a, bool bf16, int threads);

/* ---- checks.c: judged before anything is written (rank 0)
 * ------------------------------------------ */
sc_status app_check_configs(app *a);
/* The folder, or the nearest one above it that exists, can be written. */
sc_status app_check_folder(const char *path, const char *flag);
/* Collective: a file that rank 0 writes into `path` must be seen by every rank. */
sc_status app_check_shared(app *a, const char *path, const char *flag);
sc_status app_check_space(app *a);
/* mkdir -p that remembers what it made, so that a run that trains nothing leaves nothing. */
sc_status app_make_dirs(app *a, const char *path);
void app_remove_created(app *a); /* as far as they are empty */

/* ---- pretrained.c: files of published weights and vocabularies
 * --------------------------------------- */
/* Rank 0: looks for all that the configs want; with --plan what is missing is a warning. */
sc_status app_find_weights(app *a);
sc_status app_share_weights(app *a); /* collective: rank 0's paths for all */
void app_free_weights(app_case *k);
/* weights_used of config.json. */
void app_write_weights(const app *a, const app_case *k, sc_json_writer *w);

/* ---- source.c, packing.c, cases.c: data and configs become jobs
 * ------------------------------------- */
sc_status app_list_sizes(app *a); /* sets and cases[].set from the configs, every rank */
sc_pack_options app_pack_options(const app *a, int set);
void app_take_facts(app *a); /* from the first open set, else from the list */
/* Rank 0: opens a packed set or scans a folder. */
sc_status app_look_at_data(app *a);
/* Collective: image list, sizes and cache places from rank 0 to all. */
sc_status app_share_source(app *a);
/* Collective: packs every size that is missing, opens the sets. */
sc_status app_open_sets(app *a);
/* Folds, texts, tokens and jobs of every config; warnings go to log. Every rank calls it. */
sc_status app_build_cases(app *a, const sc_log *log);
void app_free_cases(app *a);
/* Rank 0: --init-from, --resume-from or published weights, judged before anything is written. */
sc_status app_check_start(app *a);
/* Identities need the data's hash, so this follows app_open_sets. */
sc_status app_identify_cases(app *a);
/* Rank 0: asks train which jobs are finished; collective: tells everybody. */
sc_status app_find_finished(app *a);
void app_train_options(app *a, int job, const sc_log *log, sc_train_options *o);

/* ---- outputs.c (rank 0)
 * ------------------------------------------------------------------------------ */
sc_status
app_write_run_files(app *a); /* config.json, folds_info.json, fold_k/, stale files removed */
sc_status app_write_summary(app *a, int config);

/* ---- planning.c, plan_print.c
 * --------------------------------------------------------------------------- */
sc_status app_make_plan(app *a, int ranks, int ranks_per_node, sc_plan *best, sc_plan *second);
/* Fills job_memory for groups of the planned sizes. */
sc_status app_estimate_memory(app *a, const sc_plan *plan);
/* Two configs' programs are alike in size. */
bool app_same_shapes(const app *a, int x, int y);
/* Bytes of one of a config's jobs on each rank of a group; 0 as long as the data is not packed. */
sc_status app_job_memory(app *a, int config, int ranks, size_t *bytes);
sc_status app_print_plan(app *a);

/* ---- at_once.c: several jobs on one GPU
 * --------------------------------------------------------------------- */
/* --jobs-per-gpu against the backend and the other options. */
sc_status app_judge_at_once(const app *a);
/* Rank 0: sets at_once, from the memory that the jobs need when the option is auto. */
sc_status app_choose_at_once(app *a);

/* ---- gpu_memory.c
 * ------------------------------------------------------------------------------------- */
typedef struct app_gpu_memory { /* bytes of a rank, 0: no GPU, or not known yet */
    double jobs;                /* of the jobs at once, at most */
    double room;                /* for data beside them */
    double data;                /* the largest data set */
} app_gpu_memory;
void app_amount(double bytes, char out[32]);   /* "12.3 MB" */
double app_gpu_usable(const app *a);           /* by jobs and data of a rank */
sc_status app_judge_data_on_gpu(const app *a); /* the option against the backend */
/* Rank 0, after app_estimate_memory: SC_EUSAGE names the job or option, both figures and what to
 * lower. */
sc_status app_judge_gpu_memory(app *a, const sc_plan *plan, app_gpu_memory *out);
void app_tell_gpu_memory(const app *a, const app_gpu_memory *m,
                         sc_text *t); /* a line, or nothing */
/* Rank 0, for --check: plans, judges and prints the line. */
sc_status app_check_gpu_memory(app *a);
/* Collective, with the plan made: judges, and opens what keeps data sets. */
sc_status app_settle_gpu_memory(app *a);
void app_release_gpu_memory(app *a);
/* Right before the job's programs are compiled. */
sc_status app_check_room(const app *a, int job, sc_device *device);

/* ---- versions.c
 * --------------------------------------------------------------------------------------- */
void app_print_version(FILE *f);
const char *app_libraries(void); /* "Open MPI 4.1.4, HDF5 1.10.8, ..." */

#endif
