#!/usr/bin/env bash
# Fuzzes one reader with libFuzzer (needs clang):
#   tests/fuzz/fuzz.sh TARGET [libFuzzer's options]     TARGET: pickle zip safetensors merges vocab
#                                                          wordpiece
# e.g. tests/fuzz/fuzz.sh pickle -runs=1000000. What it learns goes to $SC_FUZZ_DIR (default /tmp/sc_fuzz),
# a crash-... file there belongs into corpus/TARGET once it is mended.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${1:?"usage: fuzz.sh TARGET [options]"}
shift
[ -f "tests/fuzz/$target.c" ] && [ -d "tests/fuzz/corpus/$target" ] || { echo "fuzz.sh: no target '$target'" >&2; exit 1; }
work=${SC_FUZZ_DIR:-/tmp/sc_fuzz}/$target
mkdir -p "$work/corpus"
rooms=(src/base/*.c src/codec/*.c src/json/*.c src/tensor/*.c)
case $target in
merges | vocab | wordpiece) rooms+=(src/text/*.c) ;;
*) rooms+=(src/weights/*.c) ;;
esac
clang -std=gnu11 -g -O1 -D_GNU_SOURCE -Iinclude -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
    -ffp-contract=off -o "$work/fuzz" "tests/fuzz/$target.c" tests/fuzz/fuzz_file.c "${rooms[@]}" \
    -lcjson -lz -lpcre2-8 -lunistring -lm -pthread
exec "$work/fuzz" -artifact_prefix="$work/" -print_final_stats=1 "$@" "$work/corpus" "tests/fuzz/corpus/$target"
