#!/usr/bin/env bash
# The same output folder again: --restart, fewer folds, finished jobs, a failed fold.
source "$(dirname "$0")/common.sh"
"$PROBE" images data 9 12 7
config '"name": "a", "epochs": 1,' >c.json
args=(--data-dir data --output-dir res --log-dir logs --cache-dir cache)
ok 1 c.json "${args[@]}" --set n_splits=4

# --restart with fewer folds: the results of the others go, files that are not ours stay.
echo mine >res/a/fold_4/notes.tmp.txt
echo mine >res/a/plan.tmp.txt
mkdir res/a/fold_x && echo mine >res/a/fold_x/history.json
echo rest >res/a/fold_1/checkpoint_best.pth.tmp.77
ok 1 c.json "${args[@]}" --restart
[ "$(cd res/a && find . -path './fold_*' -type f | grep -v './fold_[123]/' | sort | tr '\n' ' ')" = \
    "./fold_4/notes.tmp.txt ./fold_x/history.json " ] || die "--restart with fewer folds"
[ -s res/a/plan.tmp.txt ] && [ ! -e res/a/fold_1/checkpoint_best.pth.tmp.77 ] || die "temporary files"
ok 1 c.json "${args[@]}" --restart --set n_splits=2
[ ! -e res/a/fold_3 ] || die "an empty folder of an earlier run"

# --dump-steps where nothing is left to train: said, nothing made.
ok 1 c.json "${args[@]}" --set n_splits=2 --dump-steps 2 steps
[ "$(grep -c 'Warning: --dump-steps.*--restart' err)" = 1 ] && [ ! -e steps ] || die "--dump-steps of finished jobs"

# One fold fails: the summary says which folds its lists hold.
ok 1 c.json "${args[@]}" --restart
"$PROBE" json res/a/cv_summary.json fold_results.fold_val_acc | grep -q 3 || die "three folds"
! grep -qE '"(failed_)?folds"' res/a/cv_summary.json || die "no fold failed"
rm res/a/cv_summary.json
echo rubbish >res/a/fold_2/checkpoint_latest.pth
train 1 c.json "${args[@]}"
[ $rc = 2 ] || die "a damaged checkpoint: exit $rc"
[ "$("$PROBE" json res/a/cv_summary.json folds folds.0 folds.1 failed_folds failed_folds.0 fold_results.fold_val_acc | tr '\n' ' ')" = \
    "a list 2 1 3 a list 1 2 a list 2 " ] || die "the folds of a summary: $("$PROBE" json res/a/cv_summary.json folds failed_folds)"
echo "app_again: ok"
