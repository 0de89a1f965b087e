#!/usr/bin/env bash
# slurm/superclip.sbatch in a real Slurm: the signal before the time limit, checkpoint, exit 42, requeue,
# resume, end. $1: the build folder. Skipped (77) when not root or without Slurm.
tests=$(cd "$(dirname "$0")/.." && pwd)
source "$tests/app/common.sh"
export ASAN_OPTIONS=$mpi_asan
mini=$tests/slurm/mini_slurm.sh
sbatch=$tests/../slurm/superclip.sbatch
trap 'bash "$mini" down "$WORK/slurm"; rm -rf "$WORK"' EXIT
bash "$mini" up "$WORK/slurm" || exit $?
export SLURM_CONF=$WORK/slurm/slurm.conf
export SC_MPI=$SC

"$PROBE" images data 9 12 7
config '"name": "job", "use_superclip_loss": true,' >c.json
args=(c.json --data-dir data --cache-dir cache --log-dir logs --set use_cv=false --group-size 2)

# How many epochs take some 20 seconds: Slurm sends the signal 10 to 20 seconds after the start.
ok 2 "${args[@]}" --output-dir warm --epochs 1
begin=$(date +%s%N)
ok 2 "${args[@]}" --output-dir timing --epochs 60
ms=$((($(date +%s%N) - begin) / 1000000))
epochs=$((60 * 22000 / (ms > 300 ? ms - 250 : 50)))

state() { scontrol show job "$1" | sed -n "s/.* \{0,1\}$2=\([^ ]*\).*/\1/p" | head -1; }

# One submission, until it has ended for good.
run_job() {
    rm -rf results job.out
    job=$(sbatch --parsable --time=1 --signal=B:USR1@45 --nodes=1 --ntasks-per-node=2 --output=job.out \
        "$sbatch" "${args[@]}" --output-dir results --epochs $epochs)
    for ((i = 0; i < 600; i++)); do
        case $(state "$job" JobState) in
        COMPLETED | FAILED | TIMEOUT | CANCELLED | NODE_FAIL) break ;;
        PENDING) # A requeued job waits two minutes; not in a test. At once would be too early for Slurm:
            # "Job credential revoked" in the same second.
            [ "$(state "$job" Reason)" != BeginTime ] || { sleep 2 && scontrol update JobId="$job" StartTime=now; } ;;
        esac
        sleep 0.3
    done
    restarts=$(state "$job" Restarts)
}

run_job
if [ "$(state "$job" JobState)" = COMPLETED ] && [ "$restarts" = 0 ]; then
    epochs=$((epochs * 2)) # the machine was busy when it was measured
    run_job
fi
cp job.out out
[ "$(state "$job" JobState)" = COMPLETED ] || {
    scontrol show job "$job" >&2
    grep "JobId=$job" "$WORK/slurm/slurmctld.log" >&2
    die "job $job: $(state "$job" JobState)"
}
[ "$restarts" -ge 1 ] || die "the job was never requeued"
grep -q 'checkpoint written, requeueing' job.out || die "no requeue in the job's output"
[ "$(grep -c '^superclip.sbatch: job' job.out)" = $((restarts + 1)) ] || die "the output was not appended to"
[ -s results/job/cv_summary.json ] || die "no cv_summary.json"
[ "$("$PROBE" json results/job/fold_1/history.json train_loss)" = "a list $epochs" ] ||
    die "history: $("$PROBE" json results/job/fold_1/history.json train_loss), not $epochs epochs"
# TERM to the script alone: a checkpoint, exit 42, no requeue.
job=$(sbatch --parsable --time=5 --nodes=1 --ntasks-per-node=2 --output=term.out "$sbatch" \
    "${args[@]}" --output-dir term --epochs 5000)
for ((i = 0; i < 300; i++)); do
    ! grep -q 'Val Loss' term.out 2>/dev/null || break
    sleep 0.1
done
scancel --batch --signal=TERM "$job"
for ((i = 0; i < 200; i++)); do
    [ "$(state "$job" JobState)" = RUNNING ] || break
    sleep 0.1
done
cp term.out out
[ "$(state "$job" ExitCode)" = 42:0 ] && [ "$(state "$job" Restarts)" = 0 ] || die "TERM: $(state "$job" ExitCode)"
grep -q 'submit again to continue' term.out && [ -s term/job/fold_1/checkpoint_latest.pth ] || die "TERM: no checkpoint"

ok 2 "${args[@]}" --output-dir alone --epochs $epochs
same_bytes alone results
echo "slurm: $epochs epochs, $restarts requeue(s), identical bytes"
