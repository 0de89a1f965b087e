#!/usr/bin/env bash
# Cross-validation with the settings below; the same command continues an interrupted run.
#   bash run_train_clip.sh [further options of sc_mpi]
# Ctrl-C or kill: a checkpoint is written before it ends (exit 42); a second Ctrl-C ends at once.
# Each setting can also come from the environment: GPUS="0 1 2 3" bash run_train_clip.sh

DATA_DIR="${DATA_DIR:-single_label_data}"              # one folder of images a class, or packed shards
OUTPUT_BASE_DIR="${OUTPUT_BASE_DIR:-checkpoints/clip_models}"
CONFIG_FILE="${CONFIG_FILE:-train_clip_config.json}"
USE_MULTI_CONFIG="${USE_MULTI_CONFIG:-true}"           # false: one config from the options, no file
GPUS="${GPUS:-0}"                                      # one rank per entry, e.g. "0 1 2 3" or "0,1,2,3"

set -euo pipefail

fail() {
    echo "run_train_clip.sh: error: $*" >&2
    exit 1
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
sc_mpi=$here/build/bin/sc_mpi
[ -x "$sc_mpi" ] || sc_mpi=$(command -v sc_mpi) ||
    fail "sc_mpi is neither in $here/build/bin nor on PATH; build it with: bash tools/build.sh"
command -v mpirun >/dev/null || fail "mpirun is not on PATH; install Open MPI with: bash tools/setup.sh"

read -ra entries <<<"${GPUS//,/ }"
ranks=${#entries[@]}
[ "$ranks" -ge 1 ] || fail "GPUS is empty; it needs one entry a rank, e.g. GPUS=\"0 1\""

# With too little room for its temporary files mpirun hangs, with too few open files it breaks off.
free_kb=$(df -Pk "${TMPDIR:-/tmp}" | awk 'NR == 2 { print $4 }')
[ "$free_kb" -ge $((ranks * 8192)) ] ||
    fail "${TMPDIR:-/tmp} has $((free_kb / 1024)) MB free, $ranks ranks need $((ranks * 8)); set TMPDIR"
files=$(ulimit -n)
[ "$files" = unlimited ] || [ "$files" -ge $((64 + 16 * ranks)) ] ||
    fail "only $files open files are allowed, $ranks ranks need $((64 + 16 * ranks)); see ulimit -n"

mpi=(mpirun -np "$ranks" --bind-to none)
[ "$(id -u)" != 0 ] || mpi+=(--allow-run-as-root)
[ "$ranks" -le "$(nproc)" ] || mpi+=(--oversubscribe)

options=(--data-dir "$DATA_DIR" --output-dir "$OUTPUT_BASE_DIR")
if [ "$USE_MULTI_CONFIG" = true ]; then
    [ -f "$CONFIG_FILE" ] || fail "no $CONFIG_FILE; see configs/train_clip_config.json for an example"
    options=("$CONFIG_FILE" --multi-config "${options[@]}")
fi

# In a session of its own, so that Ctrl-C reaches this script alone: mpirun would kill its ranks at
# once, but it hands SIGUSR1 on to them.
setsid "${mpi[@]}" "$sc_mpi" "${options[@]}" "$@" </dev/null &
launcher=$!
asked=0
stop() {
    asked=$((asked + 1))
    if [ $asked = 1 ]; then
        echo "run_train_clip.sh: stopping after a checkpoint (again: at once)" >&2
        kill -USR1 $launcher 2>/dev/null || true
    else
        kill -TERM $launcher 2>/dev/null || true
    fi
}
trap stop INT TERM USR1 HUP

code=0
while :; do
    code=0
    wait $launcher || code=$?
    kill -0 $launcher 2>/dev/null || break # a trap interrupts wait
done
[ $code != 42 ] || echo "run_train_clip.sh: stopped; the same command continues" >&2
exit $code
