#!/usr/bin/env bash
# The same command twice gives the same bytes; any number of ranks gives the same history.
source "$(dirname "$0")/common.sh"
"$PROBE" images data 9 12 7
config '"name": "a", "epochs": 2, "use_superclip_loss": true, "use_weighted_sampling": true,' >c.json
one='--set use_cv=false'
run() { ok "$1" c.json --data-dir data --cache-dir cache --log-dir logs --output-dir "$2" "${@:3}"; }

for backend in ref cpu; do
    run 1 $backend.1 --backend $backend
    run 1 $backend.1b --backend $backend
    same_bytes $backend.1 $backend.1b
done
run 2 cpu.2 --backend cpu
run 2 cpu.2b --backend cpu
same_bytes cpu.2 cpu.2b

# A profile reads clocks only.
run 2 cpu.2p --backend cpu --profile
grep -q 'Profile of epoch 1' out || die "no profile was told"
same_bytes cpu.2 cpu.2p
for k in 1 2 3; do
    grep -q '"share_of_peak"' cpu.2p/a/fold_$k/profile.json || die "fold $k has no profile.json"
    [ ! -e cpu.2/a/fold_$k/profile.json ] || die "a profile that nobody asked for"
done

# Two ranks, one group each: whole jobs on one rank, so the very same bytes.
run 2 ref.jobs --backend ref --group-size 1
same_bytes ref.1 ref.jobs

# One job over a group. BEHAVIOUR: ref within 1e-9; 6 steps here.
for n in 2 3 8; do
    # shellcheck disable=SC2086
    run $n ref.$n --backend ref --group-size $n $one
    "$PROBE" close ref.1/a/fold_1/history.json ref.$n/a/fold_1/history.json 1e-9
    cmp ref.1/a/folds_info.json ref.$n/a/folds_info.json >/dev/null 2>&1 || true
done
# shellcheck disable=SC2086
run 1 fp32.1 --backend cpu $one --no-amp --set epochs=1 --set batch_size=64
for n in 3; do
    # shellcheck disable=SC2086
    run $n fp32.$n --backend cpu --group-size $n $one --no-amp --set epochs=1 --set batch_size=64
    "$PROBE" close fp32.1/a/fold_1/history.json fp32.$n/a/fold_1/history.json 1e-4
done

# All ranks pack: the same bytes as one.
rm -rf cache2
ok 3 c.json --data-dir data --cache-dir cache2 --log-dir logs --output-dir packed --set epochs=1
diff -r cache cache2 || die "three ranks pack other bytes than one"
echo "app_ranks: ok"
