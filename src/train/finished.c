/* Is a job done already? */
#include <stdlib.h>
#include <string.h>

#include "trainer.h"

/* True: this checkpoint ends the job as it is now configured. */
static bool is_finished(const sc_train_options *o, const sc_train_state *s)
{
    return s->finished && (s->stopped_early || s->epoch >= o->epochs);
}

sc_status sc_train_finished(const sc_train_options *o, bool *finished, sc_train_result *out)
{
    *finished = false;
    *out = (sc_train_result){0};
    if (o->restart || o->resume_from)
        return SC_OK;
    char *path = sc_path_join(o->dir, SC_CKPT_LATEST);
    if (!path)
        return SC_ENOMEM;
    sc_pth *file = NULL;
    sc_train_state state = {0};
    sc_status status = SC_OK;
    if (sc_file_exists(path)) {
        status = sc_ckpt_read(path, o, &file, &state);
        if (status == SC_EFORMAT)
            status = SC_OK; /* the job itself tells of the damage and looks for the fallback */
    }
    if (status == SC_OK && file && is_finished(o, &state)) {
        *finished = true;
        out->best = state.best;
        out->stopped_early = state.stopped_early;
        sc_fold_result_of(&state.history, &state.best, &out->fold);
        out->fold.fold = o->fold;
        out->history = state.history;
        state.history = (sc_history){0};
    }
    sc_train_state_free(&state);
    sc_pth_close(file);
    free(path);
    return status;
}
