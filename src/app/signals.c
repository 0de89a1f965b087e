#include "signals.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

/* A handler can reach nothing else: the one variable of the process that is not in struct app. */
static volatile sig_atomic_t stop_asked;

static void on_stop(int signal_number)
{
    (void)signal_number;
    stop_asked = 1;
}

void signals_install(void)
{
    struct sigaction stop = {.sa_handler = on_stop, .sa_flags = SA_RESTART};
    sigemptyset(&stop.sa_mask);
    sigaction(SIGUSR1, &stop, NULL);
    /* A reader of our output that went away must not end a training. */
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigemptyset(&ignore.sa_mask);
    sigaction(SIGPIPE, &ignore, NULL);
}

/* Ends as the signal would have: it is raised again and its default action is back. */
static void on_end(int signal_number)
{
    static const char text[] = "\nEnded by a signal; the same command goes on from the newest "
                               "checkpoints (SIGUSR1 writes them first)\n";
    ssize_t ignored = write(STDOUT_FILENO, text, sizeof text - 1);
    (void)ignored;
    raise(signal_number);
}

void signals_announce_end(void)
{
    struct sigaction end = {.sa_handler = on_end, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&end.sa_mask);
    static const int signals[] = {SIGINT, SIGTERM};
    for (int i = 0; i < 2; i++) { /* one that is ignored (nohup, a background job) stays so */
        struct sigaction now;
        if (sigaction(signals[i], NULL, &now) == 0 && now.sa_handler == SIG_DFL)
            sigaction(signals[i], &end, NULL);
    }
}

bool signals_stop_asked(void)
{
    return stop_asked != 0;
}
