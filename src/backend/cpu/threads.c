/* How many threads, where they may run, and how long they wait for each other. */
#include "cpu.h"

#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

static int affinity_count(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : CPU_SETSIZE;
}

/* A launcher may have bound this process to fewer processors than it is to have threads; spinning
 * threads that share one are several times slower than one thread. Asks for all processors (the
 * system grants those of the job's cpuset), then lowers the count to what was granted. */
int cpu_fit_threads(int wanted, const sc_log *log)
{
    int have = affinity_count();
    if (have >= wanted)
        return wanted;
    cpu_set_t all;
    CPU_ZERO(&all);
    for (size_t i = 0; i < CPU_SETSIZE; i++)
        CPU_SET(i, &all);
    (void)sched_setaffinity(0, sizeof all, &all);
    int now = affinity_count();
    if (now >= wanted) {
        sc_info(log, "cpu: bound to %d processor%s but asked for %d threads: binding lifted (%d)",
                have, have == 1 ? "" : "s", wanted, now);
        return wanted;
    }
    sc_warn(log, "cpu: %d threads asked for, %d processor%s allowed: using %d", wanted, now,
            now == 1 ? "" : "s", now);
    return now;
}

/* How long a waiting thread spins: some 100 us. A step has hundreds of loops of that length, and to
 * wake a sleeper takes half of it; on a busy machine a longer spin holds up the thread waited for.
 */
#define SPINS "5000"

void sc_backend_cpu_wait_briefly(char **argv)
{
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY") ||
        setenv("GOMP_SPINCOUNT", SPINS, 1) != 0)
        return;
    char path[4096]; /* by its own name, as ps and pkill show it */
    const ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n > 0) {
        path[n] = '\0';
        (void)execv(path, argv);
    }
    (void)unsetenv("GOMP_SPINCOUNT"); /* as the program was started, then */
}
static bool waiting_is_settled(void)
{
    return getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY");
}

/* Left to itself GNU's OpenMP lets a thread that waits for its team spin for milliseconds, unless
 * the process has more OpenMP threads than processors; then for microseconds. Compute threads on
 * every processor share them with the row loader, and on a busy machine with others: a spinning
 * thread holds up the one it waits for (a step took 2 to 4 times as long). So when the team fills
 * the machine, a second team of two is opened and sleeps until the device closes: the count is
 * above the processors.
 */
struct cpu_sleepers {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int team;
    bool leave;
};

static void *sleep_as_team(void *arg)
{
    cpu_sleepers *s = arg;
#pragma omp parallel num_threads(2)
    {
#pragma omp atomic
        s->team++;
    }
    pthread_mutex_lock(&s->lock);
    while (!s->leave)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

cpu_sleepers *cpu_sleepers_start(int threads)
{
    if (threads < 2 || threads < omp_get_num_procs() || waiting_is_settled())
        return NULL;
    cpu_sleepers *s = sc_alloc(1, sizeof *s);
    if (!s)
        return NULL; /* slower on a busy machine, nothing else */
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    if (pthread_create(&s->thread, NULL, sleep_as_team, s) != 0) {
        free(s);
        return NULL;
    }
    return s;
}
void cpu_sleepers_stop(cpu_sleepers *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->leave = true;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
    free(s);
}
