#!/usr/bin/env bash
# Under mpirun a rank always sees a pseudo terminal: live only when mpirun's own output is one too.
set -u
probe=$1/tests/test_report_console
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 TERM=xterm
export OMPI_MCA_hwloc_base_binding_policy=none
unset NO_COLOR
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
failed=0

expect() { # expect live|plain NAME: of the bytes in $dir/out
    if grep -q $'\x1b' "$dir/out"; then got=live; else got=plain; fi
    if ! grep -q 'Jobs: 1/1 done' "$dir/out"; then got=nothing; fi
    if [ $got = "$1" ]; then echo "ok: $2: $got"; else echo "FAILED: $2: $got, not $1"; failed=1; fi
}

mpirun -np 1 "$probe" probe > "$dir/out" 2> "$dir/err" < /dev/null
expect plain "mpirun into a file"
mpirun -np 1 "$probe" probe 2> "$dir/err" < /dev/null | cat > "$dir/out"
expect plain "mpirun into a pipe"
mpirun -np 1 bash -c "$probe probe; true" > "$dir/out" 2> "$dir/err" < /dev/null
expect plain "mpirun into a file, a shell between"
script -qec "mpirun -np 1 $probe probe" /dev/null > "$dir/out" 2> "$dir/err" < /dev/null
expect live "mpirun on a terminal"
script -qec "mpirun -np 1 bash -c '$probe probe; true'" /dev/null > "$dir/out" 2> "$dir/err" < /dev/null
expect live "mpirun on a terminal, a shell between"
script -qec "mpirun -np 1 $probe probe > $dir/inner" /dev/null > /dev/null 2> "$dir/err" < /dev/null
cp "$dir/inner" "$dir/out"
expect plain "mpirun on a terminal, into a file"
script -qec "$probe probe" /dev/null > "$dir/out" 2> "$dir/err" < /dev/null
expect live "alone on a terminal"
exit $failed
