#!/bin/bash
# walls.sh ROOT: reads the source tree under ROOT against the house rules and prints every breach as
# FILE:LINE: what. Exit 1 when there is one.
set -u -o pipefail
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
cd "$1" || exit 2
breaches=0
lists=$(mktemp -d) || exit 2
trap 'rm -rf "$lists"' EXIT

find src include tools -type f | sort > "$lists/all"
grep -E '\.(c|h|cu|cuh|def)$' "$lists/all" > "$lists/code"
ls include/superclip > "$lists/headers"

# 1. #include lines, ends of the process.
xargs -a "$lists/code" awk -v table="$here/rooms.txt" -v headers="$lists/headers" \
    -f "$here/walls.awk" || breaches=1

# 2. Nothing is left for later.
marks=$(xargs -a "$lists/all" grep -InwE 'TODO|FIXME|XXX|HACK')
if [ -n "$marks" ]; then
    sed 's/^\([^:]*:[0-9]*:\).*/\1 a note for later; finish it or write what is so/' <<< "$marks"
    breaches=1
fi

# 3. A file that nobody can hold in his head; a table that a script wrote need not be.
while read -r file; do
    head -n 1 "$file" | grep -q "Written by [a-z_]*\.py" && continue
    lines=$(wc -l < "$file")
    if [ "$lines" -gt 500 ]; then
        echo "$file:501: $lines lines; split it (at most 500)"
        breaches=1
    fi
done < "$lists/all"

# 4. A source that no build file lists is never compiled: it rots.
while read -r file; do
    folder=$(dirname "$file") name=$(basename "$file") lists_it=
    while [ "$folder" != . ] && [ -z "$lists_it" ]; do
        for build in "$folder"/CMakeLists.txt "$folder"/*.cmake; do
            [ -f "$build" ] && grep -qE "(^|[^A-Za-z0-9_.-])${name//./\\.}([^A-Za-z0-9_.-]|\$)" "$build" &&
                lists_it=$build
        done
        folder=$(dirname "$folder")
    done
    if [ -z "$lists_it" ]; then
        echo "$file:1: no CMakeLists.txt or .cmake file lists it"
        breaches=1
    fi
done < <(grep -E '\.(c|cu)$' "$lists/code")

# 5. What a room's target links is what it may include.
for build in src/*/CMakeLists.txt src/backend/*/CMakeLists.txt; do
    [ -f "$build" ] || continue
    room=${build#src/} room=${room%/CMakeLists.txt}
    allowed=" $(awk -v room="$room" '$1 == "room" && $2 == room {
        sub(/#.*/, ""); for (i = 3; i <= NF; i++) printf "%s ", $i }' "$here/rooms.txt")"
    [ "$allowed" = " * " ] && continue
    for used in $(tr '\n' ' ' < "$build" | grep -oE 'sc_room\([^)]*\)' | grep -oE 'ROOMS [^)]*' |
        sed -E 's/ROOMS //; s/ (VENDOR|SOURCES) .*//'); do
        case $allowed in
        *" $used "*) ;;
        *)
            echo "$build:1: room $room may not link room $used (tests/house/rooms.txt)"
            breaches=1
            ;;
        esac
    done
done
exit $breaches
