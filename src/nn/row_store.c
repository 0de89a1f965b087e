/* Rows of a data set in device memory, and programs that take their inputs from them. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "program.h"

#define PAGE_BYTES ((size_t)16 << 20)

typedef struct store_page {
    char *memory; /* pinned */
    void *mark;   /* behind its copy */
} store_page;

struct sc_row_store {
    sc_device *device;
    char *data;
    int64_t rows;
    size_t row_bytes;
    store_page page[2]; /* while it is filled, on devices with a queue */
    int at;
};

bool sc_row_store_possible(const sc_device *d)
{
    return d->backend->gather != NULL;
}

sc_status sc_row_store_new(sc_device *d, int64_t rows, size_t row_bytes, sc_row_store **out)
{
    size_t bytes;
    *out = NULL;
    if (!sc_row_store_possible(d))
        return sc_fail(SC_EUNSUPPORTED, "%s keeps no data", d->backend->name);
    if (rows < 1 || row_bytes < 1 || sc_mul_overflow((size_t)rows, row_bytes, &bytes))
        return sc_fail(SC_EINTERNAL, "%" PRId64 " rows of %zu bytes cannot be kept", rows,
                       row_bytes);
    sc_row_store *s = sc_alloc(1, sizeof *s);
    if (s == NULL)
        return SC_ENOMEM;
    *s = (sc_row_store){.device = d, .rows = rows, .row_bytes = row_bytes};
    void *data = NULL;
    const sc_status status = d->backend->alloc(d, bytes, &data);
    s->data = data;
    if (status != SC_OK)
        free(s);
    else
        *out = s;
    return status;
}

/* One page is filled while the device fetches the other. */
static sc_status send_page(sc_row_store *s, size_t offset, const char *host, size_t bytes)
{
    const sc_queue *q = s->device->backend->queue;
    store_page *page = &s->page[s->at];
    if (page->mark == NULL)
        SC_TRY(q->mark_new(s->device, &page->mark));
    if (page->memory == NULL) {
        void *memory = NULL;
        SC_TRY(q->pin(s->device, PAGE_BYTES, &memory));
        page->memory = memory;
    }
    SC_TRY(q->wait(s->device, page->mark));
    memcpy(page->memory, host, bytes);
    const sc_value_desc v = {SC_BYTES, SC_SHAPE((int64_t)bytes)};
    SC_TRY(q->send(s->device, &v, page->memory, s->data + offset));
    s->at ^= 1;
    return q->mark(s->device, page->mark);
}

sc_status sc_row_store_fill(sc_row_store *s, int64_t first, int64_t count, const void *host)
{
    const sc_backend *b = s->device->backend;
    if (first < 0 || count < 0 || first > s->rows - count)
        return sc_fail(SC_EINTERNAL, "rows %" PRId64 " to %" PRId64 " of %" PRId64, first,
                       first + count - 1, s->rows);
    const size_t offset = (size_t)first * s->row_bytes, bytes = (size_t)count * s->row_bytes;
    if (b->queue == NULL) {
        const sc_value_desc v = {SC_BYTES, SC_SHAPE((int64_t)bytes)};
        return b->upload(s->device, &v, host, s->data + offset);
    }
    for (size_t at = 0; at < bytes; at += PAGE_BYTES) {
        const size_t piece = bytes - at < PAGE_BYTES ? bytes - at : PAGE_BYTES;
        SC_TRY(send_page(s, offset + at, (const char *)host + at, piece));
    }
    return SC_OK;
}

static void free_pages(sc_row_store *s)
{
    for (int i = 0; i < 2; i++) {
        if (s->page[i].mark == NULL)
            continue;
        s->device->backend->queue->mark_free(s->device, s->page[i].mark);
        s->device->backend->queue->unpin(s->device, s->page[i].memory);
        s->page[i] = (store_page){0};
    }
}

sc_status sc_row_store_filled(sc_row_store *s)
{
    SC_TRY(s->device->backend->sync != NULL ? s->device->backend->sync(s->device) : SC_OK);
    free_pages(s);
    return SC_OK;
}

void sc_row_store_free(sc_row_store *s)
{
    if (s == NULL)
        return;
    if (s->device->backend->sync != NULL) /* copies out of the pages may be under way */
        (void)s->device->backend->sync(s->device);
    free_pages(s);
    s->device->backend->free(s->device, s->data);
    free(s);
}

sc_status sc_program_write_rows(sc_program *p, const char *input, const sc_row_store *s,
                                const int64_t *rows)
{
    const program_value *v = nn_program_input(p, input);
    if (v == NULL)
        return sc_fail(SC_EINTERNAL, "program: no input '%s'", input);
    const int64_t n = v->desc.shape.d[0];
    if (v->desc.kind != SC_BYTES || sc_shape_count(&v->desc.shape) != n * (int64_t)s->row_bytes)
        return sc_fail(SC_EINTERNAL, "program: input '%s' has no rows of %zu bytes", input,
                       s->row_bytes);
    for (int64_t i = 0; i < n; i++)
        if (rows[i] < 0 || rows[i] >= s->rows)
            return sc_fail(SC_EINTERNAL, "program: row %" PRId64 " of %" PRId64 " is wanted",
                           rows[i], s->rows);
    if (p->device->backend->gather == NULL)
        return sc_fail(SC_EUNSUPPORTED, "%s keeps no data", p->device->backend->name);
    return p->device->backend->gather(p->device, &v->desc, s->data, rows, v->data);
}
