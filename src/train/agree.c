/* The step boundary: one small reduction in which the ranks of a group tell each other "I failed"
 * and "I was asked to stop", so that an early return of one cannot leave the others in a
 * collective.
 */
#include <string.h>

#include "trainer.h"

sc_status sc_trainer_agree(sc_trainer *t, sc_status mine, bool *stop)
{
    bool want_stop = stop && t->events && t->events->stop && t->events->stop(t->events->ctx);
    if (stop)
        *stop = want_stop;
    if (mine == SC_OK && t->writing != SC_OK)
        mine = sc_fail(t->writing, "%s", t->writing_message);
    if (t->comm->size == 1 || mine == SC_ECOMM)
        return mine;

    /* [0] the lowest failing rank, counted down from size; [1] someone wants to stop */
    int32_t facts[2] = {mine == SC_OK ? 0 : t->comm->size - t->comm->rank, want_stop};
    SC_TRY(t->comm->all_reduce(t->comm, facts, 2, SC_I32, SC_MAX));
    if (stop)
        *stop = facts[1] != 0;
    if (facts[0] == 0)
        return SC_OK;

    struct {
        int32_t status;
        char message[508];
    } failure = {(int32_t)mine, ""};
    int failing = t->comm->size - facts[0];
    if (failing == t->comm->rank)
        snprintf(failure.message, sizeof failure.message, "%s", sc_message());
    SC_TRY(t->comm->broadcast(t->comm, &failure, sizeof failure, failing));
    if (failing == t->comm->rank)
        return mine;
    return sc_fail((sc_status)failure.status, "%s", failure.message);
}

sc_status sc_trainer_inside(const sc_trainer *t, sc_status status)
{
    if (status == SC_OK || status == SC_ENUMERIC || status == SC_ECOMM || t->comm->size == 1)
        return status;
    return sc_fail_prefix(SC_ECOMM, "fold %d: rank %d of the group cannot go on within a step",
                          t->o->fold, t->comm->rank);
}
