/* sc_mpi: trains every (config, fold) pair of a config file over the ranks of an MPI job.
 * Exit: 0 all jobs finished; 1 usage, config or data error, nothing trained; 2 some jobs failed,
 * the others finished; 42 stopped by SIGUSR1, checkpoints written, the same command continues. */
#include <stdlib.h>
#include <string.h>

#include "app.h"
#include "coordinator.h"
#include "lock.h"
#include "signals.h"
#include "worker.h"

static void drop(void *ctx, sc_log_level level, const char *line)
{
    (void)ctx, (void)level, (void)line;
}

/* Rank by the launcher's own word, before MPI starts; 0 when there is none. */
static int launcher_rank(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK",
                                        "SLURM_PROCID"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *v = getenv(names[i]);
        if (v)
            return atoi(v);
    }
    return 0;
}

/* --help and --version need neither MPI nor files. */
static void tell(sc_action what)
{
    if (launcher_rank() != 0)
        return;
    if (what == SC_ACTION_VERSION) {
        app_print_version(stdout);
        return;
    }
    char *text = sc_options_help("sc_mpi");
    fputs(text ? text : "", stdout);
    free(text);
}

/* Rank 0 reads first: a mistake is told once, and nobody else opens the file for nothing. */
static sc_status read_options(app *a, int argc, char **argv)
{
    APP_AGREE(a, app_is_root(a) ? sc_options_parse(argc, argv, &a->log, &a->options) : SC_OK);
    APP_AGREE(a, app_is_root(a) ? SC_OK : sc_options_parse(argc, argv, &a->log, &a->options));
    a->cases = sc_alloc((size_t)a->options.configs_count, sizeof *a->cases);
    APP_AGREE(a, a->cases ? SC_OK : SC_ENOMEM);
    for (int i = 0; i < a->options.configs_count; i++)
        a->cases[i].config = &a->options.configs[i];
    return app_agree(a->world, a->world->comm, app_list_sizes(a));
}

static sc_status judge_folders(app *a)
{
    SC_TRY(app_check_folder(a->options.output_dir, "--output-dir"));
    SC_TRY(app_check_folder(a->options.log_dir, "--log-dir"));
    if (a->options.cache_dir && a->source_dir)
        SC_TRY(app_check_folder(a->options.cache_dir, "--cache-dir"));
    if (a->options.dump_steps > 0)
        SC_TRY(app_check_folder(a->options.dump_dir, "--dump-steps"));
    return SC_OK;
}

static sc_status judge_on_root(app *a)
{
    SC_TRY(app_judge_at_once(a));
    SC_TRY(app_judge_data_on_gpu(a));
    SC_TRY(app_check_configs(a));
    SC_TRY(app_find_weights(a));
    SC_TRY(app_look_at_data(a));
    SC_TRY(app_build_cases(a, &a->log));
    if (a->options.action == SC_ACTION_PLAN) { /* needs neither folders nor room */
        if (app_check_start(a) != SC_OK)
            sc_warn(&a->log, "%s", sc_message());
        return SC_OK;
    }
    SC_TRY(judge_folders(a));
    SC_TRY(app_check_space(a));
    return app_check_start(a);
}

/* Everything that can be known without writing. */
static sc_status judge(app *a)
{
    SC_TRY(app_open_backend(a));
    APP_AGREE(a, app_is_root(a) ? judge_on_root(a) : SC_OK);
    SC_TRY(app_share_source(a));
    SC_TRY(app_share_weights(a));
    if (a->options.action == SC_ACTION_PLAN)
        return SC_OK;
    SC_TRY(app_check_shared(a, a->options.output_dir, "--output-dir"));
    return app_check_shared(a, a->options.log_dir, "--log-dir");
}

/* The ranks of a killed mpirun live about a second longer than it. */
static const double LOCK_WAIT_SECONDS = 5;

