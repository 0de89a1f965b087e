/* Mail of a training run. Plain structs: all processes are the same program. */
#ifndef SC_APP_MESSAGES_H
#define SC_APP_MESSAGES_H

#include "app.h"

typedef enum mail_tag {
    MAIL_ASK = 10, /* leader -> 0: nothing; a group is free, or soon will be */
    MAIL_JOB,      /* 0 -> leader, leader -> its group: int32 job */
    MAIL_BACK,     /* leader -> 0: int32 job that it got and did not begin before the stop */
    MAIL_LINE,     /* leader -> 0: line_mail and the text behind it */
    MAIL_PROGRESS, /* leader -> 0: progress_mail */
    MAIL_RESULT,   /* leader -> 0: result_mail and the message behind it */
    MAIL_STOP,     /* to 0: this rank was told to stop; 0 -> leaders: stop */
    MAIL_END       /* 0 -> all: nothing is left to do */
} mail_tag;

typedef struct line_mail {
    int32_t job, level;
} line_mail;
typedef struct progress_mail {
    int32_t job, epochs;
    sc_progress_state state;
} progress_mail;
typedef struct result_mail {
    int32_t job, status; /* sc_status */
    sc_fold_result result;
} result_mail;

#endif
