/* One verdict for all ranks, so that nobody goes on alone into a collective. */
#include <stdlib.h>
#include <string.h>

#include "app.h"

sc_status app_agree(const sc_world *w, const sc_comm *c, sc_status mine)
{
    int32_t code = mine == SC_OK ? 0 : 1, failed = code, first = mine == SC_OK ? c->size : c->rank;
    char place[64] = "";
    if (mine != SC_OK && c->rank != 0)
        snprintf(place, sizeof place, "rank %d on %.40s: ", w->comm->rank, w->host);
    SC_TRY(c->all_reduce(c, &failed, 1, SC_I32, SC_SUM));
    if (failed == 0)
        return SC_OK;
    SC_TRY(c->all_reduce(c, &first, 1, SC_I32, SC_MIN));
    char message[2048];
    snprintf(message, sizeof message, "%s%s", failed == c->size ? "" : place, sc_message());
    code = (int32_t)mine;
    SC_TRY(c->broadcast(c, &code, sizeof code, first));
    SC_TRY(c->broadcast(c, message, sizeof message, first));
    return sc_fail((sc_status)code, "%s", message);
}

sc_status app_share_bytes(const sc_comm *c, char **data, size_t *n)
{
    int64_t bytes = c->rank == 0 ? (int64_t)*n : 0;
    SC_TRY(c->broadcast(c, &bytes, sizeof bytes, 0));
    char *copy = c->rank == 0 ? *data : malloc((size_t)bytes + 1);
    bool any = false;
    SC_TRY(sc_comm_any(c, !copy, &any));
    sc_status status = SC_OK;
    if (any)
        status = sc_fail(SC_ENOMEM, "no memory for %lld bytes from rank 0", (long long)bytes);
    else
        status = c->broadcast(c, copy, (size_t)bytes, 0);
    if (c->rank == 0)
        return status;
    if (status != SC_OK) {
        free(copy);
        return status;
    }
    copy[bytes] = '\0';
    *data = copy;
    *n = (size_t)bytes;
    return SC_OK;
}

sc_status app_share(app *a, void (*write)(app *, sc_text *), sc_status (*read)(app *, const char *))
{
    const sc_comm *c = a->world->comm;
    if (c->size == 1)
        return SC_OK;
    sc_text t;
    sc_text_init(&t);
    if (c->rank == 0)
        write(a, &t);
    char *bytes = t.data;
    size_t n = t.len;
    sc_status status = app_agree(a->world, c, sc_text_status(&t));
    if (status == SC_OK)
        status = app_share_bytes(c, &bytes, &n);
    if (status == SC_OK)
        status = app_agree(a->world, c, c->rank == 0 ? SC_OK : read(a, bytes));
    if (c->rank != 0)
        free(bytes);
    sc_text_free(&t);
    return status;
}
