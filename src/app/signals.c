#include "signals.h"

#include <signal.h>
#include <stddef.h>

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

bool signals_stop_asked(void)
{
    return stop_asked != 0;
}
