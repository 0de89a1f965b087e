#include "direct.h"
#include "kernels.h"
#include "simd.h"
#include "wgrad.h"
#include "winograd.h"

#define TEXT2(x) #x
#define TEXT(x) TEXT2(x)

void KERNEL(cpu_kernels)(cpu_kernels *k);
void KERNEL(cpu_kernels)(cpu_kernels *k)
{
    k->isa = TEXT(SC_CPU_ISA);
    k->block = VL;
    KERNEL(fill_batch_norm)(k);
    KERNEL(fill_pool)(k);
    KERNEL(fill_bn_pool)(k);
    KERNEL(fill_rows)(k);
    KERNEL(fill_activate)(k);
    KERNEL(fill_depthwise)(k);
    KERNEL(fill_channels)(k);
    KERNEL(fill_attention)(k);
    KERNEL(fill_linear)(k);
    KERNEL(fill_optim)(k);
    KERNEL(fill_augment)(k);
    k->wino = KERNEL(wino_kernels)();
    k->wgrad = KERNEL(wgrad_kernels)();
    k->direct = KERNEL(direct_kernels)();
    KERNEL(fill_peak)(k);
}
