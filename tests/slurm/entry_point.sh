#!/usr/bin/env bash
# run_train_clip.sh: its variables, its extra options, and INT and TERM turned into a checkpoint.
root=$(cd "$(dirname "$0")/../.." && pwd)
source "$root/tests/app/common.sh"
export ASAN_OPTIONS=$mpi_asan
cp "$root/run_train_clip.sh" .
mkdir -p build/bin
ln -s "$SC" build/bin/sc_mpi
"$PROBE" images data 9 12 7
config '"name": "old", "use_superclip_loss": true, "epochs": 1000, "use_cv": false,' >c.json
export DATA_DIR=data OUTPUT_BASE_DIR=results CONFIG_FILE=c.json GPUS="0,1"

bash run_train_clip.sh --set epochs=2 --output-dir first >out 2>err || die "exit $?"
[ -s first/old/cv_summary.json ] || die "no cv_summary.json"
ls logs/clip_training/old_gpu0_*.log >/dev/null || die "no log"

rc=0
CONFIG_FILE=nothing.json bash run_train_clip.sh >out 2>err || rc=$?
[ $rc = 1 ] && grep -q nothing.json err || die "a missing config"
rc=0
GPUS=" " bash run_train_clip.sh >out 2>err || rc=$?
[ $rc = 1 ] && grep -q GPUS err || die "no GPUS"

for signal in TERM INT; do
    : >out
    # A background job of a script ignores INT from its start: undo that.
    env --default-signal=INT bash run_train_clip.sh >>out 2>err </dev/null &
    script=$!
    for ((i = 0; i < 1500; i++)); do
        ! grep -q 'Val Loss' out || break
        sleep 0.02
    done
    kill -$signal $script
    rc=0
    wait $script || rc=$?
    [ $rc = 42 ] || die "$signal: exit $rc"
    grep -q 'same command continues' err || die "$signal: nothing said"
    [ ! -e results/old/cv_summary.json ] || die "$signal: it ended before the signal"
    [ -s results/old/fold_1/checkpoint_latest.pth ] || die "$signal: no checkpoint"
done
GPUS="0" USE_MULTI_CONFIG=false OUTPUT_BASE_DIR=flags bash run_train_clip.sh --image-encoder resnet-tiny \
    --text-encoder clip:tiny --set pretrained=false --img-size 32 --embed-dim 8 --epochs 1 --use-cv false \
    --batch-size 8 >out 2>err || die "flags only: $?"
[ -s flags/fold_1/history.json ] || die "flags only"
echo "run_train_clip: ok"
