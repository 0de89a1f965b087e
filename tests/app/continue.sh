#!/usr/bin/env bash
# Killed or stopped at any time and started again: the bytes of a run that was left alone.
# SC_KILLS: how many random kills (default 6; the release check uses 20 and more).
source "$(dirname "$0")/common.sh"
# A killed rank leaves its shared memory: here it goes with the work folder.
mkdir shm
export OMPI_MCA_btl_vader_backing_directory=$WORK/shm
KILLS=${SC_KILLS:-6}
RANDOM=${SC_SEED:-1}
"$PROBE" images data 10 13 8
config '"epochs": 10, "use_superclip_loss": true, "name": "k",' >c.json
args=(c.json --data-dir data --cache-dir cache --log-dir logs --backend cpu)
begin=$(date +%s%N)
ok 1 "${args[@]}" --output-dir whole
whole_ms=$((($(date +%s%N) - begin) / 1000000))

# launch RANKS ARGS...: in the background, as $launcher; wait_for TEXT: until its output has it.
launch() {
    : >out
    ASAN_OPTIONS=$mpi_asan mpirun -np "$1" "$SC" "${@:2}" >>out 2>err </dev/null &
    launcher=$!
}
wait_for() {
    for ((i = 0; i < 1500; i++)); do
        ! grep -q "$1" out || return 0
        kill -0 $launcher 2>/dev/null || return 0
        sleep 0.02
    done
    die "no '$1' within 30 s"
}
ended() { # waits for $launcher: exit code in $rc
    rc=0
    wait $launcher || rc=$?
}

# kill_after MILLISECONDS SIGNAL DIR: runs alone, sends the signal, waits.
kill_after() {
    "$SC" "${args[@]}" --output-dir "$3" >out 2>err </dev/null &
    local pid=$!
    sleep "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))"
    kill "-$2" $pid 2>/dev/null || true
    rc=0
    wait $pid 2>/dev/null || rc=$?
}

# Runs killed again and again until they are through; a finished one is compared and begun anew.
hits=0
whole_runs=0
for ((i = 0; hits < KILLS && i < 20 * KILLS; i++)); do
    kill_after $((RANDOM % (whole_ms * 6 / 10) + 20)) KILL killed
    case $rc in
    137) hits=$((hits + 1)) ;;
    0)
        same_bytes whole killed
        whole_runs=$((whole_runs + 1))
        rm -rf killed
        ;;
    *) die "exit $rc" ;;
    esac
done
ok 1 "${args[@]}" --output-dir killed
same_bytes whole killed
[ -z "$(find killed -name '*.tmp*')" ] || die "left-over temporary files"
[ $hits -ge "$KILLS" ] || die "only $hits of $KILLS kills hit"
echo "killed $hits times over $((whole_runs + 1)) runs: identical bytes"

# TERM ends at once; nothing half-written.
kill_after $((whole_ms / 2)) TERM term
if [ $rc = 143 ] && grep -q 'Epoch 1' out; then
    [ "$(grep -c 'the same command goes on' out)" = 1 ] || die "TERM: not a word about going on"
fi
ok 1 "${args[@]}" --output-dir term
same_bytes whole term

# A rank of two is killed; the same command, on one rank, goes on (jobs are single ranks' here).
long=("${args[@]}" --group-size 1 --set epochs=30)
ok 1 "${long[@]}" --output-dir whole30
launch 2 "${long[@]}" --output-dir rank
wait_for 'Epoch 2'
victim=$(pgrep -P $launcher -f "$SC" | tail -1)
[ -z "$victim" ] || kill -KILL "$victim"
ended
[ $rc = 137 ] || [ $rc = 0 ] || die "mpirun: $rc"
ok 1 "${long[@]}" --output-dir rank
same_bytes whole30 rank

# USR1 to mpirun: every rank agrees, exit 42; then the rest.
two=("${args[@]}" --group-size 2 --set epochs=40 --set use_cv=false)
ok 2 "${two[@]}" --output-dir whole2
for stop in 1 2; do
    launch 2 "${two[@]}" --output-dir usr1
    wait_for "Epoch $((stop * 5))"
    kill -USR1 $launcher
    ended
    [ $rc = 42 ] || die "USR1: exit $rc"
    grep -q 'checkpoint' out || die "the stop is not told"
    [ ! -e usr1/.sc_mpi.lock ] || die "the lock outlived the run"
done
ok 2 "${two[@]}" --output-dir usr1
same_bytes whole2 usr1

# USR1 to several groups: jobs that were running go on, the others begin.
launch 3 "${long[@]}" --output-dir many
wait_for 'Epoch 2'
victim=$(pgrep -P $launcher -f "$SC" | tail -1) # one rank alone: the word spreads by mail
kill -USR1 "$victim"
ended
[ $rc = 42 ] || die "USR1 to one rank: exit $rc"
ok 3 "${long[@]}" --output-dir many
same_bytes whole30 many

# More epochs go on; another config is refused, --restart begins again.
cp -r whole more
train 1 "${args[@]}" --output-dir more --set learning_rate=0.002
[ $rc = 1 ] && grep -q learning_rate err && grep -q -- --restart err || die "another learning rate"
same_bytes whole more
ok 1 "${args[@]}" --output-dir more --set learning_rate=0.002 --restart
train 1 "${args[@]}" --output-dir more
[ $rc = 1 ] || die "--restart left the old identity"
ok 1 "${args[@]}" --output-dir more --restart
same_bytes whole more

# A damaged checkpoint_latest: the fallback, and a warning that names the file.
kill_after $((whole_ms / 2)) KILL damaged
for f in damaged/k/fold_*/checkpoint_latest.prev.pth; do
    [ -e "$f" ] || continue
    latest=${f%.prev.pth}.pth # a new file: the two may be links to one
    cp "$latest" copy
    printf 'rubbish' | dd of=copy bs=1 seek=2000 conv=notrunc status=none
    mv copy "$latest"
    warned=1
done
ok 1 "${args[@]}" --output-dir damaged
[ -z "${warned:-}" ] || grep -q 'checkpoint_latest' out err || die "no word about the damage"
same_bytes whole damaged
echo "app_continue: ok"
