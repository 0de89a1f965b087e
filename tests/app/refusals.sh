#!/usr/bin/env bash
# Every mistake: exit 1, one line, nothing written.
source "$(dirname "$0")/common.sh"
"$PROBE" images data 9 12 7
config '"name": "a", "epochs": 1,' >c.json

# refuse WHAT PATTERN RANKS ARGS...
refuse() {
    local what=$1 pattern=$2 n=$3
    shift 3
    before=$(find . -path ./out -prune -o -path ./err -prune -o -print | sort)
    train "$n" "$@"
    [ $rc = 1 ] || die "$what: exit $rc instead of 1"
    [ "$(grep -c '^sc_mpi: error: ' err)" = 1 ] || die "$what: not one line"
    grep '^sc_mpi: error: ' err | grep -qE -- "$pattern" || die "$what: the line does not say $pattern"
    [ ! -s out ] || die "$what: more than the error was said"
    [ "$n" != 1 ] || [ "$(wc -l <err)" = 1 ] || die "$what: more than one line"
    [ "$(find . -path ./out -prune -o -path ./err -prune -o -print | sort)" = "$before" ] ||
        die "$what: something was written"
}
dirs=(--output-dir results --log-dir logs)
bad() { # WHAT PATTERN MEMBER: a config with this member
    config '"name": "a", "epochs": 1,' "$3" >bad.json
    refuse "$1" "$2" 1 bad.json --data-dir data "${dirs[@]}"
}

bad "unknown key" "bad.json:[0-9]+.*epoch_count" '"epoch_count": 3,'
bad "wrong type" "bad.json:[0-9]+.*weight_decay" '"weight_decay": "much",'
bad "out of range" "bad.json:[0-9]+.*temperature" '"temperature": -1,'
bad "duplicate key" "bad.json:[0-9]+.*epochs" '"epochs": 3,'
bad "not a number" "bad.json:[0-9]+.*weight_decay" '"weight_decay": 1e999,'
sed 's/"name": "a"/"name": "..\/a"/' c.json >bad.json
refuse "path in a name" "name" 1 bad.json --data-dir data "${dirs[@]}"
printf '[{},{' >bad.json
refuse "broken JSON" "bad.json:1" 1 bad.json --data-dir data "${dirs[@]}"
(cat c.json; echo garbage) >bad.json
refuse "trailing garbage" "bad.json:[0-9]+" 1 bad.json --data-dir data "${dirs[@]}"
sed 's/"pretrained": false/"pretrained": true/' c.json >bad.json
refuse "pretrained" 'bad.json:[0-9]+.*pretrained.*false' 1 bad.json --data-dir data "${dirs[@]}"
bad "pretrained file" "image_weights" '"image_weights": "w.pth",'
bad "tokenizer file" "tokenizer.*nothing.txt" '"tokenizer": "nothing.txt",'
bad "class texts file" "nothing.json" '"class_texts_file": "nothing.json",'
bad "unknown class" "zebra" '"class_texts_dict": {"zebra": "a zebra"},'
bad "focal alone" "focal" '"use_focal_loss": true,'
sed 's/resnet-tiny/resnet19/' c.json >bad.json
refuse "unknown encoder" "resnet19.*resnet18" 1 bad.json --data-dir data "${dirs[@]}"
sed 's/clip:tiny/bert-base-chinese/' c.json >bad.json
refuse "later encoder" "bert-base-chinese" 1 bad.json --data-dir data "${dirs[@]}"
refuse "no config file" "nothing.json" 1 nothing.json --data-dir data "${dirs[@]}"
refuse "no config file, two ranks" "nothing.json" 2 nothing.json --data-dir data "${dirs[@]}"
refuse "unknown flag" "--epoch" 1 c.json --epoch-count 3 --data-dir data "${dirs[@]}"
refuse "multi-config alone" "multi-config" 1 --multi-config --data-dir data "${dirs[@]}"
refuse "CUDA" "cuda" 1 c.json --backend cuda --data-dir data "${dirs[@]}"
refuse "CUDA, two ranks" "cuda" 2 c.json --backend cuda --data-dir data "${dirs[@]}"
refuse "resume of many" "resume-from" 1 c.json --resume-from c.json --data-dir data "${dirs[@]}"
refuse "no init file" "nothing.pth" 1 c.json --init-from nothing.pth --data-dir data "${dirs[@]}"
refuse "group of too many" "group-size" 2 c.json --group-size 3 --data-dir data "${dirs[@]}"

refuse "no data" "nodata" 1 c.json --data-dir nodata "${dirs[@]}"
refuse "no data, three ranks" "nodata" 3 c.json --data-dir nodata "${dirs[@]}"
mkdir one && cp -r data/c0 one/
refuse "one class" "class" 1 c.json --data-dir one "${dirs[@]}"
bad "more folds than samples" "29|28|n_splits|folds" '"n_splits": 29,'
cp -r data holed && mkdir holed/c9
refuse "empty class" "c9" 1 c.json --data-dir holed "${dirs[@]}"
cp -r data broken && printf 'BMnot an image at all' >broken/c1/005.bmp
refuse_broken() {
    train "$1" c.json --data-dir broken "${dirs[@]}"
    [ $rc = 1 ] || die "bad image: exit $rc"
    grep -q 'c1/005.bmp' err || die "bad image: not named"
    [ ! -e results ] && [ ! -e logs ] || die "bad image: something was written"
}
refuse_broken 1
refuse_broken 2