static sc_status take_lock(app *a)
{
    SC_TRY(app_make_dirs(a, a->options.output_dir));
    char *path = sc_path_join(a->options.output_dir, ".sc_mpi.lock");
    sc_status status = path ? app_lock_take(path, a->world->host, 0, &a->lock) : SC_ENOMEM;
    if (status == SC_EUSAGE) {
        sc_info(&a->log, "%s is held by another run: waiting up to %.0f s for its end", path,
                LOCK_WAIT_SECONDS);
        status = app_lock_take(path, a->world->host, LOCK_WAIT_SECONDS, &a->lock);
    }
    free(path);
    return status;
}

static sc_status make_other_dirs(app *a)
{
    SC_TRY(app_make_dirs(a, a->options.log_dir));
    if (!a->source_dir)
        return SC_OK;
    char *cache = a->options.cache_dir ? sc_strdup(a->options.cache_dir)
                                       : sc_path_join(a->options.output_dir, ".cache");
    sc_status status = cache ? app_make_dirs(a, cache) : SC_ENOMEM;
    free(cache);
    return status;
}

/* Lock, packed data, identities: from here on the run owns its output folder. Nothing that an
 * earlier run left there is touched yet. */
static sc_status prepare(app *a)
{
    APP_AGREE(a, app_is_root(a) ? take_lock(a) : SC_OK);
    APP_AGREE(a, app_is_root(a) ? make_other_dirs(a) : SC_OK);
    SC_TRY(sc_mail_open(a->world->comm, &a->mail));
    SC_TRY(app_open_sets(a));
    APP_AGREE(a, app_is_root(a) ? SC_OK : app_build_cases(a, &a->log));
    APP_AGREE(a, app_identify_cases(a));
    return app_find_finished(a);
}

/* Rank 0's plan counts: other nodes may have other cores and would plan otherwise. */
static sc_status form_groups(app *a)
{
    const sc_comm *c = a->world->comm;
    sc_plan second;
    memset(&second, 0, sizeof second);
    APP_AGREE(a, app_is_root(a) ? app_choose_at_once(a) : SC_OK);
    APP_AGREE(a, app_is_root(a) ? app_make_plan(a, c->size, a->world->node_size, &a->plan, &second)
                                : SC_OK);
    sc_plan_free(&second);
    int32_t at_once = a->at_once;
    SC_TRY(c->broadcast(c, &at_once, sizeof at_once, 0));
    a->at_once = at_once;
    a->group_of_rank = sc_alloc((size_t)c->size, sizeof *a->group_of_rank);
    APP_AGREE(a, a->group_of_rank ? SC_OK : SC_ENOMEM);
    if (app_is_root(a))
        memcpy(a->group_of_rank, a->plan.group_of_rank, (size_t)c->size * sizeof *a->group_of_rank);
    SC_TRY(c->broadcast(c, a->group_of_rank, (size_t)c->size * sizeof *a->group_of_rank, 0));
    return sc_comm_split(c, a->group_of_rank[c->rank], &a->group);
}

/* Summaries of configs that earlier runs finished, in case they were killed before writing them. */
static sc_status finish_earlier(app *a)
{
    for (int i = 0; i < a->options.configs_count; i++)
        if (a->cases[i].open_jobs == 0)
            SC_TRY(app_write_summary(a, i));
    return SC_OK;
}

static void warn_of_finished(app *a)
{
    int done = 0;
    for (int j = 0; j < a->job_count; j++)
        done += a->jobs[j].done_before;
    if (a->options.dump_steps > 0 && done > 0)
        sc_warn(&a->log,
                "--dump-steps: %d of %d jobs are finished already and write no steps; add "
                "--restart, or give another name or --output-dir",
                done, a->job_count);
}

