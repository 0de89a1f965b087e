/* Several jobs of one rank at once, each on a thread of its own with a device of its own on the
 * rank's GPU. The threads talk neither to MPI nor to the user: what they say waits here for the
 * main thread, which alone calls these functions. */
#ifndef SC_APP_CREW_H
#define SC_APP_CREW_H

#include "job.h"

typedef struct crew crew;
/* No thread runs yet. neighbours: as in job_place. */
sc_status crew_open(app *a, int most, int neighbours, crew **out);
/* Stops all jobs, which write their checkpoints, and waits for them; letters not taken are lost.
 * NULL is fine. */
void crew_close(crew *c);
bool crew_has_room(const crew *c);
/* Needs room. */
sc_status crew_start(crew *c, int job);
/* Asks all jobs, and those that begin later, to stop at their next step. */
void crew_stop(crew *c);

typedef struct crew_letter {
    struct crew_letter *next;
    struct crew_slot *slot; /* private */
    const job_outcome
        *outcome; /* of a job that has ended: good until the next crew_start; else NULL */
    mail_tag tag;
    size_t n;
    char data[]; /* n bytes and a NUL: a letter for rank 0 */
} crew_letter;
/* The oldest letter, which the caller frees; NULL: there is none. A job's outcome comes last, and
 * its place is free then. */
crew_letter *crew_take(crew *c);
/* Until a letter is there, or so many seconds. */
void crew_wait(crew *c, double seconds);

#endif
