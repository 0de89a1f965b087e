#!/bin/sh
# Packing 1000 px JPEG on one core against Pillow's decode + resize, both in one run.
# Usage: pack_compare.sh BUILD_DIR [PYTHON with Pillow and numpy]
set -e
here=$(cd "$(dirname "$0")" && pwd)
build=${1:?usage: pack_compare.sh BUILD_DIR [PYTHON]}
python=${2:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" "$here/pack_pillow.py" make "$folder"
run() { taskset -c 0 "$@" 2>/dev/null || "$@"; }
for round in 1 2; do
    ours=$(run "$build/bin/pack_bench" "$folder" 4)
    theirs=$(run "$python" "$here/pack_pillow.py" run "$folder" 4)
done
echo "ours:   $ours"
echo "Pillow: $theirs"
echo "$ours|$theirs" | sed 's/.*decode+resize \([0-9.]*\) ms|.*decode+resize \([0-9.]*\) ms/\1 \2/' |
    awk '{printf "packing 1000 px JPEG against Pillow: %.2fx\n", $2 / $1}'
