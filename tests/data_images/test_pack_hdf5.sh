#!/usr/bin/env bash
# tools/pack_hdf5 as a user meets it: alone and under mpirun, bad images, full disk, no right to write, Ctrl-C.
set -u
build=$1
here=$(cd "$(dirname "$0")" && pwd)
pack=$build/bin/pack_hdf5
golden=$here/../golden/images
work=$(mktemp -d)
mounted=
finish() {
    [ -n "$mounted" ] && umount "$mounted"
    chmod -R u+w "$work"
    rm -rf "$work"
}
trap finish EXIT
cd "$work" || exit 1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=0} # of the MPI library
export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_mpi_yield_when_idle=1

failures=0
fail() {
    echo "FAIL: $*"
    [ -f out.txt ] && sed 's/^/    /' out.txt
    failures=$((failures + 1))
}
# expect CODE WORDS command...: exit status and a line that holds WORDS
expect() {
    code=$1 words=$2
    shift 2
    timeout 120 "$@" >out.txt 2>&1
    got=$?
    [ "$got" = "$code" ] || fail "exit $got instead of $code: $*"
    grep -qF -- "$words" out.txt || fail "no line says '$words': $*"
}
# one line of error and nothing else, nothing made
clean_error() {
    [ "$(grep -c 'pack_hdf5: error:' out.txt)" = 1 ] || fail "not one error line"
    [ -z "$(ls -A . | grep -vE '^(images|out.txt|small|locked|set.*)$')" ] || fail "left behind: $(ls -A)"
}

mkdir -p "images/class one" images/b
for i in 1 2 3 4 5 6 7 8; do
    cp "$golden/png_c2_d8_0.png" "images/class one/$i.png"
    cp "$golden/jpeg_RGB_0.jpg" "images/b/$i.JPG"
done

expect 0 "--window LO,HI" "$pack" --help
expect 0 "pack_hdf5 0" "$pack" --version
expect 1 "expected two folders" "$pack"
expect 1 "third folder" "$pack" images a b
expect 1 "did you mean --img-size" "$pack" images set --image-size 224
expect 1 "16..4096" "$pack" images set --img-size 5000
expect 1 "must be an integer" "$pack" images set --img-size 2x
expect 1 "value is missing" "$pack" images set --shards
expect 1 "takes no value" "$pack" images set --force=1
expect 1 "LO,HI" "$pack" images set --window 5
expect 1 "more than the 16 images" "$pack" images set --shards 17
clean_error
expect 1 "nowhere" "$pack" nowhere set
clean_error

expect 0 "packed 16 images of 2 classes" "$pack" images set --img-size 48 --shards 3
expect 1 "exists already" "$pack" images set --img-size 48
expect 0 "packed 16" "$pack" images set --img-size=48 --shards=3 --force
for ranks in 2 3; do
    expect 0 "packed 16 images" mpirun -np $ranks "$pack" images set$ranks --img-size 48 --shards 3
    diff -r set set$ranks >/dev/null || fail "$ranks ranks write other bytes"
    [ "$(grep -c '^packed' out.txt)" = 1 ] || fail "not one report"
done
expect 0 "packed 16 images" env SC_BUILD="$build" "$here/../../tools/pack_hdf5" images set4 --img-size 48 --shards 3
rm -rf set2 set3 set4

# bad images: all listed, nothing written
echo '<html>' >images/b/page.jpg
head -c 100 "$golden/png_c2_d8_0.png" >"images/class one/cut.png"
expect 1 "2 of 18 images" "$pack" images set5
grep -q 'images/b/page.jpg: ' out.txt || fail "page.jpg is not listed"
grep -q 'images/class one/cut.png: ' out.txt || fail "cut.png is not listed"
clean_error
expect 1 "2 of 18 images" mpirun -np 2 "$pack" images set5
[ "$(grep -c '^bad: ' out.txt)" = 2 ] || fail "not two bad files"
clean_error
expect 1 "2 of 18 images" "$pack" images set --force
[ -f set/manifest.json ] || fail "a failing --force lost the old set"
expect 0 "2 skipped" mpirun -np 2 "$pack" images set6 --img-size 48 --shards 3 --skip-bad
cmp -s set/shard-00002-of-00003.h5 set6/shard-00002-of-00003.h5 || fail "skipped files leave a trace"
grep -q '"path": "b/page.jpg"' set6/manifest.json || fail "the manifest does not name page.jpg"
rm -rf set6 images/b/page.jpg "images/class one/cut.png"

# no right to write, no room
if [ "$(id -u)" != 0 ]; then
    mkdir locked && chmod a-w locked
    expect 1 "locked" "$pack" images locked/set
    clean_error
elif mkdir -p small && mount -t tmpfs -o size=300k none small 2>/dev/null; then
    mounted=$work/small
    expect 1 "free there" "$pack" images small/set --img-size 224
    clean_error
    [ -z "$(ls -A small)" ] || fail "left on the full disk: $(ls -A small)"
    head -c 270000 /dev/zero >small/ballast
    expect 1 "small/set" "$pack" images small/set --img-size 32
    [ "$(ls -A small)" = ballast ] || fail "left on the full disk: $(ls -A small)"
fi
expect 1 "/proc/nowhere" "$pack" images /proc/nowhere/set
clean_error

# Ctrl-C leaves no set; the next run cleans up
mkdir -p many/a many/b
for i in $(seq 400); do
    ln "$golden/tiff_rgb16_0.tif" many/a/$i.tif 2>/dev/null || cp "$golden/tiff_rgb16_0.tif" many/a/$i.tif
    cp "$golden/png_tall.png" many/b/$i.png
done
for delay in 0.05 0.15 0.3; do
    "$pack" many set7 --img-size 512 >out.txt 2>&1 &
    pid=$!
    sleep $delay
    kill -INT $pid 2>/dev/null
    kill -TERM $pid 2>/dev/null # a shell's background job ignores INT
    wait $pid
    if [ $? = 0 ]; then
        rm -rf set7
    else
        [ ! -e set7 ] || fail "an interrupted run left a set"
    fi
done
expect 0 "packed 800" "$pack" many set7 --img-size 16
[ -z "$(find . -name '*.packing')" ] || fail "the next run did not clean up"

[ $failures = 0 ] && echo "all pack_hdf5 checks passed"
exit $failures
