#!/usr/bin/env bash
# sc_predict: the figures of the validation, ensembles, every kind of input, every refusal.
source "$(dirname "$0")/common.sh"
"$PROBE" images data 9 12 7
config '"name": "tiny", "epochs": 2, "use_superclip_loss": true,' >c.json
ok 1 c.json --data-dir data --output-dir run --log-dir logs --backend cpu
best=(run/tiny/fold_1/checkpoint_best.pth run/tiny/fold_2/checkpoint_best.pth run/tiny/fold_3/checkpoint_best.pth)

# A fold's validation files: the bytes of val_predictions.csv, the accuracy and mAP of history.json.
for k in 1 2 3; do
    dir=run/tiny/fold_$k
    tail -n +2 $dir/val_predictions.csv | cut -d, -f1 >list.txt
    tool 0 sc_predict $dir/checkpoint_best.pth --list list.txt --root data --csv
    cmp out $dir/val_predictions.csv || die "fold $k: other predictions than in the training"
    [ "$(wc -l <err)" = 1 ] && grep -q accuracy err || die "figures on standard error"
    tool 0 sc_predict $dir/checkpoint_best.pth --list list.txt --root data --json figures.json
    [ ! -s err ] || die "warnings"
    epoch=$("$PROBE" json run/tiny/cv_summary.json fold_results.fold_best_epoch.$((k - 1)))
    for figure in acc mAP precision recall f1; do
        [ "$("$PROBE" json figures.json figures.$figure)" = \
            "$("$PROBE" json $dir/history.json val_$figure.$((epoch - 1)))" ] || die "fold $k: $figure"
    done
done

# Folders, a class folder, single images, packed shards: the same numbers for the same image.
tool 0 sc_predict "${best[0]}" data --csv=tree.csv
[ "$(wc -l <tree.csv)" = 29 ] && head -n 2 tree.csv | tail -n 1 | grep -q '^data/c0/000.bmp,c0,' || die "a tree of classes"
tool 0 sc_predict "${best[0]}" data/c1/ --csv=one.csv
cmp <(grep -e ^path -e /c1/ tree.csv) <(sed 's#//#/#' one.csv) || die "a class folder"
mkdir -p flat/hidden/deep flat/.cache && cp data/c2/00[0-2].bmp flat/ && cp data/c2/000.bmp flat/hidden/deep/ && cp data/c2/000.bmp flat/.cache/
tool 0 sc_predict "${best[0]}" flat data/c0/000.bmp --csv
[ "$(wc -l <out)" = 5 ] && grep -q '^flat/000.bmp,,' out && grep -q '^data/c0/000.bmp,c0,' out || die "flat folder and image"
tool 0 pack_hdf5 data packed --img-size 32 --shards 2
tool 0 sc_predict "${best[0]}" packed --csv=packed.csv
cmp packed.csv <(sed 's#^data/##' tree.csv) || die "packed shards"
printf 'c0/000.bmp\r\n\nc1/003.bmp' >windows.txt
tool 0 sc_predict "${best[0]}" --list windows.txt --root data --csv
[ "$(wc -l <out)" = 3 ] || die "a list with carriage returns"

# The same command gives the same bytes; other batches, threads and backends the same figures.
tool 0 sc_predict "${best[0]}" data --csv=again.csv
cmp tree.csv again.csv || die "another run, other bytes"
close() { # CSV CSV TOLERANCE
    paste -d, <(cut -d, -f4- "$1") <(cut -d, -f4- "$2") | awk -F, -v tol="$3" 'NR > 1 {
        for (i = 1; i <= NF / 2; i++) { d = $i - $(i + NF / 2); if (d > tol || d < -tol) bad++; n++ } }
        END { exit !(n > 0 && bad == 0) }' || die "$1 and $2 differ by more than $3"
}
while read -r tolerance options; do # bfloat16 against more exact numbers: some 0.005
    # shellcheck disable=SC2086
    tool 0 sc_predict "${best[0]}" data --csv=other.csv $options
    close tree.csv other.csv "$tolerance"
done <<<"1e-5 --batch-size 1
1e-5 --batch-size 1000 --threads 2
0.02 --backend ref
0.02 --no-amp"

