#!/usr/bin/env bash
# test_comm on 1, 2, 3 and 8 ranks. $1: the build folder.
set -euo pipefail
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0 # MPI keeps memory of its own
for n in 1 2 3 8; do
    timeout 60 mpirun -np "$n" "$1/tests/test_comm" "$n" </dev/null
done
