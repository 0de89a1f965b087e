#!/usr/bin/env bash
# The packed images in the GPU's memory: the bytes of a run without; what does not fit is told before training.
source "$(dirname "$0")/../app/common.sh"
export SUPERCLIP_CACHE=$WORK/plans CUDA_HOME=$BUILD/tests/cuda/standin
mkdir with
cp "$SC" "$BUILD/tests/cuda/standin/plugin/libsc_cuda.so" with/
SC=$WORK/with/sc_mpi
"$PROBE" images data 3 8 7
config '"epochs": 2, "name": "t", "use_superclip_loss": true,' >c.json
args=(c.json --data-dir data --log-dir logs --cache-dir cache --no-amp)
says() {
    grep -qF -- "$1" out err || die "nowhere: $1"
}
times() { # N WORDS: so many lines with them in the log
    [ "$(grep -cF -- "$2" out)" = "$1" ] || die "not $1 times: $2"
}

# On processors there is nothing to keep.
train 1 "${args[@]}" --backend cpu --data-on-gpu on --output-dir none
[ $rc = 1 ] && [ ! -e none ] || die "--data-on-gpu on on a processor"
says "--data-on-gpu on is for GPUs, and this run computes on 'cpu'"
train 1 "${args[@]}" --data-on-gpu maybe --output-dir none
[ $rc = 1 ] && [ ! -e none ] || die "--data-on-gpu maybe"
says "--data-on-gpu: 'maybe' is unknown; it must be auto, on or off"

# The same bytes; uploaded once for all folds, however many at once, and once by each rank.
ok 1 "${args[@]}" --output-dir off --data-on-gpu off
times 0 "Data: "
ok 1 "${args[@]}" --output-dir auto
times 1 "Data: 18 images on the GPU"
same_bytes off auto
ok 1 "${args[@]}" --output-dir three --data-on-gpu on --jobs-per-gpu 3
times 1 "Data: 18 images on the GPU"
same_bytes off three
ok 2 "${args[@]}" --output-dir pair --data-on-gpu on --group-size 1
times 2 "Data: 18 images on the GPU"
same_bytes off pair
ok 2 "${args[@]}" --output-dir grouped --data-on-gpu off --group-size 2 --set use_cv=false
ok 2 "${args[@]}" --output-dir grouped_on --data-on-gpu on --group-size 2 --set use_cv=false
same_bytes grouped grouped_on
ok 1 "${args[@]}" --output-dir few --overfit 4 --epochs 1 # of 18: not worth it
times 0 "Data: "

# Two sizes, of which one fits at a time, and rows without augmentation.
{
    config '"epochs": 1, "use_cv": false, "name": "a",' | sed 's/}]/},/'
    config '"epochs": 1, "use_cv": false, "name": "b", "augmentation": "none",' |
        sed 's/^\[//; s/"img_size": 32/"img_size": 40/'
} >two.json
two=(two.json "${args[@]:1}")
ok 1 "${two[@]}" --output-dir two_off --data-on-gpu off
ok 1 "${two[@]}" --output-dir two_on --data-on-gpu on
times 2 "Data: 18 images on the GPU"
same_bytes two_off two_on

# What does not fit, by the figures that --check tells.
"$PROBE" images many 60 60
"$BUILD/bin/pack_hdf5" many packed --img-size 96 >out 2>err || die "packing"
config '"name": "t",' | sed 's/"img_size": 32/"img_size": 96/' >big.json
big=(big.json --data-dir packed --log-dir logs --no-amp --output-dir none)
figure() { # WORDS: the megabytes behind them
    sed -n "s/^GPU memory: .*$1 \([0-9.]*\) MB.*/\1/p" out
}
room() { # MEGABYTES for jobs and data -> SHIM_MEMORY_MB
    awk -v m="$1" 'BEGIN { printf "%d", m / 0.9 / 1.048576 + 1 }'
}
for what in --check --plan; do
    ok 1 "${big[@]}" $what
    says "once for all jobs"
done
job=$(figure "1 job takes up to") images=$(figure "the images")
awk -v i="$images" 'BEGIN { exit !(i == 7.3) }' || die "images of $images MB"
tight=$(room "$(awk -v j="$job" -v i="$images" 'BEGIN { print j + i / 2 }')")
SHIM_MEMORY_MB=$tight ok 1 "${big[@]}" --check
says "the images 7.3 MB do not fit beside and are read batch by batch"
for what in --check ""; do
    SHIM_MEMORY_MB=$tight train 1 "${big[@]}" --data-on-gpu on $what
    [ $rc = 1 ] && [ ! -e none/t ] || die "data that do not fit: $rc"
    says "--data-on-gpu on: the images take 7.3 MB of the GPU's memory, and "
    says " are missing beside the jobs; lower batch_size, img_size or --jobs-per-gpu"
    SHIM_MEMORY_MB=$tight train 1 "${big[@]}" --jobs-per-gpu 2 $what
    [ $rc = 1 ] && [ ! -e none/t ] || die "two jobs that do not fit: $rc"
    says "--jobs-per-gpu 2: 2 jobs at once need "
    SHIM_MEMORY_MB=20 train 1 "${big[@]}" $what
    [ $rc = 1 ] && [ ! -e none/t ] || die "a job that does not fit: $rc"
    says "config 't', fold 1: the job needs $job MB of the GPU's memory, and a rank has "
    says "lower batch_size or img_size"
done
SHIM_MEMORY_MB=20 ok 1 "${big[@]}" --plan
says "Warning: config 't', fold 1: the job needs $job MB"
