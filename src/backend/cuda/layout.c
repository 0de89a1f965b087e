/* Values and parameters between PyTorch's layouts on the host and ours on the device. */
#include "cuda.h"

#include <stdlib.h>
#include <string.h>

bool cuda_image(const sc_value_desc *v)
{
    return v->shape.n == 4 && (v->kind == SC_COMPUTE || v->kind == SC_EXACT);
}
sc_cuda_type cuda_type(const cuda_device *d, const sc_value_desc *v)
{
    return v->kind == SC_COMPUTE && d->head.precision == SC_BF16_MIXED ? SC_CUDA_BF16 : SC_CUDA_F32;
}
static int64_t count_of(const sc_shape *s)
{
    int64_t n = sc_shape_count(s);
    return n > 0 ? n : 0;
}
int64_t cuda_stored(const sc_value_desc *v)
{
    const int64_t *s = v->shape.d;
    return cuda_image(v) ? s[0] * s[2] * s[3] * cuda_round8(s[1]) : count_of(&v->shape);
}
int64_t cuda_rows(const sc_value_desc *v)
{
    int64_t rows = 1;
    for (int i = 0; i + 1 < v->shape.n; i++)
        rows *= v->shape.d[i];
    return rows;
}
int cuda_width(const sc_value_desc *v)
{
    return v->shape.n > 0 ? (int)v->shape.d[v->shape.n - 1] : 1;
}
size_t cuda_value_bytes(const sc_device *d, const sc_value_desc *v)
{
    size_t count = (size_t)cuda_stored(v);
    if (v->kind == SC_BYTES)
        return count;
    if (v->kind == SC_INT32)
        return count * sizeof(int32_t);
    return count * (cuda_type((const cuda_device *)d, v) == SC_CUDA_BF16 ? 2 : sizeof(float));
}
bool cuda_plain(const sc_device *d, const sc_value_desc *v)
{
    return v->kind == SC_BYTES || v->kind == SC_INT32 ||
           (!cuda_image(v) && cuda_type((const cuda_device *)d, v) == SC_CUDA_F32);
}

/* Queues host floats [n][c][plane] or plain ones, `planes` on the device, to or from the value. */
static sc_status rearrange(cuda_device *d, const sc_value_desc *v, float *planes, const void *from,
                           void *to)
{
    const int64_t *s = v->shape.d;
    const sc_cuda_type type = cuda_type(d, v);
    int failed;
    if (to != NULL && cuda_image(v))
        failed = sc_cuda_to_channels_last(d->stream, planes, (sc_cuda_out){to, type, false}, s[0],
                                          (int)s[1], s[2] * s[3], (int)cuda_round8(s[1]));
    else if (to != NULL)
        failed = sc_cuda_convert(d->stream, (sc_cuda_in){planes, SC_CUDA_F32},
                                 (sc_cuda_out){to, type, false}, count_of(&v->shape));
    else if (cuda_image(v))
        failed = sc_cuda_to_planes(d->stream, (sc_cuda_in){from, type}, planes, s[0], (int)s[1],
                                   s[2] * s[3], (int)cuda_round8(s[1]));
    else
        failed = sc_cuda_convert(d->stream, (sc_cuda_in){from, type},
                                 (sc_cuda_out){planes, SC_CUDA_F32, false}, count_of(&v->shape));
    return cuda_check(failed, "a change of layout");
}

