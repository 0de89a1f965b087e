#!/usr/bin/env bash
# Runs that begin with published weights: made here from a checkpoint of our own, found in all ways.
source "$(dirname "$0")/common.sh"
PUBLISH=$BUILD/tests/test_app_publish
export HOME=$WORK/home XDG_CACHE_HOME=$WORK/cache PATH=$WORK/bin:/usr/bin:/bin
unset TORCH_HOME HF_HOME HF_HUB_CACHE HUGGINGFACE_HUB_CACHE VIRTUAL_ENV CONDA_PREFIX
"$PROBE" images data 6 6
dirs=(--output-dir runs --log-dir logs --cache-dir packed)

config '"name": "first", "epochs": 1, "use_cv": false,' >first.json
ok 1 first.json --data-dir data "${dirs[@]}"
first=runs/first/fold_1/checkpoint_latest.pth
mkdir weights
"$PUBLISH" image $first weights/resnet-tiny.pth
"$PUBLISH" text $first weights/tiny.safetensors

# Frozen towers come out of the training as they went in; the projection does not come from the files.
tuned() { # NAME MORE...: a config on stdout
    local name=$1
    shift
    config "\"name\": \"$name\", \"epochs\": 1, \"use_cv\": false, \"freeze_bn\": true," \
        '"freeze_image_encoder": true, "freeze_text_encoder": true,' "$@" | sed 's/"pretrained": false,//'
}
same_towers() { # CHECKPOINT
    "$PUBLISH" same $first "$1" image_encoder.backbone. && "$PUBLISH" same $first "$1" text_encoder.token &&
        "$PUBLISH" same $first "$1" text_encoder.backbone. || die "$1: not the weights of the files"
    "$PUBLISH" differ $first "$1" image_encoder.projection || die "$1: the projection came from a file"
}
tuned explicit '"image_weights": "weights/resnet-tiny.pth", "text_weights": "weights/tiny.safetensors",' >explicit.json
ok 1 explicit.json --data-dir data "${dirs[@]}"
grep -q 'Weights of resnet-tiny: weights/resnet-tiny.pth (SHA-256 [0-9a-f]*)' out || die "the files are not told"
same_towers runs/explicit/fold_1/checkpoint_latest.pth
"$PROBE" json runs/explicit/config.json weights_used.image.sha256 | grep -q "$(sha256sum <weights/resnet-tiny.pth |
    cut -c1-64)" || die "weights_used"
[ "$("$PROBE" json runs/explicit/config.json weights_used.image.file)" = weights/resnet-tiny.pth ] || die "weights_used"

tuned own "\"image_weights\": \"$first\", \"text_weights\": \"text.safetensors\"," >own.json
"$BUILD"/bin/sc_export $first text.safetensors --tower text >/dev/null
ok 1 own.json --data-dir data "${dirs[@]}"
same_towers runs/own/fold_1/checkpoint_latest.pth

export SC_WEIGHTS_DIR=$WORK/weights
for ranks in 1 3; do
    tuned found$ranks >found.json
    ok $ranks found.json --data-dir data "${dirs[@]}"
    same_towers runs/found$ranks/fold_1/checkpoint_latest.pth
done
"$PROBE" close runs/found1/fold_1/history.json runs/found3/fold_1/history.json 1e-3 || die "ranks"
! grep -rl "$WORK/weights" runs --include=history.json --include=cv_summary.json --include='*.csv' || die "a path in results"

# --check and --plan look at them, too.
ok 1 found.json --data-dir data --output-dir none --log-dir none --check
grep -q 'Weights of clip:tiny' out || die "--check tells no weights"
[ ! -e none ] || die "--check wrote"
unset SC_WEIGHTS_DIR
ok 1 found.json --data-dir data --output-dir none --log-dir none --plan
grep -q 'Warning: .*no pretrained weights of resnet-tiny' err || die "--plan without weights"

# What is not found, damaged or another network's is told in one line before anything is written.
refuse() { # WHAT PATTERN RANKS ARGS...
    local what=$1 pattern=$2 n=$3
    shift 3
    train "$n" "$@" --data-dir data --output-dir none --log-dir none --cache-dir none/packed
    [ $rc = 1 ] || die "$what: exit $rc"
    [ "$(grep -c '^sc_mpi: error: ' err)" = 1 ] && grep -qE -- "$pattern" err || die "$what: not $pattern"
    [ ! -s out ] && [ ! -e none ] || die "$what: something was written or said"
}
refuse "no weights" "found.json:1: key 'pretrained': no pretrained weights of resnet-tiny.*either: the weights of clip:tiny" 1 found.json
refuse "no weights, two ranks" "no pretrained weights of resnet-tiny" 2 found.json
sed 's/"resnet-tiny"/"resnet18"/' found.json >named.json
refuse "places" "$HOME/.cache/torch|$WORK/cache/torch/hub/checkpoints.*resnet18-f37072fd.pth.*download.pytorch.org" 1 named.json
mkdir -p cache/torch/hub/checkpoints && echo x >cache/torch/hub/checkpoints/resnet18-f37072fd.pth
refuse "another digest" "resnet18-f37072fd.pth: is damaged.*not f37072fd" 1 named.json

