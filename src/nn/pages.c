/* Inputs through pinned memory: what the host hands over is copied at once, the device fetches it
 * when it gets there, and a page is filled again when its copies are done.
 */
#include "program.h"

#include <string.h>

static sc_status open_page(sc_program *p, program_pages *s)
{
    const sc_queue *q = p->device->backend->queue;
    program_page *page = &s->page[s->at];
    if (page->memory == NULL) {
        void *memory = NULL;
        SC_TRY(q->mark_new(p->device, &page->mark));
        SC_TRY(q->pin(p->device, s->bytes, &memory));
        page->memory = memory;
    }
    SC_TRY(q->wait(p->device, page->mark));
    s->who = p;
    s->serial++;
    return SC_OK;
}

static sc_status close_page(sc_device *d, program_pages *s)
{
    if (s->who == NULL)
        return SC_OK;
    SC_TRY(d->backend->queue->mark(d, s->page[s->at].mark));
    s->who = NULL;
    s->at ^= 1;
    return SC_OK;
}

sc_status nn_page_turn(sc_program *p)
{
    return close_page(p->device, &p->shared->pages);
}

sc_status nn_page_put(sc_program *p, int value, const void *host)
{
    program_pages *s = &p->shared->pages;
    program_value *v = &p->values[value];
    if (s->who != p || v->written == s->serial) { /* another's page, or the same input twice */
        SC_TRY(close_page(p->device, s));
        SC_TRY(open_page(p, s));
    }
    char *at = s->page[s->at].memory + v->page_at;
    if (v->bytes > 0)
        memcpy(at, host, v->bytes);
    v->written = s->serial;
    return p->device->backend->queue->send(p->device, &v->desc, at, v->data);
}

void nn_pages_free(sc_device *d, program_pages *s)
{
    for (int i = 0; i < 2; i++) {
        if (s->page[i].memory == NULL && s->page[i].mark == NULL)
            continue;
        d->backend->queue->mark_free(d, s->page[i].mark);
        d->backend->queue->unpin(d, s->page[i].memory);
    }
}
