#!/usr/bin/env bash
# slurm/superclip.sbatch in a real Slurm: the signal before the time limit, checkpoint, exit 42, requeue,
# resume, end. $1: the build folder. Skipped (77) when not root or without Slurm.
tests=$(cd "$(dirname "$0")/.." && pwd)
source "$tests/app/common.sh"
mini=$tests/slurm/mini_slurm.sh
sbatch=$tests/../slurm/superclip.sbatch
trap 'bash "$mini" down "$WORK/slurm"; rm -rf "$WORK"' EXIT
bash "$mini" up "$WORK/slurm" || exit $?
export SLURM_CONF=$WORK/slurm/slurm.conf
export SC_MPI=$SC

"$PROBE" images data 9 12 7
config '"name": "job", "use_superclip_loss": true,' >c.json
args=(c.json --data-dir data --cache-dir cache --log-dir logs --set use_cv=false --group-size 2)

# How many epochs take about 20 seconds: Slurm sends the signal some ten seconds after the start.
ok 2 "${args[@]}" --output-dir warm --epochs 1
begin=$(date +%s%N)
ok 2 "${args[@]}" --output-dir timing --epochs 60
ms=$((($(date +%s%N) - begin) / 1000000))
epochs=$((60 * 20000 / (ms > 300 ? ms - 250 : 50)))
[ $epochs -lt 4000 ] || epochs=4000

state() { scontrol show job "$1" | sed -n "s/.* \{0,1\}$2=\([^ ]*\).*/\1/p" | head -1; }

job=$(sbatch --parsable --time=1 --signal=B:USR1@45 --nodes=1 --ntasks-per-node=2 --output=job.out "$sbatch" \
    "${args[@]}" --output-dir results --epochs $epochs)
for ((i = 0; i < 400; i++)); do
    case $(state "$job" JobState) in
    COMPLETED | FAILED | TIMEOUT | CANCELLED | NODE_FAIL) break ;;
    PENDING) # a requeued job waits two minutes; not in a test
        [ "$(state "$job" Reason)" != BeginTime ] || scontrol update JobId="$job" StartTime=now ;;
    esac
    sleep 0.3
done
cp job.out out
[ "$(state "$job" JobState)" = COMPLETED ] || die "job $job: $(state "$job" JobState)"
restarts=$(state "$job" Restarts)
[ "$restarts" -ge 1 ] || die "the job was never requeued"
grep -q 'checkpoint written, requeueing' job.out || die "no requeue in the job's output"
[ "$(grep -c '^superclip.sbatch: job' job.out)" = $((restarts + 1)) ] || die "the output was not appended to"
[ -s results/job/cv_summary.json ] || die "no cv_summary.json"
[ "$("$PROBE" json results/job/fold_1/history.json train_loss)" = "a list $epochs" ] ||
    die "history: $("$PROBE" json results/job/fold_1/history.json train_loss), not $epochs epochs"
ok 2 "${args[@]}" --output-dir alone --epochs $epochs
same_bytes alone results
echo "slurm: $epochs epochs, $restarts requeue(s), identical bytes"
