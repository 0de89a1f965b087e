#!/usr/bin/env bash
# Does the CUDA backend compute on this machine's GPU what it has to, and how fast beside PyTorch? One report, in
# under nine minutes, from an unpacked bundle (tools/bundle.sh) or a build; needs bash and the GPU's driver alone.
#   tools/gpu_check.sh [--out gpu_report.md] [--bin DIR] [--seconds 530] [--small]
# --bin     the folder of gpu_check and sc_mpi: ../bin of a bundle, else build/bin
# --small   tiny models, few ops: does the check itself work?
# What has to hold comes first, and the report grows row by row: cut short it is as good as it is long. A stage that
# hangs or breaks costs only itself. PyTorch's part needs a python3 with torch (PYTHON names another),
# the look for bad memory accesses compute-sanitizer; what is not there is said to be not run.
# Exit: 0 everything that ran passed, 1 something failed, 2 usage or no GPU.
set -uo pipefail

usage() {
    echo "gpu_check.sh: error: $*" >&2
    exit 2
}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=gpu_report.md bin= small= most=530
while [ $# -gt 0 ]; do
    case $1 in
    --out | --bin | --seconds)
        [ $# -gt 1 ] || usage "$1 needs a value"
        case $1 in
        --out) out=$2 ;;
        --bin) bin=$2 ;;
        --seconds) most=$2 ;;
        esac
        shift
        ;;
    --small) small=--small ;;
    -h | --help)
        sed -n '2,10s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    *) usage "unknown option '$1'; see --help" ;;
    esac
    shift
done
[[ $most =~ ^[0-9]{1,5}$ ]] || usage "--seconds $most: it has to be a number"
for folder in "$bin" "$here/../bin" "$here/../build/bin"; do
    [ -n "$folder" ] && [ -x "$folder/gpu_check" ] && break
    [ -z "$bin" ] || usage "no gpu_check in $bin"
done
[ -x "$folder/gpu_check" ] || usage "no gpu_check in $here/../bin or $here/../build/bin; --bin names its folder"
bin=$(cd "$folder" && pwd)
mkdir -p "$(dirname "$out")" && : >"$out" || usage "cannot write $out"
out=$(cd "$(dirname "$out")" && pwd)/$(basename "$out")
python=${PYTHON:-python3}
scripts=$here/bench oracle=$here/../tests/oracle # of a source folder; a bundle has them beside this file
[ -d "$scripts" ] || scripts=$here
[ -d "$oracle" ] || oracle=$here/oracle
work=$(mktemp -d "${TMPDIR:-/tmp}/gpu_check.XXXXXX")
compiling=()
trap 'kill "${compiling[@]}" 2>/dev/null; rm -rf "$work"' EXIT
export SUPERCLIP_CACHE="${SUPERCLIP_CACHE:-$work/plans}"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 PYTHONUNBUFFERED=1
failures=0 began=$SECONDS
broken=FAIL # the verdict on a stage that breaks

# ---- the report ------------------------------------------------------------------------------------------
say() { printf '%s\n' "$*" | tee -a "$out"; }
cell() { printf '%s' "$*" | tr '\n|' ' /' | cut -c1-400; }
row() { # WHAT VERDICT WORDS
    say "| $1 | $2 | $(cell "$3") |"
    [ "$2" != FAIL ] || failures=$((failures + 1))
}
section() {
    say ""
    say "## $1"
    say ""
    say "| check | verdict | figures |"
    say "|---|---|---|"
}
# stage NAME SECONDS COMMAND...: rows that it prints go into the report; a hang, a crash or an exit without a row
# becomes one. Its output stays in $work/out, its exit code in $code.
stage() {
    local name=$1 limit=$2 left=$((most - SECONDS + began)) bad
    shift 2
    code=0
    : >"$work/out"
    if [ $left -lt 5 ]; then
        row "$name" "NOT RUN" "the time was up"
        code=125
        return 1
    fi
    [ "$limit" -le $left ] || limit=$left
    timeout -k 5 "$limit" "$@" >"$work/out" 2>"$work/err" </dev/null || code=$?
    awk '/^\| check \|/ || /^\|---/ || /^\| .* \|$/ || /^```/ || inside { print } /^```/ { inside = !inside; if (!inside) print "" }' \
        "$work/out" | tee -a "$out"
    bad=$(grep -cE '^\| [^|]* \| FAIL \|' "$work/out")
    failures=$((failures + bad))
    if [ $code = 124 ] || [ $code = 137 ]; then
        row "$name" "$broken" "no end within $limit s"
    elif [ $code != 0 ] && [ "$bad" = 0 ]; then
        row "$name" "$broken" "exit $code: $(grep -v '^ *$' "$work/err" "$work/out" -h | tail -n 2)"
    fi
    return $code
}

