/* One job on the thread that calls, and what its trainer says meanwhile. */
#ifndef SC_APP_JOB_H
#define SC_APP_JOB_H

#include "messages.h"

/* Where a job's letters for rank 0 go and where the wish to stop comes from. Called on the thread
 * that trains. */
typedef struct job_desk {
    void *ctx;
    void (*tell)(void *ctx, mail_tag tag, const void *letter, size_t n);
    bool (*stop)(void *ctx); /* asked at every step */
    sc_status (*device)(void *ctx, bool bf16, sc_device **out);
} job_desk;
void job_tell_line(const job_desk *desk, int job, sc_log_level level, const char *line);

typedef struct job_place {
    app *app; /* only read */
    const job_desk *desk;
    const sc_comm *group;
    bool asks;      /* sends MAIL_ASK when the job is about to end */
    int neighbours; /* jobs that share this rank's loader threads, this one included */
} job_place;

enum { JOB_MESSAGE_BYTES = 2048 };
typedef struct job_outcome {
    result_mail mail;
    char message[JOB_MESSAGE_BYTES]; /* "" when it ended well */
    bool asked;                      /* MAIL_ASK was sent */
} job_outcome;

/* Collective over place->group, whose rank 0 speaks for it. SC_OK: what came of the job is in *out;
 * else the group is broken. */
sc_status job_run(const job_place *place, int job, job_outcome *out);

#endif
