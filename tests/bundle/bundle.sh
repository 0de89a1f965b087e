#!/usr/bin/env bash
# tools/bundle.sh: a bundle of the build, unpacked under another name, makes data, packs, trains on two ranks and
# predicts; every library but the few it names comes from it. Where this user may make namespaces, all of that runs in
# a root folder that holds glibc, sh and the bundle alone.
set -euo pipefail
BUILD=$(cd "$1" && pwd)
HERE=$(cd "$(dirname "$0")" && pwd)
SOURCE=$(cd "$HERE/../.." && pwd)
WORK=$(mktemp -d "${TMPDIR:-/tmp}/sc_bundle_test.XXXXXX")
trap 'rm -rf "$WORK"' EXIT
cd "$WORK"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 OMP_NUM_THREADS=1
unset LD_LIBRARY_PATH OPAL_PREFIX

die() {
    echo "bundle.sh: FAILED: $*" >&2
    for f in out err; do [ ! -f $f ] || head -n 60 $f >&2; done
    exit 1
}
make() { bash "$SOURCE/tools/bundle.sh" --build "$BUILD" "$@" >out 2>err; }
refuses() { # WORDS ARGUMENT...: exit 1 and one line that says WORDS
    local words=$1 rc=0
    shift
    bash "$SOURCE/tools/bundle.sh" "$@" >out 2>err || rc=$?
    [ $rc = 1 ] && [ "$(wc -l <err)" = 1 ] && grep -qF -- "$words" err || die "of '$*': not refused with '$words'"
}
refuses "unknown option '--cuda'" --cuda
refuses 'ends neither in' --build "$BUILD" out.zip
refuses "no $WORK/bin/sc_mpi; build it with" --build "$WORK" b.tar
touch there.tar
refuses 'there.tar exists already' --build "$BUILD" there.tar

make kept.tar.gz || die "no bundle"
[ "$(stat -c %s kept.tar.gz)" -lt $((64 << 20)) ] || die "too large: $(stat -c %s kept.tar.gz) bytes"
mkdir -p "a place"
tar -C "a place" -xzf kept.tar.gz
mv "a place/superclip" "a place/other-name"
B="$WORK/a place/other-name"
[ -z "$(find "$B" -type l)" ] || die "links in the bundle"
[ -s "$B/LICENSE" ] && [ -s "$B/share/licences/libhdf5-103-1.txt" -o -n "$(ls "$B"/share/licences/libhdf5* "$B"/share/licences/hdf5* 2>/dev/null)" ] ||
    die "licences are missing"
if [ -f "$BUILD/bin/libsc_cuda.so" ]; then
    [ -f "$B/lib/superclip/libsc_cuda.so" ] || die "the plugin stayed behind"
fi

# The work, by a script that needs sh alone, in a folder that $1 names; the bundle is $2.
cat >work.sh <<'END'
set -eu
cd "$1"
B=$2
"$B/bin/make_demo_data" pictures --images 45 --size-min 36 --size-max 40 --seed 2
"$B/bin/pack_hdf5" pictures packed --img-size 32
cd "$B" # relative names, as people type them
bin/mpirun -np 2 bin/sc_mpi "$1/c.json" --data-dir "$1/packed" --output-dir "$1/$3" --log-dir "$1/logs" --backend cpu
cd "$1"
"$B/bin/sc_predict" "$3/t/fold_1/checkpoint_best.pth" pictures --csv "$3/p.csv" --backend cpu
"$B/bin/sc_export" "$3/t/fold_1/checkpoint_best.pth" "$3/model.safetensors"
END
cat >c.json <<'END'
[{"name": "t", "image_encoder": "resnet-tiny", "text_encoder": "clip:tiny", "pretrained": false, "img_size": 32,
  "embed_dim": 16, "batch_size": 8, "epochs": 1, "n_splits": 3, "use_cv": false, "num_workers": 1, "use_amp": false}]
END
finished() { # DIR
    [ "$(wc -l <"$1/p.csv")" = 46 ] && [ -s "$1/model.safetensors" ] && [ -s "$1/t/cv_summary.json" ] ||
        die "$1 is not complete"
}

# Here, with the loader telling what it loads; libraries are named in lines of glibc's LD_DEBUG=files.
mkdir here loader
cp c.json here/
LD_DEBUG=files LD_DEBUG_OUTPUT=$WORK/loader/log sh work.sh "$WORK/here" "$B" run >out 2>err || die "the bundle's programs fail"
finished here/run
programs=$(grep -lE "transferring control: $B/libexec/" loader/*) || die "the loader told nothing"
[ "$(wc -l <<<"$programs")" -ge 6 ] || die "only these ran: $programs"
while read -r library; do
    case $library in
    "$B"/*) ;;
    *) grep -qxF "$(basename "$library")" "$B/share/host_libraries.txt" || die "taken from this machine: $library" ;;
    esac
done < <(tr '\n' '\0' <<<"$programs" | xargs -0 sed -n 's/.*calling init: //p' | sort -u)

# Ranks on other nodes: mpirun starts orted there through a remote shell that gives it an empty environment.
cat >rsh <<'END'
#!/bin/sh
node=$WORK/$1 # its own place for temporary files, as on another machine
shift
mkdir -p "$node"
exec env -i HOME="$HOME" TMPDIR="$node" OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 sh -c "$*"
END
chmod 755 rsh
mv "$B" "$WORK/elsewhere"
B=$WORK/elsewhere
export WORK
if ! timeout 60 "$B/bin/mpirun" -np 2 -H nodea:1,nodeb:1 -x OMP_NUM_THREADS --mca plm_rsh_agent "$WORK/rsh" --mca plm ^slurm \
    "$B/bin/sc_mpi" "$WORK/c.json" --data-dir "$WORK/here/packed" --output-dir "$WORK/here/nodes" \
    --log-dir "$WORK/here/logs" --backend cpu >out 2>err </dev/null; then
    die "two nodes"
fi
cmp here/run/t/fold_1/history.json here/nodes/t/fold_1/history.json || die "two nodes give another result"

# Where there is nothing else.
if ! unshare -rm chroot / true 2>/dev/null; then
    echo "bundle.sh: this user may make no namespaces: not tried in an empty root folder"
    exit 0
fi
mkdir -p root/{bin,lib64,lib/x86_64-linux-gnu,proc,dev,sys,tmp,else}
shell=$(readlink -f "$(command -v dash || command -v sh)")
cp "$shell" root/bin/sh
while read -r library; do
    path=$(ldconfig -p 2>/dev/null | awk -v l="$library" '$1 == l { print $NF; exit }' || true)
    for path in "$path" "/lib64/$library" "/lib/x86_64-linux-gnu/$library" "/usr/lib64/$library"; do
        [ -z "$path" ] || [ ! -e "$path" ] || { cp -L "$path" root/lib/x86_64-linux-gnu/; break; }
    done
done <"$B/share/host_libraries.txt"
cp root/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 root/lib64/
mv "$B" root/else/where
cp work.sh c.json root/tmp/
cat >enter.sh <<'END'
set -e
for f in proc dev sys; do mount --rbind /$f root/$f; done
exec chroot root /bin/sh /tmp/work.sh /tmp /else/where run
END
HOME=/tmp PATH=/bin TMPDIR=/tmp unshare -rm "$(command -v bash)" -c "PATH=$PATH; . ./enter.sh" >out 2>err ||
    die "in an empty root folder"
finished root/tmp/run
for f in t/fold_1/history.json p.csv; do
    cmp "here/run/$f" "root/tmp/run/$f" || die "$f differs in an empty root folder"
done
