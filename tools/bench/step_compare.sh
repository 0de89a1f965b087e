#!/usr/bin/env bash
# step_compare.sh [BUILD_DIR] [options of step_bench that step_torch.py has too]
# The training step of this program and PyTorch's best-tuned one, in turn, in one run; prints the
# medians of the rounds and their ratio (above 1: this program is faster).
# PYTHON names a python3 with torch and torchvision, ROUNDS (3) how often both run.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$here/../../build
if [ $# -gt 0 ] && [ "${1#--}" = "$1" ]; then
    build=$1
    shift
fi
python=${PYTHON:-python3}
ours=() theirs=()

median() { printf '%s\n' "$@" | sort -g | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }
figure() { sed -n 's/^step: median \([0-9.]*\) ms.*/\1/p'; }

[ -x "$build/bin/step_bench" ] || {
    echo "step_compare: $build/bin/step_bench is missing: build first" >&2
    exit 1
}
"$python" -c 'import torch, torchvision' 2>/dev/null || {
    echo "step_compare: $python has no torch and torchvision: set PYTHON" >&2
    exit 1
}
for ((round = 1; round <= ${ROUNDS:-3}; round++)); do
    load=$(cut -d' ' -f1 /proc/loadavg)
    t=$(MALLOC_MMAP_THRESHOLD_=8000000000 MALLOC_TRIM_THRESHOLD_=32000000000 \
        MALLOC_TOP_PAD_=268435456 "$python" "$here/step_torch.py" "$@" | figure)
    o=$("$build/bin/step_bench" "$@" | figure)
    echo "round $round (load before $load): PyTorch $t ms, this program $o ms"
    theirs+=("$t")
    ours+=("$o")
done
t=$(median "${theirs[@]}")
o=$(median "${ours[@]}")
awk -v t="$t" -v o="$o" 'BEGIN {printf "medians: PyTorch %.1f ms, this program %.1f ms: %.2fx\n", t, o, t / o}'