/* One of `from_host` and `to_host` is NULL. Waits: the host's memory is the caller's again. */
static sc_status transfer(cuda_device *d, const sc_value_desc *v, const void *from_host,
                          void *to_host, void *value)
{
    const size_t bytes = (size_t)count_of(&v->shape) * sizeof(float);
    void *planes = NULL;
    sc_status status = SC_OK;
    if (cuda_value_bytes(&d->head, v) == 0)
        return SC_OK;
    if (to_host != NULL) /* a copy to the host waits without looking after the other ranks */
        SC_TRY(cuda_wait(d));
    if (cuda_plain(&d->head, v)) {
        const size_t plain = cuda_value_bytes(&d->head, v);
        SC_TRY_GOTO(cuda_check(from_host != NULL ? sc_cuda_copy(d->stream, value, from_host, plain)
                                                 : sc_cuda_copy(d->stream, to_host, value, plain),
                               "a copy"));
    } else {
        SC_TRY_GOTO(cuda_check(sc_cuda_malloc(bytes, &planes), "memory for a change of layout"));
        if (from_host != NULL) {
            SC_TRY_GOTO(cuda_check(sc_cuda_copy(d->stream, planes, from_host, bytes), "a copy"));
            SC_TRY_GOTO(rearrange(d, v, planes, NULL, value));
        } else {
            SC_TRY_GOTO(rearrange(d, v, planes, value, NULL));
            SC_TRY_GOTO(cuda_check(sc_cuda_copy(d->stream, to_host, planes, bytes), "a copy"));
        }
    }
    SC_TRY_GOTO(cuda_wait(d));
done:
    (void)sc_cuda_free(planes);
    return status;
}
sc_status cuda_upload(sc_device *d, const sc_value_desc *v, const void *host, void *value)
{
    return transfer((cuda_device *)d, v, host, NULL, value);
}
sc_status cuda_download(sc_device *d, const sc_value_desc *v, const void *value, void *host)
{
    return transfer((cuda_device *)d, v, NULL, host, (void *)(uintptr_t)value);
}

/* ---- parameters ---- */

static bool filter(const sc_param_desc *p)
{
    return p->op == SC_OP_CONV2D && p->slot == 0;
}
static int64_t taps(const sc_param_desc *p) /* a matrix is a kernel of 1 x 1 */
{
    return p->shape.n == 4 ? p->shape.d[2] * p->shape.d[3] : 1;
}
size_t cuda_param_elements(const sc_device *d, const sc_param_desc *p)
{
    const int64_t *s = p->shape.d;
    (void)d;
    if (filter(p))
        return (size_t)(cuda_round8(s[0]) * taps(p) * cuda_round8(s[1]));
    return (size_t)cuda_round8(count_of(&p->shape));
}
/* [O][C][k * k] <-> [O][k * k][C], padding included on our side */
static void reorder_filter(const sc_param_desc *p, float *theirs, float *ours, bool to_ours)
{
    const int64_t *s = p->shape.d, plane = taps(p), padded = cuda_round8(s[1]);
    for (int64_t o = 0; o < s[0]; o++)
        for (int64_t c = 0; c < s[1]; c++)
            for (int64_t i = 0; i < plane; i++) {
                float *a = &theirs[(o * s[1] + c) * plane + i];
                float *b = &ours[(o * plane + i) * padded + c];
                if (to_ours)
                    *b = *a;
                else
                    *a = *b;
            }
}
static sc_status move_param(cuda_device *d, const sc_param_desc *p, float *host, void *value,
                            bool to_device)
{
    const size_t elements = cuda_param_elements(&d->head, p), bytes = elements * sizeof(float);
    const size_t plain = (size_t)count_of(&p->shape) * sizeof(float);
    sc_status status = SC_OK;
    float *ours = sc_alloc(elements, sizeof *ours);
    if (ours == NULL)
        return SC_ENOMEM;
    if (to_device) {
        if (filter(p))
            reorder_filter(p, host, ours, true);
        else
            memcpy(ours, host, plain);
        SC_TRY_GOTO(cuda_check(sc_cuda_copy(d->stream, value, ours, bytes), "a parameter"));
        SC_TRY_GOTO(cuda_wait(d));
    } else {
        SC_TRY_GOTO(cuda_check(sc_cuda_copy(d->stream, ours, value, bytes), "a parameter"));
        SC_TRY_GOTO(cuda_wait(d));
        if (filter(p))
            reorder_filter(p, host, ours, false);
        else
            memcpy(host, ours, plain);
    }
done:
    free(ours);
    return status;
}
/* These two cannot return a failure: it is kept, and every later sync returns it. */
static void keep_failure(cuda_device *d, sc_status status)
{
    if (d->broken == SC_OK)
        d->broken = status;
}
void cuda_param_import(sc_device *head, const sc_param_desc *p, const void *host, void *value)
{
    cuda_device *d = (cuda_device *)head;
    keep_failure(d, move_param(d, p, (float *)(uintptr_t)host, value, true));
}
void cuda_param_export(sc_device *head, const sc_param_desc *p, const void *value, void *host)
{
    cuda_device *d = (cuda_device *)head;
    keep_failure(d, move_param(d, p, host, (void *)(uintptr_t)value, false));
}
