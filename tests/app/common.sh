# Sourced by the scripts of this folder. $1: the build folder.
set -euo pipefail
BUILD=$(cd "$1" && pwd)
SC=$BUILD/bin/sc_mpi
PROBE=$BUILD/tests/test_app_probe
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
export OMP_NUM_THREADS=1
unset SLURM_JOB_ID SLURM_RESTART_COUNT SC_WEIGHTS_DIR || true
# Under AddressSanitizer leaks are looked for where MPI, which keeps memory of its own, does not start.
mpi_asan=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
WORK=$(mktemp -d "${TMPDIR:-/tmp}/sc_app.XXXXXX")
trap 'rm -rf "$WORK"' EXIT
cd "$WORK"

die() {
    echo "FAILED: $*" >&2
    [ ! -f out ] || tail -n 20 out >&2
    [ ! -f err ] || tail -n 20 err >&2
    exit 1
}

# train RANKS ARGS...: output in ./out and ./err, exit code in $rc.
train() {
    local n=$1
    shift
    rc=0
    if [ "$n" = 1 ]; then
        timeout 120 "$SC" "$@" >out 2>err </dev/null || rc=$?
    else
        ASAN_OPTIONS=$mpi_asan timeout 120 mpirun -np "$n" "$SC" "$@" >out 2>err </dev/null || rc=$?
    fi
}

ok() {
    train "$@"
    [ "$rc" = 0 ] || die "exit $rc of: $*"
}

# same_bytes DIR DIR: every result that must not depend on time.
same_bytes() {
    local f
    for f in $(cd "$1" && find . -name history.json -o -name '*.pth' -o -name cv_summary.json \
        -o -name val_predictions.csv -o -name folds_info.json | sort); do
        cmp "$1/$f" "$2/$f" || die "$f differs between $1 and $2"
    done
    [ -n "$(find "$1" -name 'checkpoint_latest.pth')" ] || die "no checkpoint in $1"
    [ "$(cd "$1" && find . -name '*.pth' | sort)" = "$(cd "$2" && find . -name '*.pth' | sort)" ] ||
        die "other checkpoints in $1 than in $2"
}

# A small config on stdout; arguments: more members, each with its comma.
config() {
    echo '[{ // comments and trailing commas are allowed'
    echo '  "image_encoder": "resnet-tiny", "text_encoder": "clip:tiny", "pretrained": false,'
    echo '  "img_size": 32, "embed_dim": 16, "batch_size": 8, "n_splits": 3, "num_workers": 1,'
    echo '  "checkpoint_interval_s": 0, "learning_rate": 0.001,'
    printf '  %s\n' "$@"
    echo '}]'
}