# Packed data: another size, a damaged shard.
ok 1 c.json --data-dir data --cache-dir cache "${dirs[@]}"
rm -rf results logs
packed=$(echo cache/*)
sed 's/"img_size": 32/"img_size": 48/' c.json >bad.json
refuse "another size" "48.*32|32.*48" 1 bad.json --data-dir "$packed" "${dirs[@]}"
cp -r "$packed" foreign && truncate -s -100 foreign/shard-00000-of-00001.h5
refuse "truncated shard" "shard-00000" 1 c.json --data-dir foreign "${dirs[@]}"
cp "$packed"/*.h5 foreign/ && echo '{}' >foreign/manifest.json
refuse "foreign manifest" "manifest" 2 c.json --data-dir foreign "${dirs[@]}"

# Weights that do not fit are found before anything is written, by --check too.
ok 1 c.json --data-dir "$packed" --output-dir there --log-dir logs
rm -rf logs
latest=there/a/fold_1/checkpoint_latest.pth
config '"name": "a", "use_cv": false, "epochs": 2,' >one.json
config '"name": "a", "use_cv": false, "epochs": 2, "embed_dim": 24,' | sed 's/"embed_dim": 16,//' >wide.json
config '"name": "a", "use_cv": false, "epochs": 2, "batch_size": 5,' | sed 's/"batch_size": 8,//' >other.json
for how in "data" "$packed --check"; do
    # shellcheck disable=SC2086
    unfit() { refuse "$1" "$2" 1 "${@:3}" "${dirs[@]}" --data-dir $how; }
    unfit "init from JSON" "init-from.*c.json" c.json --init-from c.json
    unfit "init of another model" "init-from.*projection.*24" wide.json --init-from $latest
    unfit "resume from weights" "resume-from.*best.*init-from" one.json \
        --resume-from there/a/fold_1/checkpoint_best.pth
    unfit "resume with other settings" "resume-from.*batch_size.*there 8, now 5" other.json --resume-from $latest
    ! grep -q -- --restart err || die "--restart contradicts --resume-from"
    unfit "resume from another fold" "is of fold 2, this job is fold 1" one.json \
        --resume-from there/a/fold_2/checkpoint_latest.pth
done
refuse "init from JSON, two ranks" "init-from.*c.json" 2 c.json --init-from c.json --data-dir data "${dirs[@]}"
ok 1 one.json --resume-from $latest --data-dir data "${dirs[@]}" --check

# --restart removes nothing as long as the run can still be refused.
cp -r there before
restart=(--restart --data-dir "$packed" --output-dir there --log-dir logs)
refuse "restart, group too large" "group-size" 1 c.json "${restart[@]}" --group-size 2
refuse "restart, group too large" "group-size" 2 c.json "${restart[@]}" --group-size 3
refuse "restart, no weights" "c.json" 1 c.json "${restart[@]}" --init-from c.json
refuse "restart from what it removes" "init-from.*--restart" 1 c.json "${restart[@]}" --init-from $latest
refuse "restart, no data" "nodata" 1 c.json "${restart[@]}" --data-dir nodata
diff -r there before || die "--restart touched something"
# Another fold's results under this fold's name are not taken for it.
rm -r before/a/fold_1 && cp -r before/a/fold_2 before/a/fold_1
train 1 c.json --data-dir "$packed" --output-dir before --log-dir logs
[ $rc = 1 ] && grep -q 'is of fold 2, this job is fold 1' err || die "fold 2 as fold 1"
rm -rf there before

# Folders.
touch file
refuse "output is a file" "output-dir.*file" 1 c.json --data-dir data --output-dir file --log-dir logs
refuse "output below a file" "output-dir.*file" 1 c.json --data-dir data --output-dir file/x --log-dir logs
refuse "unwritable output" "output-dir" 1 c.json --data-dir data --output-dir /proc/x --log-dir logs
refuse "unwritable logs" "log-dir" 2 c.json --data-dir data --output-dir results --log-dir /proc/x
if [ "$(id -u)" = 0 ] && mkdir small && mount -t tmpfs -o size=64k tmpfs small 2>/dev/null; then
    trap 'umount "$WORK/small"; rm -rf "$WORK"' EXIT
    refuse "full disk" "small.*MB" 1 c.json --data-dir data --output-dir small/x --log-dir logs
    ok 1 c.json --data-dir data --output-dir small/x --plan # a plan only warns
    grep -q 'Warning: .*small.*MB' out || die "--plan on a full disk"
fi

# A second writer, while the first one runs.
: >first.out
"$SC" c.json --data-dir data "${dirs[@]}" --set epochs=500 >first.out 2>&1 </dev/null &
first=$!
for ((i = 0; i < 200; i++)); do
    grep -q 'Epoch 1' first.out && break
    sleep 0.02
done
train 2 c.json --data-dir data "${dirs[@]}" --set epochs=500
[ $rc = 1 ] || die "second writer: exit $rc"
grep -q "process $first" err && grep -q "$(hostname)" err || die "second writer: host and process"
# One that dies meanwhile, as the ranks of a killed mpirun do, is waited for.
(
    sleep 1
    kill -KILL $first
) &
ok 1 c.json --data-dir data "${dirs[@]}" --set epochs=1 --restart
[ "$(grep -c 'held by another run: waiting up to 5 s' out)" = 1 ] || die "no word about the wait"
wait $first 2>/dev/null || true
echo "app_refusals: ok"
