#!/usr/bin/env bash
# Several jobs of a rank at once on its GPU: the bytes of one after another, whatever ends the run.
source "$(dirname "$0")/../app/common.sh"
mkdir shm with # a killed rank's shared memory goes with the work folder
export OMPI_MCA_btl_vader_backing_directory=$WORK/shm
export SUPERCLIP_CACHE=$WORK/plans CUDA_HOME=$BUILD/tests/cuda/standin
cp "$SC" "$BUILD/tests/cuda/standin/plugin/libsc_cuda.so" with/
SC=$WORK/with/sc_mpi
"$PROBE" images data 5 6
config '"epochs": 2, "name": "t", "use_superclip_loss": true,' | sed 's/"n_splits": 3/"n_splits": 5/' >c.json
dirs=(--data-dir data --log-dir logs --cache-dir cache)
args=(c.json "${dirs[@]}" --no-amp)
says() {
    grep -qF -- "$1" out err || die "nowhere: $1"
}

# On processors: refused, and auto is one at a time.
train 1 "${args[@]}" --backend cpu --jobs-per-gpu 2 --output-dir none
[ $rc = 1 ] && [ ! -e none ] || die "two at once on a processor"
says "--jobs-per-gpu 2 is for GPUs, and this run computes on 'cpu'"
for bad in 0 9 many; do
    train 1 "${args[@]}" --jobs-per-gpu $bad --output-dir none
    [ $rc = 1 ] || die "--jobs-per-gpu $bad"
    says "--jobs-per-gpu: '$bad' is unknown; it must be auto, 1, 2"
done
train 1 "${args[@]}" --backend cpu --jobs-per-gpu auto --plan
[ $rc = 0 ] || die "auto on a processor"
says "--jobs-per-gpu auto: one job at a time, there is no GPU"
train 1 "${args[@]}" --jobs-per-gpu 2 --group-size 2 --output-dir none
[ $rc = 1 ] && [ ! -e none ] || die "with --group-size"
says "--jobs-per-gpu 2 is for ranks that train alone, and --group-size 2"

# One after another, three at once, more than there are jobs, as many as fit, two ranks on one GPU and on two.
ok 1 "${args[@]}" --output-dir one
ok 1 "${args[@]}" --output-dir three --jobs-per-gpu 3
says "A rank that trains alone takes up to 3 jobs at once"
[ "$(sed '/Jobs: 1/q' out | grep -o '^\[fold .\]' | sort -u | wc -l)" -ge 2 ] || die "no two jobs at once"
for fold in 1 2 3 4 5; do
    for what in 'Epoch 1 [Train]: 100%' '[Val]: 100%' 'Train Loss: ' 'Val Loss: '; do
        says "[fold $fold] $what"
    done
done
same_bytes one three
ok 1 "${args[@]}" --output-dir eight --jobs-per-gpu 8
same_bytes one eight
ok 2 "${args[@]}" --output-dir pair --jobs-per-gpu 2
same_bytes one pair
SHIM_DEVICES=2 ok 2 "${args[@]}" --output-dir apart --jobs-per-gpu 2 --gpus 0,1
same_bytes one apart

# auto: the jobs there are, or what the memory holds.
train 1 "${args[@]}" --plan --jobs-per-gpu auto
[ $rc = 0 ] || die "--plan"
says "--jobs-per-gpu auto: 5 at once ("
says "Up to 5 jobs at once on a GPU (--jobs-per-gpu auto)"
need=$(sed -n 's/.*a job takes up to \([0-9.]*\) MB).*/\1/p' out)
mb=$(awk -v m="$need" 'BEGIN { printf "%d", 2.5 * m / 0.9 / 1.048576 }')
SHIM_MEMORY_MB=$mb ok 1 "${args[@]}" --output-dir fit --jobs-per-gpu auto
says "--jobs-per-gpu auto: 2 at once ("
same_bytes one fit

# One of three fails.
mkdir -p fails/t/fold_4/history.json
train 1 "${args[@]}" --output-dir fails --jobs-per-gpu 3
[ $rc = 2 ] || die "exit $rc of a failing job"
says "[fold 4] Error: job failed: "
says "5 jobs: 4 finished, 1 failed, 0 left"
for fold in 1 2 3 5; do
    cmp one/t/fold_$fold/checkpoint_latest.pth fails/t/fold_$fold/checkpoint_latest.pth || die "fold $fold"
done
rmdir fails/t/fold_4/history.json
ok 1 "${args[@]}" --output-dir fails --jobs-per-gpu 3
same_bytes one fails

# Stopped and killed: the same command goes on.
long=("${args[@]}" --n-splits 3 --set epochs=4)
ok 1 "${long[@]}" --output-dir long --jobs-per-gpu 3
run_until() { # SIGNAL DIR RANKS TEXT ARGS...
    local signal=$1 dir=$2 n=$3 text=$4
    shift 4
    : >out
    ASAN_OPTIONS=$mpi_asan $([ "$n" = 1 ] || echo mpirun -np "$n") "$SC" "${long[@]}" --output-dir "$dir" "$@" \
        >>out 2>err </dev/null &
    local pid=$!
    for ((i = 0; i < 1500; i++)); do
        ! grep -qF "$text" out && kill -0 $pid 2>/dev/null || break
        sleep 0.02
    done
    kill "-$signal" $pid 2>/dev/null || true
    rc=0
    wait $pid 2>/dev/null || rc=$?
}
run_until USR1 usr1 1 'Epoch 2 [Train]' --jobs-per-gpu 3
[ $rc = 42 ] || die "USR1: exit $rc"
[ "$(grep -c 'stopped; the checkpoint is written' out)" -ge 2 ] || die "not all jobs told of their stop"
[ "$(find usr1 -name checkpoint_latest.pth | wc -l)" -ge 2 ] || die "not all jobs wrote"
[ ! -e usr1/.sc_mpi.lock ] || die "the lock outlived the run"
ok 1 "${long[@]}" --output-dir usr1 --jobs-per-gpu 2
same_bytes long usr1
run_until KILL killed 1 'Epoch 2 [Train]' --jobs-per-gpu 3
[ $rc = 137 ] || die "KILL: exit $rc"
run_until TERM killed 1 'Epoch 3 [Train]' --jobs-per-gpu 2
[ $rc = 143 ] || [ $rc = 0 ] || die "TERM: exit $rc"
ok 1 "${long[@]}" --output-dir killed
same_bytes long killed
run_until USR1 both 2 'Epoch 2 [Train]' --jobs-per-gpu 2
[ $rc = 42 ] || die "USR1 to two ranks: exit $rc"
ok 2 "${long[@]}" --output-dir both --jobs-per-gpu 2
same_bytes long both
[ -z "$(find . -name '*.tmp*')" ] || die "left-over temporary files"
echo "cuda_at_once: ok"
