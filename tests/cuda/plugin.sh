#!/usr/bin/env bash
# The program with and without the plugin: what it says without, and whole trainings with the plugin on what
# stands in for NVIDIA's runtime and libraries.
source "$(dirname "$0")/../app/common.sh"
export SUPERCLIP_CACHE="$WORK/plans"
"$PROBE" images data 3 8 7
config '"name": "t", "epochs": 1, "use_cv": false, "use_superclip_loss": true,' >c.json
run() { # DIR RANKS ARGS...
    local dir=$1 n=$2
    shift 2
    train "$n" c.json --data-dir data --output-dir "$dir" --log-dir logs --cache-dir cache "$@"
}
says() {
    grep -qF -- "$1" out err || die "nowhere: $1"
}
loss() {
    "$PROBE" json "$1/t/fold_1/history.json" "$2.0"
}
near() { # of two losses; floats against bf16's 8 bits need the larger tolerance
    awk -v a="$(loss "$1" "$3")" -v b="$(loss "$2" "$3")" -v t="$4" \
        'BEGIN { d = a - b; exit !(a > 0 && d <= t * b && d >= -t * b) }' ||
        die "$3: $(loss "$1" "$3") in $1, $(loss "$2" "$3") in $2"
}

# Without a plugin, or where the real one finds no driver: one line, or an error.
run cpu 1 --backend cpu --no-amp
[ "$rc" = 0 ] || die "cpu"
mkdir alone with
cp "$SC" alone/
SC=$WORK/alone/sc_mpi
run auto 1 --no-amp
[ "$rc" = 0 ] || die "auto"
says "(no GPU: this build has no CUDA backend"
same_bytes cpu auto
for n in 1 2; do
    run none $n --backend cuda
    [ "$rc" != 0 ] && [ ! -e none ] || die "--backend cuda without a plugin"
    [ "$(grep -c 'error: --backend cuda: ' err)" = 1 ] || die "one line"
done
echo "not a library" >alone/libsc_cuda.so
run none 1 --backend cuda
says "libsc_cuda.so does not load"

# With it.
cp alone/sc_mpi "$BUILD/tests/cuda/standin/plugin/libsc_cuda.so" with/
SC=$WORK/with/sc_mpi
export CUDA_HOME=$BUILD/tests/cuda/standin
run gpu 1 --no-amp
[ "$rc" = 0 ] || die "on the plugin"
says "Backend: cuda: GPU 0, fibres on the host, sm_80, fp32"
near gpu cpu train_loss 1e-4
near gpu cpu val_loss 1e-3
ls plans/plans-*.txt >/dev/null || die "no plans were kept"
run again 1 --no-amp --backend cuda # plans come from the file now
[ "$rc" = 0 ] || die "again"
same_bytes gpu again
run half 1 --backend cuda
[ "$rc" = 0 ] || die "bf16"
says "sm_80, bf16"
near half cpu train_loss 0.05
run pair 2 --no-amp --backend cuda --gpus 0 --group-size 2
[ "$rc" = 0 ] || die "two ranks on one GPU"
says "their sums go through the host: ranks share a GPU"
near pair cpu train_loss 1e-4
SHIM_DEVICES=2 run apart 2 --no-amp --backend cuda --gpus 0,1 --group-size 2
[ "$rc" = 0 ] || die "two ranks on two GPUs"
! grep -q 'through the host' out err || die "no NCCL between two GPUs"
near apart cpu train_loss 1e-4
near apart pair val_loss 1e-3

# Drivers and libraries that do not do.
SHIM_DRIVER=0 run none 1 --backend cuda --no-amp
[ "$rc" != 0 ] || die "no driver"
says "error: --backend cuda: cuda: no device: no NVIDIA driver was found"
SHIM_DRIVER=12040 run none 1 --backend cuda --no-amp
[ "$rc" != 0 ] || die "an old driver"
says "the driver is for CUDA 12.4, this build for CUDA 13.0; install a newer driver, or build with CUDA 12"
for what in --plan --check; do # a login node is told what a GPU would need
    SHIM_DRIVER=0 run none 1 --backend cuda $what
    [ "$rc" = 0 ] && [ ! -e none/t ] || die "$what without a GPU"
    says "there is no GPU to train on here (cuda: no device: no NVIDIA driver was found"
    says "Backend: cuda: as if on an empty NVIDIA H100 80GB, sm_90, bf16 (cuDNN "
    says "GPU memory: 84.40 GB of the GPU assumed for a rank"
done
for kind in a10 a100-40gb a100 h100 h200 b200 l40s rtx4090; do # also where there is one
    run none 1 --plan --plan-gpu $kind
    [ "$rc" = 0 ] || die "--plan-gpu $kind"
    says "as if on an empty NVIDIA "
done
STANDIN_CUDNN_VERSION=90100 run none 1 --plan --plan-gpu a10
[ "$rc" = 0 ] || die "--plan-gpu without a cuDNN that does"
says "(no usable cuDNN here: 0.54 GB taken for its workspace)"
run none 1 --plan-gpu h100
[ "$rc" = 1 ] && [ ! -e none ] || die "--plan-gpu to train"
says "--plan-gpu h100 is for --plan and --check; leave it out to train"
run none 1 --plan --plan-gpu h100 --backend cpu
[ "$rc" = 1 ] || die "--plan-gpu on processors"
STANDIN_CUDNN_VERSION=90100 run old 1 --backend cuda --no-amp
[ "$rc" != 0 ] || die "an old cuDNN"
says "cuDNN 9.1.0 was found; 9.11 or a newer 9 is needed"

# The plugin for real devices, where it was built: no driver here, or a device.
if [ -f "$BUILD/bin/libsc_cuda.so" ] && [ ! -e /dev/nvidiactl ]; then
    SC=$BUILD/bin/sc_mpi
    unset CUDA_HOME
    run real 1 --no-amp
    [ "$rc" = 0 ] || die "the real plugin without a device"
    says "(no GPU: cuda: no device: no NVIDIA driver was found (CUDA driver version is insufficient"
    same_bytes cpu real
    run none 1 --backend cuda
    says "error: --backend cuda: cuda: no device: "
fi
