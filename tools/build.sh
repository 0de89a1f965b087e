#!/usr/bin/env bash
# Configures and builds one preset (default: release, into build/).
#   tools/build.sh [release|debug|asan] [cmake options]
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${1:-release}
[ $# -gt 0 ] && shift
generator=()
# A build folder keeps the generator it was made with.
[ -f "build/CMakeCache.txt" ] || [ "$preset" != release ] || generator=(-G Ninja)
[ "$preset" = release ] || [ -f "build-$preset/CMakeCache.txt" ] || generator=(-G Ninja)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for step in "cmake --preset $preset ${generator[*]} $*" "cmake --build --preset $preset -j $(nproc)"; do
    if ! $step >"$log" 2>&1; then
        cat "$log" >&2
        echo "build.sh: '$step' failed" >&2
        exit 1
    fi
done
grep -E 'warning:' "$log" || :
