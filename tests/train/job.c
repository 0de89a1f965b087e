#include "job.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "thread_comm.h"

/* start, "ab", end; start, "abc", end; ... in the 514-word vocabulary */
static int32_t ids0[] = {512, 64, 321, 513}, ids1[] = {512, 65, 66, 323, 513},
               ids2[] = {512, 70, 326, 513}, ids3[] = {512, 71, 72, 73, 330, 513};
static int32_t *const id_rows0[] = {ids0}, *const id_rows1[] = {ids1, ids3},
                      *const id_rows2[] = {ids2};
static char *const text0[] = {"ab"}, *const text1[] = {"bcd", "ghij"}, *const text2[] = {"fg"};
static const int length0[] = {4}, length1[] = {5, 6}, length2[] = {4};

static const sc_train_text texts[FAKE_CLASSES] = {
    {text0, id_rows0, length0, 1},
    {text1, id_rows1, length1, 2},
    {text2, id_rows2, length2, 1},
};

static void quiet(void *ctx, sc_log_level level, const char *line)
{
    (void)ctx;
    (void)level;
    if (getenv("SC_TEST_VERBOSE"))
        fprintf(stderr, "%s\n", line);
}
static const sc_log quiet_log = {quiet, NULL};

void job_init(job *j)
{
    memset(j, 0, sizeof *j);
    fake_data_init(&j->data, 21, 32, 35);
    fake_fold(&j->data, 1, 3, &j->fold);
    const char *tmp = getenv("TMPDIR");
    snprintf(j->dir, sizeof j->dir, "%s/sc_train_XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(j->dir))
        abort();
    j->backend = sc_backend_ref();
    j->precision = SC_FP64;
    j->o = (sc_train_options){
        .dir = j->dir,
        .fold = 2,
        .identity = "{\"batch_size\": 5, \"learning_rate\": 0.003}",
        .config_json = "{\"batch_size\": 5, \"learning_rate\": 0.003, \"name\": null}",
        .dataset = &j->data,
        .split = &j->fold,
        .class_texts = texts,
        .image_encoder = "resnet-tiny",
        .text_encoder = "clip:tiny",
        .embed_dim = 24,
        .img_size = 32,
        .vocabulary = 514,
        .context = 77,
        .temperature = 0.07,
        .sync_bn = true,
        .batch_size = 5,
        .epochs = 2,
        .learning_rate = 0.003,
        .weight_decay = 0.01,
        .random_state = 42,
        .augment = true,
        .weight_smooth = 1,
        .weighted_loss = true,
        .loss = {.superclip = true, .class_weight = 1, .contrastive_weight = 1},
        .save_best = true,
        .best_metric = "val_mAP",
        .patience = -1,
        .monitor = "val_loss",
        .checkpoint_interval_s = 1e9,
        .log = &quiet_log,
    };
}

void job_free(job *j)
{
    sc_remove_tree(j->dir);
    fake_fold_free(&j->fold);
    fake_data_free(&j->data);
}

static void count_batch(void *ctx, const sc_batch_progress *p)
{
    if (!p->validating)
        ((job *)ctx)->steps++;
}

static bool should_stop(void *ctx)
{
    const job *j = ctx;
    return j->stop_at > 0 && j->steps + 1 >= j->stop_at;
}

static sc_status train(const job *j, const sc_comm *comm, sc_train_result *out)
{
    job own = *j; /* counts for itself */
    own.steps = 0;
    const sc_train_events events = {.ctx = &own, .batch = count_batch, .stop = should_stop};
    const sc_device_options options = {1, j->precision, &quiet_log};
    sc_device *device;
    SC_TRY(j->backend->open(&options, &device));
    sc_status status = sc_train_job(&j->o, device, comm, &events, out);
    j->backend->close(device);
    return status;
}

sc_status job_run(job *j, sc_train_result *out)
{
    sc_comm *one = sc_comm_single();
    *out = (sc_train_result){0};
    if (!one)
        return SC_ENOMEM;
    sc_status status = train(j, one, out);
    one->free(one);
    return status;
}

typedef struct rank_job {
    const job *j;
    sc_train_result result;
    char message[512];
} rank_job;

static sc_status train_rank(const sc_comm *comm, void *arg)
{
    rank_job *r = arg;
    sc_status status = train(r->j, comm, &r->result);
    snprintf(r->message, sizeof r->message, "%s", status == SC_OK ? "" : sc_message());
    return status;
}

sc_status job_run_ranks(job *j, int ranks, sc_train_result *out)
{
    rank_job member[16];
    void *arg[16] = {NULL};
    sc_status status[16] = {SC_OK}, first = SC_OK;
    memset(member, 0, sizeof member);
    for (int r = 0; r < ranks; r++) {
        member[r].j = j;
        arg[r] = &member[r];
    }
    run_ranks(ranks, train_rank, arg, status);
    for (int r = 0; r < ranks; r++)
        if (status[r] != SC_OK && first == SC_OK)
            first = sc_fail(status[r], "%s", member[r].message);
    *out = member[0].result;
    for (int r = 1; r < ranks; r++)
        sc_train_result_free(&member[r].result);
    return first;
}

char *job_file(const job *j, const char *name, size_t *n)
{
    char *path = sc_path_join(j->dir, name), *data = NULL;
    if (!sc_file_exists(path) || sc_read_file(path, (size_t)1 << 30, &data, n) != SC_OK)
        data = NULL;
    free(path);
    return data;
}

void job_remove(const job *j, const char *name)
{
    char *path = sc_path_join(j->dir, name);
    (void)unlink(path);
    free(path);
}
