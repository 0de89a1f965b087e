#!/usr/bin/env bash
# test_cuda_nccl with 1, 2, 3 and 8 ranks.
source "$(dirname "$0")/../app/common.sh"
export CUDA_HOME=$BUILD/tests/cuda/standin SHIM_DEVICES=8 SUPERCLIP_CACHE=
T=$BUILD/tests/test_cuda_nccl
for n in 1 2 3 8; do
    for what in apart shared; do
        ASAN_OPTIONS=$mpi_asan timeout 60 mpirun -np $n "$T" $what >out 2>err </dev/null || die "$n ranks $what"
        [ "$(grep -c ': good' out)" = $n ] || die "$n ranks $what: not all are good"
    done
done
for rank in 0 1; do
    STANDIN_NCCL_START_FAILS=$rank ASAN_OPTIONS=$mpi_asan timeout 60 mpirun -np 3 "$T" unstarted >out 2>err </dev/null ||
        die "NCCL that does not start on rank $rank"
    [ "$(grep -c ': good' out)" = 3 ] || die "NCCL that does not start on rank $rank: not all are good"
done
ASAN_OPTIONS=$mpi_asan timeout 60 mpirun -np 2 "$T" fails >out 2>err </dev/null || true
[ "$(grep -c 'failed as it should' out)" -ge 1 ] || die "a failing peer"
STANDIN_NCCL_VERSION=21000 ASAN_OPTIONS=$mpi_asan timeout 60 mpirun -np 2 "$T" shared >out 2>err </dev/null ||
    die "ranks on one GPU need no NCCL"
[ -z "$(find /tmp -maxdepth 1 -name 'sc-nccl-*' -newer "$WORK")" ] || die "folders of ids are left"