# ---- the machine -----------------------------------------------------------------------------------------
# The plugin finds NVIDIA's libraries by CUDA_HOME, the loader, or in the active Python environment: PyTorch's is it.
has_torch='' torch_words="no python3"
if command -v "$python" >/dev/null; then
    torch_words=$(timeout 100 "$python" -c 'import sys, torch
print(sys.prefix, "PyTorch", torch.__version__, "CUDA", torch.version.cuda, "cuDNN", torch.backends.cudnn.version())' 2>&1 | tail -n 1)
    if [[ $torch_words = /*" PyTorch "* ]]; then
        has_torch=1
        export VIRTUAL_ENV="${VIRTUAL_ENV:-${torch_words%% *}}"
    fi
fi
say "# GPU check of $("$bin/sc_mpi" --version 2>/dev/null | head -n 1)"
say ""
say "- $(date -u '+%Y-%m-%d %H:%M UTC'), $(uname -srm), $(nproc) cores,$(sed -n 's/^model name[^:]*:/ /p' /proc/cpuinfo | head -n 1)"
gpus=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU ')
if command -v nvidia-smi >/dev/null; then
    while read -r line; do say "- $line"; done < <(nvidia-smi --query-gpu=name,memory.total,driver_version,clocks.max.sm --format=csv,noheader 2>&1 | head -n 8)
else
    say "- no nvidia-smi"
fi
# Open MPI starts on no machine without an interface, and some virtual ones leave even this one down.
loopback=$( (exec 3<>/dev/tcp/127.0.0.1/1) 2>&1)
if [[ $loopback = *unreachable* ]]; then
    if ip link set lo up 2>/dev/null; then
        say "- the loopback interface was down: it is up now"
    else
        say "- the loopback interface is down: Open MPI may not start (ip link set lo up)"
    fi
fi
say "- CUDA_HOME=${CUDA_HOME:-} LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-} CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-all}"
say "- $python: $(cell "$torch_words")"
section "The device"
if ! stage "device" 60 "$bin/gpu_check" device $small; then
    say ""
    say "No GPU that this build can use: nothing else was run."
    exit 2
fi
stage "libraries" 60 "$bin/gpu_check" libraries $small

# Meanwhile PyTorch compiles its steps, so that they are in its cache when they are timed.
if [ -n "$has_torch" ] && [ -z "$small" ]; then
    for batch in 32 256; do
        timeout -k 5 170 nice "$python" "$scripts/gpu_step_torch.py" compile --batch $batch --steps 1 >/dev/null 2>&1 </dev/null &
        compiling+=($!)
    done
fi

# ---- correctness -----------------------------------------------------------------------------------------
section "Every op against the reference: fp32 and bf16; forward, backward, accumulating, evaluation; twice the same bytes"
ops=$("$bin/gpu_check" --list-ops)
[ -z "$small" ] || ops="batch_norm linear attention"
for op in $ops; do stage "$op" 60 "$bin/gpu_check" ops --op "$op" $small; done
section "Whole steps"
stage "whole step" 120 "$bin/gpu_check" step $small
stage "same bytes" 90 "$bin/gpu_check" same $small

# ---- training --------------------------------------------------------------------------------------------
[ ${#compiling[@]} = 0 ] || wait "${compiling[@]}" # nothing beside what is timed
section "Training by sc_mpi"
model='"image_encoder": "resnet18", "text_encoder": "clip:ViT-B/32", "img_size": 96, "batch_size": 32'
images=450 epochs=4 fold_epochs=2 folds=5
[ -z "$small" ] || model='"image_encoder": "resnet-tiny", "text_encoder": "clip:tiny", "img_size": 32, "embed_dim": 16, "batch_size": 8'
[ -z "$small" ] || images=27 epochs=2 fold_epochs=1 folds=3
keys="\"pretrained\": false, \"learning_rate\": 3e-4, \"use_superclip_loss\": true, \"num_workers\": 2, $model"
echo "[{\"name\": \"one\", \"epochs\": $epochs, \"use_cv\": false, \"n_splits\": $folds, $keys}]" >"$work/one.json"
echo "[{\"name\": \"folds\", \"epochs\": $fold_epochs, \"n_splits\": $folds, $keys}]" >"$work/folds.json"
train() { # CONFIG DIR [OPTION...]
    local config=$1 dir=$2
    shift 2
    "$bin/sc_mpi" "$work/$config.json" --data-dir "$work/pictures" --output-dir "$work/$dir" --log-dir "$work/logs" \
        --cache-dir "$work/cache" --backend cuda --gpus 0 "$@"
}
train_ranks() { # CONFIG DIR GPUS [OPTION...]
    local config=$1 dir=$2 gpus=$3 launcher=mpirun
    shift 3
    [ ! -x "$bin/mpirun" ] || launcher=$bin/mpirun
    "$launcher" --oversubscribe -np 2 "$bin/sc_mpi" "$work/$config.json" --data-dir "$work/pictures" --output-dir "$work/$dir" \
        --log-dir "$work/logs" --cache-dir "$work/cache" --backend cuda --gpus "$gpus" --group-size 2 "$@"
}
losses() { tr -d ' \n' <"$work/$1/$2/fold_1/history.json" | sed -n 's/.*"train_loss":\[\([^]]*\)\].*/\1/p'; }
same_run() { # DIR DIR: the results that no time is in
    local f
    for f in $(cd "$work/$1" && find . -name '*.pth' -o -name history.json | sort); do
        cmp -s "$work/$1/$f" "$work/$2/$f" || { echo "$f differs"; return 1; }
    done
    [ -n "$(find "$work/$1" -name '*.pth')" ] || { echo "no checkpoints"; return 1; }
}
compare() { # WHAT DIR DIR
    if words=$(same_run "$2" "$3"); then
        row "$1" PASS "checkpoints and histories have the same bytes"
    else
        row "$1" FAIL "$words"
    fi
}
export -f train train_ranks
export bin work
"$bin/make_demo_data" "$work/pictures" --images $images --size-min 100 --size-max 120 --seed 1 >/dev/null
timed() { # NAME SECONDS COMMAND...: $took
    local begin=${EPOCHREALTIME/[.,]/}
    stage "$@" || return
    took=$(((${EPOCHREALTIME/[.,]/} - begin) / 1000))
}
if timed "training" 120 bash -c 'train one a'; then
    all=$(losses a one)
    if awk -v l="$all" 'BEGIN { n = split(l, v, ","); for (i = 1; i <= n; i++) if (v[i] !~ /^-?[0-9.]+(e-?[0-9]+)?$/) exit 1
                        exit !(n > 1 && v[n] + 0 < v[1] + 0) }'; then
        row "training" PASS "losses of $epochs epochs: $all; $took ms with packing"
    else
        row "training" FAIL "the losses of $epochs epochs do not fall or are not finite: $all"
    fi
    timed "training again" 90 bash -c 'train one b' && compare "the same training again" a b
    options=$("$bin/sc_mpi" --help)
    if [[ $options = *--no-graph* ]]; then
        stage "training without a graph" 90 bash -c 'train one c --no-graph' && compare "graph and --no-graph" a c
    fi
    if [[ $options = *--jobs-per-gpu* ]] && timed "$folds folds, one after the other" 120 bash -c 'train folds f1 --jobs-per-gpu 1'; then
        one=$took
        if timed "$folds folds at once" 120 bash -c 'train folds f5 --jobs-per-gpu '$folds; then
            compare "$folds folds at once and one after the other" f5 f1
            row "$folds folds" measured "one after the other $one ms, at once $took ms: $(awk "BEGIN { printf \"%.2f\", $one / $took }") times as fast (whole runs, start included; goal 1.5)"
        fi
    fi
    near_first() { # DIR: the first loss is that of one rank, to rounding
        awk -v a="$(losses "$1" one)" -v b="$all" 'BEGIN { split(a, x, ","); split(b, y, ","); d = x[1] - y[1]; t = 0.03 * y[1]
                                                          exit !(x[1] + 0 > 0 && d <= t && d >= -t) }'
    }
    ranks() { # WHAT DIR GPUS [OPTION...]: two ranks share the job
        local what=$1 dir=$2 gpus=$3
        shift 3
        stage "$what" 90 bash -c 'train_ranks one "$@"' - "$dir" "$gpus" "$@" || return
        if near_first "$dir"; then
            row "$what" PASS "losses $(losses "$dir" one)$(sed -n 's/.*\(GPUs do not talk.*\)/; \1/p' "$work/out" "$work/err" | head -n 1)"
        else
            row "$what" FAIL "losses $(losses "$dir" one), of one rank $all"
        fi
    }
    if command -v "$bin/mpirun" mpirun >/dev/null; then
        ranks "two ranks on one GPU, through the host" r1 0
        if [ "$gpus" -gt 1 ]; then
            ranks "two ranks with a GPU each, NCCL" r2 0,1
            ranks "the same again" r3 0,1 && compare "NCCL twice" r2 r3
            ranks "NCCL without a graph" r4 0,1 --no-graph && compare "NCCL, graph and --no-graph" r2 r4
        else
            row "two ranks with a GPU each, NCCL" "NOT RUN" "one GPU"
        fi
    else
        row "two ranks" "NOT RUN" "no mpirun"
    fi
    if [ -n "$has_torch" ] && [ -f "$oracle/replay_steps.py" ]; then
        stage "steps to be repeated" 60 bash -c 'train one d --no-amp --dump-steps 2 "$work/steps"'
        steps=$(dirname "$(find "$work/steps" -name 'step_0001*' 2>/dev/null | head -n 1)")
        stage "PyTorch repeats the steps" 120 "$python" "$oracle/replay_steps.py" "$steps" --run "$work/d/one" --data "$work/pictures"
        words=$(grep -E '^(features|losses|gradients|statistics|update|pixels) ' "$work/out" | awk '{ printf "%s %s (%s) %s; ", $1, $2, $3, $4 }')
        [ $code != 0 ] || row "two steps repeated in PyTorch, fp32" PASS "$words"
        [ $code = 0 ] || [ -z "$words" ] || row "two steps repeated in PyTorch, fp32" FAIL "$words"
    else
        row "steps repeated in PyTorch" "NOT RUN" "$python has no torch"
    fi
fi

# ---- speed -----------------------------------------------------------------------------------------------
section "Speed: resnet18 + CLIP text tower, 224 px, 9 texts of 12 tokens, bf16, one GPU (--small: tiny models, no speed)"
rates=()
torch_options=()
[ -z "$small" ] || torch_options=(--batch 2 --size 32 --vocabulary 600 --steps 1 --ceiling 256)
torch_row() { # NAME SECONDS WORDS...
    if [ -n "$has_torch" ]; then
        broken="NOT RUN" # PyTorch's trouble is not ours
        stage "PyTorch $3" "$2" "$python" "$scripts/gpu_step_torch.py" "${@:3}" "${torch_options[@]}"
        broken=FAIL
        return $code
    else
        row "PyTorch $3" "NOT RUN" "$python has no torch"
        return 1
    fi
}
torch_row ceilings 60 ceilings && if [[ $(<"$work/out") =~ tflops=([0-9.]+).*tbytes=([0-9.]+) ]]; then
    rates=(--tflops "${BASH_REMATCH[1]}" --tbytes "${BASH_REMATCH[2]}")
fi
steps=()
[ -z "$small" ] || steps=(--steps 1)
stage "speed" 90 "$bin/gpu_check" speed $small "${steps[@]}"
for how in eager graph; do torch_row $how 60 $how; done
stage "profile" 60 "$bin/gpu_check" profile $small "${rates[@]}" "${steps[@]}"

# ---- bad accesses ----------------------------------------------------------------------------------------
sanitize() { # TOOL
    local op
    if ! command -v compute-sanitizer >/dev/null; then
        row "$1" "NOT RUN" "compute-sanitizer is not on PATH"
        return
    fi
    for op in batch_norm max_pool attention layer_norm augment superclip_loss embed depthwise_conv2d channel_norm; do
        [ $((most - SECONDS + began)) -ge 5 ] || { row "$1" "NOT RUN" "the time was up, from $op on"; break; }
        code=0
        timeout -k 5 40 compute-sanitizer --tool "$1" --target-processes all --error-exitcode 9 "$bin/gpu_check" ops --op $op --small \
            >"$work/out" 2>&1 </dev/null || code=$?
        case $code in
        0) row "$1, $op" PASS "$(grep 'ERROR SUMMARY' "$work/out" | tail -n 1 | tr -d '=')" ;;
        124 | 137) row "$1, $op" "NOT RUN" "no end within 40 s" ;;
        *)
            words=$(grep -E 'Error|Invalid|hazard|Race|ERROR SUMMARY|FAIL' "$work/out" | head -n 3)
            # Some virtual machines have devices that it cannot look into.
            [[ $words != *"not supported"* ]] || { row "$1" "NOT RUN" "$words"; break; }
            row "$1, $op" FAIL "exit $code: ${words:-$(tail -n 2 "$work/out")}"
            ;;
        esac
    done
}
section "compute-sanitizer over the own kernels: bad accesses"
sanitize memcheck

# ---- what takes longest ----------------------------------------------------------------------------------
section "Speed of PyTorch's compiled step"
for how in compile compile_graph; do torch_row $how 120 $how; done
median() { # PATTERN: of the row's milliseconds
    sed -n "s/^| $1 | measured | median \([0-9.]*\) ms.*/\1/p" "$out" | head -n 1
}
for batch in 32 256; do
    ours=$(median "step of batch $batch, bf16")
    [ -n "$ours" ] || continue
    words="$ours ms, $(awk "BEGIN { printf \"%.0f\", $batch / $ours * 1000 }") images/s"
    for how in eager graph compile compile_graph; do
        theirs=$(median "PyTorch [^ ]* $how, batch $batch, bf16")
        [ -z "$theirs" ] || words="$words; $how $theirs ms: $(awk "BEGIN { printf \"%.2f\", $theirs / $ours }") times"
    done
    row "beside PyTorch, batch $batch" measured "$words"
done

section "compute-sanitizer over the own kernels: races"
sanitize racecheck

say ""
if [ $failures = 0 ]; then
    say "**Everything that ran passed** ($((SECONDS - began)) s)."
else
    say "**$failures checks failed** ($((SECONDS - began)) s)."
fi
[ $failures = 0 ]
