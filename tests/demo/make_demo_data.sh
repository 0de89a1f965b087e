#!/usr/bin/env bash
# make_demo_data: the same arguments give the same bytes, all classes and formats are there, mistakes exit 1.
set -euo pipefail
tool=$1/bin/make_demo_data
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
fail() { echo "make_demo_data.sh: $*" >&2; exit 1; }

"$tool" "$dir/a" --images 120 --seed 5 --size-min 40 --size-max 64 >"$dir/out"
"$tool" "$dir/b" --images 120 --seed 5 --size-min 40 --size-max 64 >/dev/null
"$tool" "$dir/c" --images 120 --seed 6 --size-min 40 --size-max 64 >/dev/null
diff -r "$dir/a" "$dir/b" || fail "two runs differ"
if diff -rq "$dir/a" "$dir/c" >/dev/null; then fail "another seed gives the same pictures"; fi
[ "$(find "$dir/a" -type f | wc -l)" = 120 ] || fail "not 120 pictures"
[ "$(find "$dir/a" -mindepth 1 -maxdepth 1 -type d | wc -l)" = 9 ] || fail "not nine classes"
for extension in jpg JPG jpeg png bmp tif tiff webp; do
    [ -n "$(find "$dir/a" -name "*.$extension" -print -quit)" ] || fail "no .$extension"
done
"$tool" "$dir/few/" --images 9 --size-min 32 --size-max 32 >/dev/null
[ "$(find "$dir/few" -type f | wc -l)" = 9 ] || fail "not one picture a class"

refuse() { # EXPECTED ARGUMENT...
    local expected=$1 code=0
    shift
    "$tool" "$@" >"$dir/out" 2>"$dir/err" || code=$?
    [ $code = 1 ] || fail "'$*' exits with $code"
    [ "$(wc -l <"$dir/err")" = 1 ] || fail "'$*': not one line: $(cat "$dir/err")"
    grep -q -- "$expected" "$dir/err" || fail "'$*' says: $(cat "$dir/err")"
}
refuse 'exists already' "$dir/a"
refuse 'missing'
refuse 'more than one' "$dir/x" "$dir/y"
refuse 'unknown option --colour' "$dir/x" --colour red
refuse 'needs a value' "$dir/x" --seed
refuse '--images 8' "$dir/x" --images 8
refuse '--images 12x' "$dir/x" --images 12x
refuse '--seed -1' "$dir/x" --seed -1
refuse 'above --size-max' "$dir/x" --size-min 300 --size-max 200
touch "$dir/file"
refuse "$dir/file" "$dir/file/x"
[ ! -e "$dir/x" ] || fail "a refused call left a folder"
[ -z "$(find "$dir" -name '*.part.*')" ] || fail "a temporary folder was left"
"$tool" --help | grep -q -- '--images' || fail "no help"
