#!/usr/bin/env bash
# One cross-validation, both backends: every file is there and says the right things.
source "$(dirname "$0")/common.sh"
"$PROBE" images data 9 12 7
config '"name": "tiny", "epochs": 2, "use_superclip_loss": true,' >c.json

for backend in ref cpu; do
    ok 1 c.json --data-dir data --output-dir "$backend" --log-dir "logs_$backend" --backend "$backend"
    dir=$backend/tiny
    [ "$("$PROBE" json $dir/config.json embed_dim image_encoder pretrained backend | tr '\n' ' ')" = \
        "16 resnet-tiny true or false 0 $backend " ] || [ "$("$PROBE" json $dir/config.json backend)" = $backend ] ||
        die "config.json"
    "$PROBE" json $dir/config.json precision_used software.sc_mpi weights_used.image data_hash >/dev/null
    [ "$("$PROBE" json $dir/folds_info.json n_splits class_names.2)" = $'3\nc2' ] || die "folds_info.json"
    "$PROBE" json $dir/folds_info.json folds.2.train_indices.0 folds.2.val_indices.0 \
        folds.2.val_files.0 folds.0.train_class_counts.c1 random_state >/dev/null
    for k in 1 2 3; do
        for f in checkpoint_best.pth checkpoint_latest.pth history.json timing.json val_predictions.csv; do
            [ -s $dir/fold_$k/$f ] || die "no $dir/fold_$k/$f"
        done
        [ ! -e $dir/fold_$k/checkpoint_latest.prev.pth ] || die "the fallback outlived its job"
        for key in train_loss train_acc val_loss val_acc val_mAP val_precision val_recall val_f1 \
            train_class_loss train_contrastive_loss val_class_loss val_contrastive_loss lr; do
            "$PROBE" json $dir/fold_$k/history.json $key.1 >/dev/null || die "history.json: $key"
        done
        for key in train_seconds val_seconds images_per_second step_ms_median loader_wait_seconds; do
            "$PROBE" json $dir/fold_$k/timing.json $key.1 >/dev/null || die "timing.json: $key"
        done
    done
    for key in train_loss train_acc val_loss val_acc val_mAP best_val_acc best_val_mAP best_precision \
        best_recall best_f1; do
        "$PROBE" json $dir/cv_summary.json fold_results.fold_$key.2 average_results.avg_$key \
            average_results.std_$key config.embed_dim fold_results.fold_best_epoch.0 >/dev/null ||
            die "cv_summary.json: $key"
    done
    ! grep -rlE "$(hostname)|thread" $dir --include='*.json' | grep -v -e timing.json -e /config.json ||
        die "a result names the machine"
    [ "$(wc -l <$dir/fold_1/val_predictions.csv)" = 11 ] || die "val_predictions.csv"
    log=$(echo logs_$backend/tiny_gpu0_*.log)
    for line in 'Epoch 2 [Train]: 100%|##########|' '[Val]: 100%|##########|' 'Train Loss: ' 'Val Loss: ' \
        '[fold 3] ' 'Config tiny: '; do
        grep -qF "$line" "$log" || die "the log has no line '$line'"
    done
    grep -q '^\[fold 3\] Epoch 2 \[Train\]: 100%' out && grep -q '^\[fold 3\] Train Loss' out || die "marks of the console"
    ! grep -q $'\r' "$log" out || die "carriage returns outside a terminal"
    [ ! -e $backend/.sc_mpi.lock ] || die "the lock outlived the run"
    [ -z "$(find $backend -name '*.tmp*' -o -name '.sc_mpi_probe*')" ] || die "left-over files"
done

# The same again: nothing to do, nothing changed, the cache is used.
cp -r cpu before
ok 1 c.json --data-dir data --output-dir cpu --log-dir logs_cpu --backend cpu
! grep -q Packing out || die "packed again"
same_bytes before cpu

# Flags alone: results straight in the output folder; fold 1 only; a second size packs a second set.
ok 1 --image-encoder resnet-tiny --text-encoder clip:tiny --set pretrained=false --img-size 40 --epochs 1 \
    --use-cv false --n-splits 4 --embed-dim 8 --batch-size 6 --data-dir data --output-dir flags --cache-dir cache