# An ensemble: the mean of its members, also of several image sizes.
for k in 0 1 2; do tool 0 sc_predict "${best[$k]}" data --csv=m$k.csv; done
mean() { # CSV...
    paste -d, "$@" | awk -F, -v n=$# '{ w = NF / n; line = $1 "," $2 ","
        for (i = 4; i <= w; i++) { s = 0; for (k = 0; k < n; k++) s += $(i + k * w); line = line sprintf(",%.12f", s / n) }
        print line }'
}
tool 0 sc_predict "${best[@]}" data --csv=ensemble.csv
close ensemble.csv <(mean m0.csv m1.csv m2.csv) 1e-8
ok 1 c.json --set img_size=40 --set use_cv=false --epochs 1 --data-dir data --output-dir large --log-dir logs
large=large/tiny/fold_1/checkpoint_best.pth
tool 0 sc_predict "${best[0]}" $large data --csv=sizes.csv
tool 0 sc_predict $large data --csv=m1.csv
close sizes.csv <(mean m0.csv m1.csv) 1e-8
refused "a checkpoint wants 40" sc_predict "${best[0]}" $large packed
"$COPY" other "${best[0]}" other.pth
"$COPY" strip other.pth bare.pth class_token_ids class_texts
refused "class 0 is 'c0' in ${best[0]}, 'another' in bare.pth" sc_predict "${best[0]}" bare.pth data

# A table for people, JSON for programs.
tool 0 sc_predict "${best[0]}" data/c0 flat --top 2
[ "$(wc -l <out)" = 14 ] && head -n 1 out | grep -q '^image *folder *class *certainty  next$' || die "the table"
grep -qE '^data/c0/003.bmp +c0 +c[012] +[0-9]+\.[0-9]{2}%  c[012] [0-9.]+%$' out || die "a line of the table"
tail -n 1 out | grep -q '^12 images; of 9 in a folder named as a class .* accuracy' || die "figures below the table"
tool 0 sc_predict "${best[@]}" data --json --top 1
[ "$("$PROBE" json out checkpoints class_names images images.0.probabilities unreadable | tr '\n' ' ')" = \
    "a list 3 a list 3 a list 28 an object 1 a list 0 " ] || die "JSON"
tool 0 sc_predict "${best[0]}" flat --json
[ "$("$PROBE" json out images.2.path images.2.probabilities figures | tr '\n' ' ')" = \
    "flat/002.bmp an object 3 null 0 " ] || die "JSON without labels"
tool 0 sc_predict --help
grep -q 'Exit status' out || die "--help"
tool 0 sc_predict --version

# Images that cannot be read are listed, the others are predicted; none at all is a failure.
mkdir -p bad/c0 bad/c1/dir.png && cp data/c0/000.bmp bad/c0/ && echo text >bad/c0/a.jpg && ln -s nowhere bad/c1/link.png
head -c 700 data/c0/001.bmp >bad/c1/cut.bmp && cp data/c0/000.bmp bad/c1/wrong.png && cp data/c0/000.bmp bad/c1/fine.bmp
tool 2 sc_predict "${best[0]}" bad --csv=bad.csv
[ "$(grep -c 'sc_predict: bad: bad/c' err)" = 5 ] && [ "$(wc -l <bad.csv)" = 3 ] || die "unreadable images"
grep -q 'bad/c1/wrong.png: the content is BMP, but the name says PNG' err || die "a reason"
tail -n 1 out | grep -q '7 images; .* 5 could not be read' || die "their number"
for i in 000 fine; do grep "c[01]/$i" bad.csv; done | cut -d, -f4- | uniq | wc -l | grep -qx 1 || die "neighbours of bad images"
tool 2 sc_predict "${best[0]}" bad --json
[ "$("$PROBE" json out images unreadable unreadable.4.path | tr '\n' ' ')" = "a list 2 a list 5 bad/c1/wrong.png " ] ||
    die "unreadable images in JSON"
tool 1 sc_predict "${best[0]}" bad/c0/a.jpg

