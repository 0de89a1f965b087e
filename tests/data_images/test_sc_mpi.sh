#!/usr/bin/env bash
# What sc_mpi says and does about its data: folds that cannot be made, its own cache, bad images.
source "$(dirname "$0")/../app/common.sh"
"$PROBE" images data 9 12 7
config '"name": "a", "epochs": 1,' >c.json
dirs=(--output-dir out1 --log-dir logs --backend cpu)
says() { # FILE WORDS
    grep -qF -- "$2" "$1" || die "nothing says '$2'"
}

# Folds: where the config stands, its name, the class.
refuse() { # WORDS ARGS...
    train 1 "${@:2}" --data-dir data "${dirs[@]}"
    [ $rc = 1 ] && [ "$(wc -l <err)" = 1 ] || die "exit $rc, not one line"
    says err "$1"
}
config '"n_splits": 29,' | sed 's/"n_splits": 3,//' >bad.json
refuse "error: bad.json:1: config 'resnet-tiny_clip_tiny': n_splits is 29, but there are only 28" bad.json
refuse "error: bad.json:1: config 'resnet-tiny_clip_tiny': n_splits is 13, but no class has that many samples (the largest, class 'c1', has 12)" bad.json --n-splits 13
(config '"name": "a",' | sed '$d' && echo '}, {' && config '"name": "b",' | sed '1d; s/"n_splits": 3,/"n_splits": 13,/') >two.json
refuse "error: two.json:6: config 'b': n_splits is 13" two.json
train 1 c.json --n-splits 8 --check --data-dir data "${dirs[@]}"
[ $rc = 0 ] || die "exit $rc"
cat out err >all
says all "c.json:1: config 'a': class 'c2' has 7 samples, fewer than n_splits = 8"
# Bad images: the advice names the program that has the flag.
cp -r data bad && echo '<html>' >bad/c1/page.jpg
train 1 c.json --data-dir bad "${dirs[@]}"
[ $rc = 1 ] || die "exit $rc"
says err "leave them out: pack_hdf5 SRC DST --skip-bad, and give DST as --data-dir"

# A cache entry that lost its manifest or is damaged is packed again, by any number of ranks.
args=(c.json --data-dir data --log-dir logs --backend cpu --cache-dir cache)
ok 1 "${args[@]}" --output-dir first
entry=$(echo cache/*)
shard=$(cd "$entry" && echo shard-*.h5)
packs_again() { # RANKS OUTPUT
    ok "$1" "${args[@]}" --output-dir "$2"
    says out Packing
    [ -f "$entry/manifest.json" ] && [ "$(ls -A cache)" = "${entry#cache/}" ] || die "the cache: $(ls -A cache)"
    same_bytes first "$2"
}
rm "$entry/manifest.json"
packs_again 1 second
rm "$entry/manifest.json"
packs_again 2 third
truncate -s -7 "$entry/$shard"
packs_again 1 fourth
rm -r "$entry" && echo junk >"$entry"
packs_again 1 fifth

# A damaged row fails its jobs; the same command again packs anew and ends as if nothing had been.
flip_row() { # FILE: a byte in the middle of the rows, which are nearly all of the file
    local at=$(($(stat -c %s "$1") / 2)) byte
    byte=$(od -An -tu1 -j$at -N1 "$1")
    printf "\\$(printf %o $((byte ^ 255)))" | dd of="$1" bs=1 seek=$at conv=notrunc status=none
}
flip_row "$entry/$shard"
train 2 "${args[@]}" --output-dir sixth
[ $rc = 2 ] || die "a damaged row: exit $rc"
cat out err >all
says all "the cache entry was dropped, run the same command again"
[ ! -e "$entry/manifest.json" ] || die "the manifest is still there"
packs_again 1 sixth
flip_row "$entry/$shard"
train 1 c.json --data-dir "$entry" --log-dir logs --backend cpu --output-dir seventh
[ $rc = 2 ] || die "a damaged row: exit $rc"
cat out err >all
says all "pack the images again with pack_hdf5 --force"
[ -f "$entry/manifest.json" ] || die "a user's manifest was removed"

# SIGUSR1 while packing: exit 42, nothing half packed; images of 12 MB, so that it would take minutes.
cp -r data large
{ # a BMP of 2000 x 2000
    printf 'BM\x36\x1b\xb7\0\0\0\0\0\x36\0\0\0\x28\0\0\0\xd0\x07\0\0\xd0\x07\0\0\x01\0\x18\0\0\0\0\0'
    head -c 12000020 /dev/zero
} >large/c1/0.bmp
for i in $(seq 1 600); do ln large/c1/0.bmp large/c1/big$i.bmp; done
stop() { # RANKS
    local run=("$SC") pid n=0
    [ "$1" = 1 ] || run=(mpirun -np "$1" "$SC")
    rm -rf cache stopped
    ASAN_OPTIONS=$mpi_asan "${run[@]}" "${args[@]}" --data-dir large --output-dir stopped >out 2>err </dev/null &
    pid=$!
    until grep -q Packing out; do
        n=$((n + 1))
        [ $n -lt 400 ] || die "it does not pack"
        sleep 0.05
    done
    sleep 0.1
    rc=0
    for n in $(seq 600); do
        [ $((n % 60)) != 1 ] || kill -USR1 $pid 2>/dev/null || break # again: a loaded mpirun may lose one
        kill -0 $pid 2>/dev/null || break
        [ "$n" -lt 600 ] || kill -KILL $pid
        sleep 0.05
    done
    wait $pid || rc=$?
    [ $rc = 42 ] || die "exit $rc instead of 42 on $1 ranks"
    says out "stopped while packing"
    ! grep -q error err || die "an error was told"
    [ -z "$(find . -name '*.packing*')" ] && [ -z "$(ls -A cache 2>/dev/null)" ] || die "left behind"
}
stop 1
stop 2
rm large/c1/big* large/c1/0.bmp
ok 2 "${args[@]}" --data-dir large --output-dir stopped

echo "sc_mpi's data: ok"
