/* How many cores there are to compute on. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "superclip/base.h"

/* The processors the system would grant: a launcher's binding is lifted for a moment to see behind
 * it (mpirun binds each of two ranks to one core whatever the node has). What the user chose with
 * taskset, without a launcher, stands. */
static bool allowed_processors(bool launched, cpu_set_t *set)
{
    cpu_set_t own, all;
    if (sched_getaffinity(0, sizeof own, &own) != 0)
        return false;
    *set = own;
    if (!launched)
        return true;
    memset(&all, 0xff, sizeof all);
    if (sched_setaffinity(0, sizeof all, &all) == 0) {
        if (sched_getaffinity(0, sizeof *set, set) != 0)
            *set = own;
        (void)sched_setaffinity(0, sizeof own, &own);
    }
    return true;
}

/* The first hyperthread of the core of processor `cpu`; itself when the system does not say. */
static int first_sibling(int cpu)
{
    char path[128];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    FILE *f = fopen(path, "re");
    int first = cpu;
    if (f) {
        if (fscanf(f, "%d", &first) != 1)
            first = cpu;
        fclose(f);
    }
    return first;
}

/* A container's share of processor time, in cores; a large number without a limit. */
static int quota_cores(void)
{
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    long quota = 0, period = 0;
    int cores = 1 << 20;
    if (f) {
        if (fscanf(f, "%ld %ld", &quota, &period) == 2 && quota > 0 && period > 0)
            cores = (int)((quota + period - 1) / period);
        fclose(f);
    }
    return cores;
}

int sc_cores(bool launched)
{
    cpu_set_t set;
    int cores = 0;
    if (allowed_processors(launched, &set)) {
        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
            if (!CPU_ISSET((size_t)cpu, &set))
                continue;
            int first = first_sibling(cpu);
            if (first == cpu || first < 0 || first >= CPU_SETSIZE ||
                !CPU_ISSET((size_t)first, &set))
                cores++;
        }
    } else {
        long n = sysconf(_SC_NPROCESSORS_ONLN);
        cores = n > 0 ? (int)n : 1;
    }
    int quota = quota_cores();
    if (cores > quota)
        cores = quota;
    return cores > 0 ? cores : 1;
}

int sc_threads(int cores, int processes)
{
    const char *told = getenv("OMP_NUM_THREADS");
    if (told && *told) {
        char *end;
        errno = 0;
        long n = strtol(told, &end, 10);
        if (errno == 0 && (*end == '\0' || *end == ',') && n >= 1 && n <= 4096)
            return (int)n;
    }
    return cores / processes > 1 ? cores / processes : 1;
}
