#!/bin/bash
# The house test: the source tree keeps its walls, and the reader of the walls sees each kind of breach.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
failures=0

# A tiny house without a breach, in which each breach is planted alone.
build_house() {
    rm -rf "$work/house"
    mkdir -p "$work/house"/{include/superclip,src/{base,json,data,comm,backend/cpu,app},tools}
    cd "$work/house" || exit 2
    for room in base json data comm backend tensor config; do
        echo '#include <stddef.h>' > include/superclip/$room.h
    done
    printf '#include "superclip/base.h"\n#include "part.h"\nint one(void);\n' > src/json/read.c
    echo '#include <cjson/cJSON.h>' > src/json/part.h
    echo 'sc_room(json SOURCES read.c ROOMS base)' > src/json/CMakeLists.txt
    printf '/* abort() in words */\nvoid f(struct w *w) { w->abort(w); puts("exit(1)"); } // exit(2)\n' \
        > src/base/f.c
    echo 'sc_room(base SOURCES f.c)' > src/base/CMakeLists.txt
    printf '#include <mpi.h>\nvoid end(void) { MPI_Abort(0, 1); }\n' > src/comm/end.c
    echo 'sc_room(comm SOURCES end.c ROOMS base)' > src/comm/CMakeLists.txt
    printf '#include "superclip/data.h"\n#include "superclip/comm.h"\nint main(void) { exit(0); }\n' \
        > src/app/main.c
    echo 'sc_program(main SOURCES main.c ROOMS data)' > src/app/CMakeLists.txt
    printf '#include "superclip/json.h"\nint main(void) { exit(1); }\n' > tools/t.c
    echo 'sc_program(t SOURCES t.c ROOMS json)' > tools/t.cmake
}

# planted FILE LINE EXPECTED: FILE gets LINE at its end; the reader has to name FILE and say EXPECTED.
planted() {
    build_house
    mkdir -p "$(dirname "$1")"
    printf '%s\n' "$2" >> "$1"
    at=$(wc -l < "$1")
    if out=$("$BASH" "$here/walls.sh" "$work/house"); then
        echo "FAILED: not seen: $1: $2"
        failures=1
    elif ! grep -qE "^$1:($at|1): .*$3" <<< "$out"; then
        echo "FAILED: $1: $2: told as: $out"
        failures=1
    fi
}

build_house
if ! out=$("$BASH" "$here/walls.sh" "$work/house"); then
    echo "FAILED: a sound house is refused: $out"
    failures=1
fi
planted src/json/read.c '#include "superclip/data.h"' 'room json may not include superclip/data.h'
planted include/superclip/base.h '#include "superclip/json.h"' 'room base may not include'
planted src/base/f.c '  #  include "superclip/json.h"' 'room base may not include'
planted src/json/read.c '#include "../base/private.h"' 'private header .* is not of room json'
planted src/json/read.c '#include "../../include/superclip/base.h"' 'not a path into include'
planted src/json/read.c '#include "superclip/nothing.h"' 'no header include/superclip/nothing.h'
planted src/base/f.c '#include <cjson/cJSON.h>' 'only home in json, not in base'
planted src/json/read.c '#include <zlib.h>' 'only home in codec'
planted src/base/f.c '#include <mpi.h>' 'only home in comm'
planted tools/t.c '#include <hdf5.h>' 'only home in data'
planted src/base/f.c '#include <curl/curl.h>' 'neither libc nor a library with a home'
planted src/base/f.c '#include <superclip/base.h>' 'in quotes'
planted src/base/f.c 'void g(void) { exit(1); }' 'may end the process'
planted src/base/f.c '/* x */ void g(void) { if (1) abort (); }' 'may end the process'
planted src/json/part.h 'static void g(void) { _exit(1); }' 'may end the process'
planted src/app/main.c 'void g(void) { MPI_Abort(0, 1); }' 'belongs to comm'
planted src/base/f.c '/* TO''DO: later */' 'a note for later'
planted tools/t.c '// FIX''ME' 'a note for later'
planted src/json/extra.c 'int x;' 'lists it'
planted tools/u.c 'int x;' 'lists it'
planted src/backend/loose.c 'int x;' 'room backend/\? is not in'
planted src/kitchen/k.c 'int x;' 'room kitchen is not in'
planted src/json/CMakeLists.txt 'sc_room(json SOURCES read.c ROOMS base data)' 'may not link room data'
planted include/superclip/data.h "$(yes 'int x;' | head -n 500)" 'split it'

build_house
seq 1 600 | sed 's/.*/int x;/' > include/superclip/data.h
"$BASH" "$here/walls.sh" "$work/house" | grep -q '^include/superclip/data.h:501: 600 lines' || {
    echo "FAILED: a long file is not seen"
    failures=1
}

"$BASH" "$here/walls.sh" "$root" || failures=1
exit $failures