bad() { # WHAT PATTERN image|text FILE
    local key=weights/resnet-tiny.pth other=weights/tiny.safetensors
    [ "$3" = image ] && key=$4 || other=$4
    tuned bad "\"image_weights\": \"$key\", \"text_weights\": \"$other\"," >bad.json
    refuse "$1" "bad.json:1: .*$2" 1 bad.json
}
: >empty.pth
bad "empty" "empty.pth" image empty.pth
echo '<!DOCTYPE html><html>Not found</html>' >page.pth
bad "a page" "page.pth" image page.pth
head -c 50000 weights/resnet-tiny.pth >cut.pth
bad "cut zip" "cut.pth" image cut.pth
head -c 50000 weights/tiny.safetensors >cut.safetensors
bad "cut safetensors" "cut.safetensors" text cut.safetensors
bad "a missing file" "'image_weights': cannot open nothing.pth" image nothing.pth
bad "a folder" "weights is not a file" text weights
bad "the other tower" "holds no ResNet" image weights/tiny.safetensors
bad "a JPEG's name" "bad.json: " image bad.json
for how in extra missing misshapen i32; do
    "$PUBLISH" image $first $how.pth $how
    "$PUBLISH" text $first $how.safetensors $how
done
bad "extra" "does not fit resnet-tiny: 'layer9.weight' is unknown" image extra.pth
bad "extra" "does not fit clip:tiny: 'transformer.extra' is unknown" text extra.safetensors
bad "missing" "does not fit resnet-tiny: 'conv1.weight' is missing" image missing.pth
bad "misshapen" "'conv1.weight' is \[2352\], not \[16, 3, 7, 7\]" image misshapen.pth
bad "context" "'positional_embedding' is \[4928\], not \[77, 64\]" text misshapen.safetensors
bad "integers" "'conv1.weight' holds int32" image i32.pth
printf '#version\na b\nb c</w>\n' >merges.txt
tuned bad '"image_weights": "weights/resnet-tiny.pth", "text_weights": "weights/tiny.safetensors",' \
    '"tokenizer": "merges.txt",' >bad.json
refuse "another vocabulary" "token_embedding.weight' is \[514, 64\], not \[516, 64\].*merges.txt.* has 516 tokens.*'tokenizer'" 1 bad.json

# Half precision and double are read as what they are.
for how in f16 bf16 f64; do
    "$PUBLISH" image $first weights/$how.pth $how
    tuned $how "\"image_weights\": \"weights/$how.pth\", \"text_weights\": \"weights/tiny.safetensors\"," >$how.json
    ok 1 $how.json --data-dir data "${dirs[@]}"
done
same_towers runs/f64/fold_1/checkpoint_latest.pth
"$PUBLISH" differ $first runs/bf16/fold_1/checkpoint_latest.pth image_encoder.backbone. || die "bfloat16 is exact"

# Going on: the checkpoint has everything, but other files of the same names are another training.
ok 1 explicit.json --set epochs=2 --data-dir data "${dirs[@]}"
grep -q 'Epoch 2' out && ! grep -q 'Epoch 1 ' out || die "going on began anew"
mkdir elsewhere && cp weights/resnet-tiny.pth elsewhere
ok 1 explicit.json --image-weights elsewhere/resnet-tiny.pth --set epochs=3 --data-dir data "${dirs[@]}"
cp weights/f16.pth elsewhere/resnet-tiny.pth
train 1 explicit.json --image-weights elsewhere/resnet-tiny.pth --set epochs=4 --data-dir data "${dirs[@]}"
[ $rc = 1 ] && grep -q 'image_weights_sha256 (there .*, now .*--restart' err || die "changed weights were taken"
ok 1 explicit.json --set image_weights=gone.pth --set epochs=4 --data-dir data --output-dir more --log-dir logs \
    --resume-from runs/explicit/fold_1/checkpoint_latest.pth
"$PUBLISH" same $first more/explicit/fold_1/checkpoint_latest.pth image_encoder.backbone. || die "--resume-from"

train 1 explicit.json --image-weights runs/own/../explicit/fold_1/checkpoint_best.pth --restart --data-dir data "${dirs[@]}"
[ $rc = 1 ] && grep -q "'image_weights': .*checkpoint_best.pth lies where --restart removes" err || die "--restart"

# A state dict of the whole model begins a job in every format.
sed 's/"name": "first"/"name": "again"/' first.json >again.json
ok 1 again.json --init-from "$first" --data-dir data "${dirs[@]}"
"$PUBLISH" whole $first whole.safetensors
cp -r runs/again before
ok 1 again.json --init-from whole.safetensors --restart --data-dir data "${dirs[@]}"
cmp runs/again/fold_1/history.json before/fold_1/history.json || die "--init-from of safetensors"
"$PUBLISH" whole $first renamed.safetensors renamed
refuse "renamed" "'temperature' is missing \(nearest: 'temperatur'\); 'temperatur' is unknown" 1 again.json \
    --init-from renamed.safetensors
echo "app_pretrained: ok"