# Checkpoints of train_clip.py hold no token ids: their texts are tokenized. Without a config: flags.
"$COPY" strip "${best[0]}" old.pth class_token_ids sc_state
tool 0 sc_predict old.pth data --csv=old.csv
cmp old.csv tree.csv || die "texts instead of token ids"
"$COPY" strip "${best[0]}" plain.pth config
refused "plain.pth: has no config, which would name its image_encoder_name; give --image-encoder" sc_predict plain.pth data
tool 0 sc_predict plain.pth data --image-encoder resnet-tiny --text-encoder clip:tiny --img-size 32 --csv=plain.csv
cmp plain.csv tree.csv || die "flags instead of a config"
merges=$TESTS/golden/tokenizer_merges.txt
ok 1 c.json --set tokenizer="$merges" --set use_cv=false --epochs 1 --data-dir data --output-dir bpe --log-dir logs
"$COPY" strip bpe/tiny/fold_1/checkpoint_best.pth old.pth class_token_ids
tool 0 sc_predict bpe/tiny/fold_1/checkpoint_best.pth data --csv=bpe.csv
tool 0 sc_predict old.pth data --csv=old.csv --tokenizer "$merges"
cmp old.csv bpe.csv || die "tokenized by the merges"
refused "old.pth: holds no class_token_ids" sc_predict old.pth data
grep -q -- "--tokenizer FILE" err || die "what to do"
head -n 9 "$merges" >few.txt
refused "few.txt has 522: give the file it was trained with" sc_predict old.pth data --tokenizer few.txt

# The other families: a ViT beside BERT, whose texts are cut up by WordPiece.
words=$TESTS/golden/tokenizer_bert/vocab.txt
sed 's/resnet-tiny/vit-tiny/; s/clip:tiny/bert-tiny/' c.json >bert.json
ok 1 bert.json --set tokenizer="$words" --set use_cv=false --epochs 1 --data-dir data --output-dir bert --log-dir logs
tail -n +2 bert/tiny/fold_1/val_predictions.csv | cut -d, -f1 >list.txt
"$COPY" strip bert/tiny/fold_1/checkpoint_best.pth old.pth class_token_ids
for options in bert/tiny/fold_1/checkpoint_best.pth "old.pth --tokenizer $words"; do
    # shellcheck disable=SC2086
    tool 0 sc_predict $options --list list.txt --root data --csv
    cmp out bert/tiny/fold_1/val_predictions.csv || die "a ViT and BERT: $options"
done
"$COPY" strip bpe/tiny/fold_1/checkpoint_best.pth old.pth class_token_ids

# Refusals: one line each.
p=${best[0]}
refused "no checkpoint" sc_predict
refused "no checkpoint" sc_predict data
refused "no images" sc_predict $p
refused "nowhere: cannot be opened" sc_predict nowhere data
refused "it was taken as a checkpoint" sc_predict $p list.txt data
refused "nowhere/: No such file" sc_predict $p nowhere/
refused "nowhere.png: No such file" sc_predict $p nowhere.png
refused "run: no images" sc_predict $p run
refused "did you mean --top?" sc_predict $p data --tops 3
refused "--top 0: must be an integer" sc_predict $p data --top 0
refused "--batch-size 1x: must be" sc_predict $p data --batch-size=1x
refused "--backend gpu: must be auto" sc_predict $p data --backend gpu
refused "there is no --list" sc_predict $p data --root data
refused "both on standard output" sc_predict $p data --csv --json
refused "a column for every class" sc_predict $p data --csv --top 2
refused "--window 5: must be two numbers" sc_predict $p data --window 5
refused "its image_encoder_name is 'resnet-tiny', not 'resnet18'" sc_predict $p data --image-encoder resnet18
refused "its img_size is 32, not 64" sc_predict $p data --img-size 64
: >empty.txt
refused "empty.txt: names no image" sc_predict $p --list empty.txt
refused "absent.txt" sc_predict $p --list absent.txt
"$COPY" strip $p noclasses.pth class_to_idx
refused "noclasses.pth: has no class_to_idx" sc_predict noclasses.pth data
"$COPY" strip $p nomodel.pth model_state_dict
refused "nomodel.pth: holds no model_state_dict" sc_predict nomodel.pth data
tool 1 sc_predict $p flat --csv=nowhere/x.csv
grep -q 'error: nowhere/x.csv' err || die "a file that cannot be written"
rc=0
"$BUILD/bin/sc_predict" $p data --csv >/dev/full 2>err || rc=$?
[ "$rc" = 1 ] && grep -q 'standard output cannot be written' err || die "a full disk behind standard output"

# Damaged files: nothing is predicted with the wrong weights.
cp $p flip.pth
at=$(($(stat -c %s flip.pth) / 2))
printf '\x5a' | dd of=flip.pth bs=1 seek=$at conv=notrunc status=none
refused "flip.pth: member 'archive/data/" sc_predict flip.pth data
head -c $at $p >cut.pth
refused "cut.pth: damaged zip file" sc_predict cut.pth data
echo '<!DOCTYPE html>' >page.pth
refused "page.pth: is text, not a .pth file" sc_predict page.pth data
echo "sc_predict: ok"
