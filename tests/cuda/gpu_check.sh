#!/usr/bin/env bash
# gpu_check and tools/gpu_check.sh with the plugin on what stands in for NVIDIA's runtime and libraries: the whole
# report, small; what is wrong is told as a failure, what is not there as not run, and a hang costs its stage alone.
SOURCE=$(cd "$(dirname "$0")/../.." && pwd)
source "$SOURCE/tests/app/common.sh"
mkdir bin
cp "$BUILD/bin/gpu_check" "$BUILD/bin/sc_mpi" "$BUILD/bin/make_demo_data" "$BUILD/tests/cuda/standin/plugin/libsc_cuda.so" bin/
export CUDA_HOME=$BUILD/tests/cuda/standin PYTHON=no-such-python SHIM_DEVICES=2
mkdir tools
# What the machine would have: two GPUs, and no compute-sanitizer.
printf '#!/bin/sh\n[ "$1" = -L ] || exit 0\nprintf "GPU 0: fibres\\nGPU 1: fibres\\n"\n' >tools/nvidia-smi
chmod +x tools/nvidia-smi
PATH=$WORK/tools:$PATH
export ASAN_OPTIONS=$mpi_asan
check() { # EXPECTED ARGUMENT...: exit code; the report is in report.md
    local want=$1 rc=0
    shift
    bash "$SOURCE/tools/gpu_check.sh" --bin bin --out report.md --small "$@" >out 2>err || rc=$?
    [ $rc = "$want" ] || die "exit $rc, not $want, of: $*"
}
reported() { # PATTERN: a line of the report
    grep -qE -- "$1" report.md || die "the report has no line '$1'"
}

check 0
cmp out report.md || die "the report on the screen is another one"
! grep -q '| FAIL |' report.md || die "a failure"
for line in '^\| device \| PASS \| cuda: GPU 0, fibres' \
    "^\\| cuDNN \\| PASS \\| 91900 of $BUILD/.*standin/lib/libcudnn_graph" '^\| cuBLASLt \| PASS \| 130100 of ' \
    '^\| two ranks on one GPU, through the host \| PASS \| losses [0-9.,]+; GPUs do not talk' \
    '^\| two ranks with a GPU each, NCCL \| PASS \| losses [0-9.,]+ \|' '^\| NCCL twice \| PASS ' \
    '^\| NCCL, graph and --no-graph \| PASS ' \
    '^\| batch_norm, bf16 \| PASS \| ' '^\| attention, fp32 \| PASS ' \
    '^\| whole step, fp32, against the CPU \| PASS ' '^\| whole step, bf16, against the CPU \| PASS ' \
    '^\| the same seed again, bf16 \| PASS ' '^\| graph and no graph, fp32 \| PASS ' '^\| training \| PASS \| losses of 2 ' \
    '^\| the same training again \| PASS ' '^\| graph and --no-graph \| PASS ' '^\| 3 folds at once and one after the other \| PASS ' \
    '^\| step of batch 6, bf16 \| measured \| median [0-9.]+ ms' '^\| roofline of batch 6, bf16 \| measured ' \
    '^\| PyTorch compile \| NOT RUN \| no-such-python has no torch' '^\*\*Everything that ran passed'; do
    reported "$line"
done

# A GPU that computes something else, one that hangs, none at all, too little time.
cp bin/gpu_check real
cat >bin/gpu_check <<'END'
#!/bin/sh
case "$*" in
*"--op linear"*) echo '| linear, fp32 | FAIL | off by 7 tolerances |'; exit 1 ;;
*"--op attention"*) echo '| attention, fp32 | PASS | before the fall |'; kill -SEGV $$ ;;
libraries*|ops*|step*|same*|speed*|profile*) exit 0 ;;
esac
exec ./real "$@"
END
cp "$BUILD/tests/cuda/standin/plugin/libsc_cuda.so" . # beside `real`
printf '#!/bin/sh\ncase "$*" in *--version|*--help) exit 0 ;; esac\nexit 3\n' >bin/sc_mpi
check 1
reported '^\| linear, fp32 \| FAIL \| off by 7 '
reported '^\| attention, fp32 \| PASS '
reported '^\| attention \| FAIL \| exit 139: '
reported '^\| training \| FAIL \| exit 3: '
reported '^\*\*3 checks failed'
sed -i 's/^\*"--op linear"\*) .*/*"--op linear"*) sleep 100 ;;/' bin/gpu_check
check 1 --seconds 12
reported '^\| linear \| FAIL \| no end within [0-9]+ s'
reported '^\| attention \| NOT RUN \| the time was up'
rm -f libsc_cuda.so
check 2
reported '^\| device \| FAIL \| exit 1: gpu_check: error: this build has no CUDA backend'
reported '^No GPU that this build can use'
for wrong in '--seconds x' '--cuda' '--bin nowhere'; do
    # shellcheck disable=SC2086
    check 2 $wrong
    [ "$(wc -l <err)" = 1 ] || die "not one line of $wrong"
done
rc=0
for wrong in 'speed --op nothing' 'everything' '--batch 1' '--tflops -3'; do
    # shellcheck disable=SC2086
    "$BUILD/bin/gpu_check" $wrong >out 2>err && die "taken: $wrong"
    [ "$(wc -l <err)" = 1 ] && grep -q '^gpu_check: error: ' err || die "not one line of $wrong"
done