static sc_status train(app *a, int *exit_code)
{
    SC_TRY(prepare(a));
    warn_of_finished(a);
    SC_TRY(form_groups(a));
    APP_AGREE(a, app_settle_gpu_memory(a));
    APP_AGREE(a, app_is_root(a) ? app_write_run_files(a) : SC_OK);
    APP_AGREE(a, app_is_root(a) ? coordinator_open(a) : SC_OK);
    APP_AGREE(a, app_is_root(a) ? finish_earlier(a) : SC_OK);
    sc_status status = worker_run(a);
    if (status != SC_OK) { /* the others may be anywhere: end them all */
        fprintf(stderr, "sc_mpi: error: rank %d on %s: %s\n", a->world->comm->rank, a->world->host,
                sc_message());
        sc_world_abort(a->world, EXIT_SOME_FAILED);
    }
    int32_t code = app_is_root(a) ? coordinator_verdict(a) : 0;
    SC_TRY(a->world->comm->broadcast(a->world->comm, &code, sizeof code, 0));
    *exit_code = code;
    return SC_OK;
}

static sc_status check(app *a)
{
    APP_AGREE(a, app_is_root(a) ? app_check_gpu_memory(a) : SC_OK);
    if (!app_is_root(a))
        return SC_OK;
    printf(
        "Check passed: %d config%s, %d job%s, %lld images in %d classes; folders can be written\n",
        a->options.configs_count, a->options.configs_count == 1 ? "" : "s", a->job_count,
        a->job_count == 1 ? "" : "s", (long long)a->facts.count, a->facts.classes);
    return SC_OK;
}

static sc_status run(app *a, int argc, char **argv, int *exit_code)
{
    SC_TRY(read_options(a, argc, argv));
    SC_TRY(judge(a));
    app_begin_talking(a);
    if (a->options.action == SC_ACTION_CHECK)
        return check(a);
    if (a->options.action == SC_ACTION_PLAN)
        return app_agree(a->world, a->world->comm, app_is_root(a) ? app_print_plan(a) : SC_OK);
    return train(a, exit_code);
}

static void close_app(app *a)
{
    if (a->mail && sc_mail_close(a->mail) != SC_OK)
        sc_world_abort(a->world, EXIT_SOME_FAILED);
    coordinator_close(a);
    if (a->group)
        a->group->free(a->group);
    sc_plan_free(&a->plan);
    free(a->group_of_rank);
    app_free_cases(a);
    app_release_gpu_memory(a);
    app_close_devices(a);
    sc_source_list_free(a->list);
    free(a->source_dir);
    sc_text_free(&a->held);
    app_lock_release(a->lock);
    app_remove_created(a);
    for (int i = 0; i < a->created_count; i++)
        free(a->created[i]);
    free(a->created);
    sc_options_free(&a->options);
    sc_world_close(a->world);
}

int main(int argc, char **argv)
{
    sc_action told = sc_options_only_tell(argc, argv);
    if (told != SC_ACTION_TRAIN) {
        tell(told);
        return 0;
    }
    sc_backend_cpu_wait_briefly(argv);
    setvbuf(stdout, NULL, _IOLBF, 0); /* lines appear when they are said, also in a file */
    signals_install();
    app a;
    sc_source_list list;
    memset(&a, 0, sizeof a);
    memset(&list, 0, sizeof list);
    sc_text_init(&a.held);
    a.list = &list;
    a.started = sc_now();
    a.voice = (app_voice){&a, -1, 0};
    sc_status opened = sc_world_open(&argc, &argv, &a.world);
    if (opened != SC_OK) {
        if (opened != SC_EUSAGE ||
            launcher_rank() == 0) /* a wrong launch is everybody's: said once */
            app_print_error(&a, sc_message());
        return EXIT_USAGE;
    }
    a.log = app_is_root(&a) ? app_log_of(&a.voice) : (sc_log){drop, NULL};
    int exit_code = 0;
    sc_status status = run(&a, argc, argv, &exit_code);
    if (status == SC_EINTERRUPTED) { /* before the first job; who stopped has said it */
        exit_code = EXIT_RESUMABLE;
    } else if (status != SC_OK) {
        app_print_error(&a, sc_message());
        exit_code = EXIT_USAGE;
        if (status == SC_ECOMM)
            sc_world_abort(a.world, exit_code);
    }
    close_app(&a);
    return exit_code;
}
