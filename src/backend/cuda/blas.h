/* Matrix products by cuBLASLt: d = op(a) op(b) [+ bias] [+ d], sums in float. The algorithm is
 * chosen once by the library's heuristics among those that do not split the sum between blocks: the
 * same bits every time. Floats are multiplied as floats (no TF32).
 *
 * Matrices are column major and packed. A row-major [r, c] array is a column-major c x r matrix.
 */
#ifndef SC_BACKEND_CUDA_BLAS_H
#define SC_BACKEND_CUDA_BLAS_H

#include "kernels.h"
#include "superclip/base.h"

enum {
#define SC_ABI(ours, number, theirs) ours = number,
#include "blas.def"
#undef SC_ABI
    BLAS_ALIGNMENT = 16,     /* bytes, of every address */
    BLAS_WORKSPACE = 4 << 20 /* bytes every product may use, of the caller's; aligned to 256 */
};

typedef struct blas blas;
/* Finds and opens cuBLASLt; SC_EUNSUPPORTED with a line that says what is missing. */
sc_status blas_open(blas **out);
void blas_close(blas *b); /* NULL is fine */

typedef struct blas_matrix {
    const void *p; /* aligned */
    sc_cuda_type type;
    int64_t rows, cols;
    bool turned; /* use it transposed */
} blas_matrix;
typedef struct blas_product blas_product;
/* Binds addresses too. x and y are of one type; d is float, or of their type. add: to what d holds.
 * bias: NULL, or one element of d's type for each row of d. */
sc_status blas_product_new(blas *b, const blas_matrix *x, const blas_matrix *y,
                           const blas_matrix *d, bool add, const void *bias, blas_product **out);
void blas_product_free(blas *b, blas_product *p); /* NULL is fine */
/* What runs at the same time has a workspace of its own. */
sc_status blas_product_run(blas *b, const blas_product *p, void *workspace, void *stream);

#endif
