#!/usr/bin/env bash
# sc_predict against the same in PyTorch on this CPU, in images/s, reading and resizing included:
#   tools/bench/predict_compare.sh BUILD_DIR [IMAGES] [SIDE]     (PYTHON: a python with torch)
# Makes a data folder of IMAGES pictures of about SIDE pixels and a checkpoint of resnet18 + CLIP's text tower in
# a temporary folder. sc_predict's start (reading weights, encoding texts) is taken out by the difference of a
# long and a short list; PyTorch's by timing a later pass of its warm loader, with as many compute threads as there
# are cores and with one less, whichever is faster. Alternating, three times.
set -euo pipefail
build=$(cd "$1" && pwd) images=${2:-576} side=${3:-512}
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
# An allocator that keeps its pages: PyTorch gains by it.
malloc=(MALLOC_MMAP_THRESHOLD_=8000000000 MALLOC_TRIM_THRESHOLD_=32000000000 MALLOC_TOP_PAD_=268435456)
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"$build/bin/make_demo_data" data --images "$images" --size-min $((side * 3 / 4)) --size-max $((side * 5 / 4)) >log
"$build/bin/sc_mpi" --set pretrained=false --use-cv false --data-dir data --output-dir out --epochs 1 --overfit 32 \
    --use-superclip-loss >>log 2>&1 || { tail log >&2; exit 1; }
checkpoint=out/fold_1/checkpoint_best.pth
find data -type f | sort >long.txt
head -n 32 long.txt >short.txt

seconds() { # LIST
    local start
    start=$(date +%s%N)
    "$build/bin/sc_predict" "$checkpoint" --list "$1" --csv=ours.csv >/dev/null 2>&1
    echo $(($(date +%s%N) - start))
}

cores=$(nproc)
for repeat in 1 2 3; do
    short=$(seconds short.txt) long=$(seconds long.txt)
    ours=$(awk -v n="$(wc -l <long.txt)" -v t=$((long - short)) 'BEGIN { printf "%.1f", (n - 32) / (t / 1e9) }')
    theirs=0
    for threads in "$cores" $((cores > 1 ? cores - 1 : 1)); do
        one=$(env "${malloc[@]}" "$python" "$here/predict_torch.py" "$checkpoint" data --threads "$threads" --csv theirs.csv)
        theirs=$(awk "BEGIN { print ($one > $theirs) ? $one : $theirs }")
    done
    echo "sc_predict $ours images/s, PyTorch $theirs images/s: $(awk "BEGIN { printf \"%.2f\", $ours / $theirs }") times"
done
# The same probabilities, up to the precision of bfloat16.
tail -n +2 ours.csv | cut -d, -f4- >a && cut -d, -f2- theirs.csv >b
paste -d, a b | awk -F, '{ for (i = 1; i <= NF / 2; i++) { d = $i - $(i + NF / 2); if (d < 0) d = -d; if (d > w) w = d } }
    END { printf "largest difference of a probability: %.4f\n", w }'
