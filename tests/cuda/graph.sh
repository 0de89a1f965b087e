#!/usr/bin/env bash
# Whole trainings on the stand-in plugin: batches replayed and queued anew give the same files, on 1, 2 and 3 ranks
# and under several schedules; what fails in a step fails the job as on the CPU, though it is read a step later.
source "$(dirname "$0")/../app/common.sh"
export SUPERCLIP_CACHE="$WORK/plans" SHIM_DEVICES=3 CUDA_HOME=$BUILD/tests/cuda/standin
"$PROBE" images data 3 9 7
config '"name": "t", "epochs": 3, "use_cv": false, "use_superclip_loss": true, "batch_size": 4,' |
    sed 's/"checkpoint_interval_s": 0, //; s/"batch_size": 8, //' >c.json
mkdir with
cp "$SC" "$BUILD/tests/cuda/standin/plugin/libsc_cuda.so" with/
SC=$WORK/with/sc_mpi
run() { # DIR RANKS ARGS...
    local dir=$1 n=$2
    shift 2
    train "$n" c.json --data-dir data --output-dir "$dir" --log-dir logs --cache-dir cache "$@"
}
good() {
    run "$@"
    [ "$rc" = 0 ] || die "$*"
}
line() { # of the failure, without numbers behind it
    grep -ohE 'fold [0-9]+, epoch [0-9]+, step [0-9]+: the learned.*' out err | head -n 1 || true
}

good eager 1 --no-amp --backend cuda --no-graph
for s in 1 2; do
    SHIM_SCHEDULE=$s good graph$s 1 --no-amp --backend cuda
    same_bytes eager graph$s
done
good often 1 --no-amp --backend cuda --checkpoint-interval-s 0 # nothing is late then
cmp {eager,often}/t/fold_1/history.json && cmp {eager,often}/t/fold_1/val_predictions.csv || die "settled at once"
good half 1 --backend cuda
good half_eager 1 --backend cuda --no-graph
same_bytes half half_eager
for n in 2 3; do
    good ranks$n $n --no-amp --backend cuda --group-size $n
    good ranks_eager$n $n --no-amp --backend cuda --group-size $n --no-graph
    same_bytes ranks$n ranks_eager$n
    ! grep -q 'not recorded' out err || die "$n ranks with a GPU each are recorded"
done
good shared 2 --no-amp --backend cuda --group-size 2 --gpus 0
[ "$(cat out err | grep -c 'steps are not recorded: sums over ranks go through the host')" = 1 ] ||
    die "one line tells that nothing is recorded"

# A temperature below 0: the CPU's line with its step, and no checkpoint.
run bad_cpu 1 --no-amp --backend cpu --learning-rate 100 --weight-decay 1
want=$(line)
run bad 1 --no-amp --backend cuda --learning-rate 100 --weight-decay 1
[ "$rc" != 0 ] && [ -n "$want" ] && [ "$(line)" = "$want" ] || die "told as '$(line)', on the CPU as '$want'"
[ -z "$(find bad -name '*.pth')" ] || die "a checkpoint behind a bad step"

# Calls that fail.
SHIM_FAIL=cudaGraphInstantiate:1 good slow 1 --no-amp --backend cuda
grep -q 'steps are not recorded, which costs time: cuda: recording a step: out of memory' out err || die "no warning"
same_bytes eager slow
SHIM_FAIL=cudaGraphLaunch:2 run broken 1 --no-amp --backend cuda
[ "$rc" != 0 ] && grep -q 'cuda: a recorded step: ' out err || die "a launch that fails"
