#!/usr/bin/env bash
# sc_export: the same tensors, the rest as metadata, nothing replaced or half written.
source "$(dirname "$0")/common.sh"
"$PROBE" images data 5 6
config '"name": "tiny", "epochs": 1, "use_cv": false,' >c.json
ok 1 c.json --data-dir data --output-dir run --log-dir logs
p=run/tiny/fold_1/checkpoint_best.pth

tool 0 sc_export $p all.safetensors
"$COPY" equal $p all.safetensors "" || die "all tensors"
tool 0 sc_export run/tiny/fold_1/checkpoint_latest.pth latest.safetensors
"$COPY" equal run/tiny/fold_1/checkpoint_latest.pth latest.safetensors "" || die "without the optimiser"
tool 0 sc_export $p image.safetensors --tower image
"$COPY" equal $p image.safetensors image_encoder. || die "the image tower"
tool 0 sc_export --tower=text $p text.safetensors
"$COPY" equal $p text.safetensors text_encoder. || die "the text tower"
grep -qx 'text.safetensors: [0-9]* tensors' out || die "what was written"

# The header: JSON with the other keys as strings.
header() {
    local n
    n=$(od -An -t u8 -N 8 "$1" | tr -d ' ')
    head -c $((n + 8)) "$1" | tail -c "$n"
}
header all.safetensors >header.json
[ "$("$PROBE" json header.json __metadata__.format __metadata__.fold __metadata__.epoch \
    __metadata__.class_to_idx __metadata__.class_texts | tr '\n' ' ')" = \
    'pt 1 0 {"c0": 0, "c1": 1} {"c0": "c0", "c1": "c1"} ' ] || die "metadata"
"$PROBE" json header.json __metadata__.config >config.json
[ "$("$PROBE" json config.json embed_dim image_encoder_name | tr '\n' ' ')" = "16 resnet-tiny " ] || die "the config"
"$PROBE" json header.json __metadata__.class_token_ids __metadata__.best_val_mAP >/dev/null || die "token ids, figures"
! grep -q '"optimizer_state_dict"\|"sc_state"\|"scheduler_state_dict"' header.json || die "states in the metadata"
header image.safetensors >header.json
[ "$("$PROBE" json header.json __metadata__.tower)" = image ] || die "the tower's name"

# Nothing is replaced unless asked, nothing is left by a failure.
refused "all.safetensors: is there already; --force replaces it" sc_export $p all.safetensors
refused "is the checkpoint itself" sc_export $p $p --force
refused "run: is there and is no file" sc_export $p run --force
tool 0 sc_export $p all.safetensors --tower image --force
cmp all.safetensors image.safetensors || die "--force"
refused "expected two files" sc_export $p
refused "a third file" sc_export $p a b
refused "--tower head: must be image or text" sc_export $p a.safetensors --tower head
refused "did you mean --tower?" sc_export $p a.safetensors --towr image
refused "it looks like safetensors" sc_export image.safetensors a.safetensors
refused "nowhere/a.safetensors" sc_export $p nowhere/a.safetensors
"$COPY" strip $p nomodel.pth model_state_dict
refused "nomodel.pth: holds no model_state_dict" sc_export nomodel.pth a.safetensors
cp $p flip.pth
printf '\x5a' | dd of=flip.pth bs=1 seek=$(($(stat -c %s flip.pth) / 2)) conv=notrunc status=none
refused "flip.pth: member 'archive/data/" sc_export flip.pth a.safetensors
[ -z "$(find . -name 'a.safetensors*')" ] || die "a file of a failed export"
for what in --help --version -h; do
    tool 0 sc_export $what
    [ -s out ] || die "$what"
done
echo "sc_export: ok"