[ -s flags/fold_1/history.json ] && [ ! -e flags/fold_2 ] && [ -s flags/cv_summary.json ] || die "flags only"
[ -d cache ] && [ ! -e flags/.cache ] || die "--cache-dir"
[ -d logs/clip_training ] || die "default log folder"

# Things that train nothing and write nothing.
for what in --check --plan "--plan --plan-ranks 300" --help --version; do
    # shellcheck disable=SC2086
    ok 1 c.json $what --data-dir data --output-dir none --log-dir none
    [ ! -e none ] || die "$what wrote something"
    [ -s out ] || die "$what said nothing"
done
for what in -h -V; do # the short names, whatever else is on the line
    ok 1 --no-such-flag $what
    [ -s out ] && [ ! -s err ] || die "$what"
done
ok 2 -V
[ "$(grep -c '^sc_mpi' out)" = 1 ] || die "-V under mpirun"

# A frozen text tower without a projection learns nothing, which is told once; with one it is not.
config '"name": "f", "freeze_text_encoder": true, "embed_dim": 64,' | sed 's/"embed_dim": 16,//' >frozen.json
ok 1 frozen.json --check --data-dir data --output-dir none --log-dir none
[ "$(grep -c 'Warning: frozen.json:[0-9]*: .*freeze_text_encoder.*nothing' err)" = 1 ] || die "frozen text tower"
ok 1 frozen.json --set embed_dim=16 --check --data-dir data --output-dir none --log-dir none
[ ! -s err ] || die "a frozen text tower with a projection"

# --overfit: the same images in training and validation.
ok 1 c.json --data-dir data --output-dir over --log-dir logs --overfit 10 --backend ref --set use_cv=false
[ "$(wc -l <over/tiny/fold_1/val_predictions.csv)" = 11 ] || die "--overfit"

# --dump-steps: a file a step.
ok 1 c.json --data-dir data --output-dir dump --log-dir logs --dump-steps 2 steps --set use_cv=false
[ "$(find steps -name '*.safetensors' | wc -l)" = 2 ] || die "--dump-steps"
# Two configs of the same encoders and other sizes: names, two packed sets, a warning in the right log.
one=$(config '"epochs": 1, "use_cv": false,' | sed '1d;$d')
printf '[{%s},{%s "img_size": 40}]\n' "$one" "$(sed 's/"img_size": 32,//' <<<"$one")" >two.json
ok 2 two.json --data-dir data --output-dir two --log-dir logs_two
[ -s two/resnet-tiny_clip_tiny/cv_summary.json ] && [ -s two/resnet-tiny_clip_tiny_2/cv_summary.json ] ||
    die "names of two configs"
[ "$(find two/.cache -name manifest.json | wc -l)" = 2 ] || die "two sizes, two packed sets"
[ "$(find logs_two -name '*.log' | wc -l)" = 2 ] || die "one log a config"

# Weights from a checkpoint, also where the config asks for pretrained ones; going on from a file.
best=two/resnet-tiny_clip_tiny/fold_1/checkpoint_best.pth
sed 's/"pretrained": false/"pretrained": true/; s/"name": "tiny",/"use_cv": false,/' c.json >init.json
ok 1 init.json --data-dir data --output-dir init --log-dir logs --init-from $best
"$PROBE" json init/resnet-tiny_clip_tiny/config.json weights_used.image.file | grep -q checkpoint_best || die "weights used"
sed 's/"epochs": 2/"epochs": 3/; s/"name": "tiny",/"use_cv": false,/' c.json >more.json
ok 1 more.json --data-dir data --output-dir more --log-dir logs --resume-from ref/tiny/fold_1/checkpoint_latest.pth
[ "$("$PROBE" json more/resnet-tiny_clip_tiny/fold_1/history.json lr)" = "a list 3" ] || die "--resume-from"
grep -q 'Epoch 3' out && ! grep -q 'Epoch 2' out || die "--resume-from began anew"
echo "app_outputs: ok"
