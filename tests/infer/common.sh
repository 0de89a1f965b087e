# Sourced by the scripts of this folder, behind the one of tests/app. $1: the build folder.
TESTS=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$TESTS/app/common.sh"
COPY=$BUILD/tests/test_infer_probe
# Nothing of this machine's users is found.
export HOME=$WORK/home
unset XDG_CACHE_HOME HF_HOME HF_HUB_CACHE TORCH_HOME || true
mkdir "$HOME"

# tool EXIT PROGRAM ARGS...: output in ./out and ./err.
tool() {
    local want=$1
    shift
    rc=0
    timeout 120 "$BUILD/bin/$1" "${@:2}" >out 2>err </dev/null || rc=$?
    [ "$rc" = "$want" ] || die "exit $rc, not $want, of: $*"
}

# refused MESSAGE PROGRAM ARGS...: exit 1, nothing but one line of error, which holds MESSAGE.
refused() {
    local message=$1
    shift
    tool 1 "$@"
    [ ! -s out ] && [ "$(wc -l <err)" = 1 ] || die "not one line of error from: $*"
    grep -qF -- "$message" err || die "'$message' is not said by: $*"
}
