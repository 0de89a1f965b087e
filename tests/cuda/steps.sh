#!/usr/bin/env bash
# test_cuda_step_ranks with 2 and 3 ranks; one alone is cuda_step's.
source "$(dirname "$0")/../app/common.sh"
export CUDA_HOME=$BUILD/tests/cuda/standin SHIM_DEVICES=3 SUPERCLIP_CACHE=
T=$BUILD/tests/test_cuda_step_ranks
good() { # RANKS WHAT
    ASAN_OPTIONS=$mpi_asan timeout 120 mpirun -np "$1" "$T" "$2" >out 2>err </dev/null || die "$1 ranks $2"
    [ "$(grep -c ': good' out)" = "$1" ] || die "$1 ranks $2: not all are good"
}
good 2 apart
good 3 apart
good 2 shared
good 2 lost
ASAN_OPTIONS=$mpi_asan timeout 60 mpirun -np 2 "$T" fails >out 2>err </dev/null || true
[ "$(grep -c 'failed as it should' out)" -ge 1 ] || die "a failing peer"
