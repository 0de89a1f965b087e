#!/usr/bin/env bash
# One folder that runs on another machine: sc_mpi and its companions, the CUDA plugin when it was built, Open
# MPI with mpirun, and every shared library they need but those of host_libraries below. For x86-64 Linux with a
# glibc not older than this machine's; nothing is installed there and root is not needed.
#   tools/bundle.sh [--build DIR] [--with-cuda] [OUT]
# DIR    the build to take (build/ by default; made by tools/build.sh)
# OUT    superclip.tar.xz by default; or NAME.tar, NAME.tar.gz, or NAME/ for the bare folder. It unpacks to superclip/
# --with-cuda   cuDNN, cuBLASLt, NVRTC and NCCL go along, from CUDA_HOME (/usr/local/cuda): about 1.2 GB on disk.
#               Without it the target's own are used: from CUDA_HOME, the loader's path or beside the plugin.
set -euo pipefail
shopt -s nullglob

# What the target brings: glibc, and by dlopen alone NVIDIA's driver.
host_libraries=(ld-linux-x86-64.so.2 libc.so.6 libm.so.6 libmvec.so.1 libdl.so.2 libpthread.so.0 librt.so.1
    libresolv.so.2 libutil.so.1 libanl.so.1)
most_bytes=$((64 * 1024 * 1024)) # of the archive without CUDA's libraries
# Networks whose libraries are the cluster's own, and shmem, which nothing here uses: their components stay out.
other_networks='liboshmem|libuc[pst]\.|libfabric|libibverbs|libpsm|libmca_common_(ofi|ucx|verbs|monitoring)|libportals'

fail() {
    echo "bundle.sh: error: $*" >&2
    exit 1
}

source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$source/build out= with_cuda=
while [ $# -gt 0 ]; do
    case $1 in
    --build)
        build=${2:?bundle.sh: --build needs a folder}
        shift
        ;;
    --with-cuda) with_cuda=1 ;;
    -h | --help)
        sed -n '2,10s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    -*) fail "unknown option '$1'; see --help" ;;
    *)
        [ -z "$out" ] || fail "two outputs, '$out' and '$1'"
        out=$1
        ;;
    esac
    shift
done
out=${out:-superclip.tar.xz}
case $out in
*.tar.xz | *.tar.gz | *.tar | */) ;;
*) fail "'$out' ends neither in .tar.xz, .tar.gz, .tar nor in / (a folder)" ;;
esac
[ ! -e "${out%/}" ] || fail "${out%/} exists already"
[ "$(uname -sm)" = "Linux x86_64" ] || fail "this is $(uname -sm); bundles are for Linux x86_64"
for program in sc_mpi sc_predict sc_export pack_hdf5 make_demo_data; do
    [ -x "$build/bin/$program" ] || fail "no $build/bin/$program; build it with: bash tools/build.sh"
done
for tool in ompi_info mpirun orted ldd objdump tar xz; do
    command -v $tool >/dev/null || fail "$tool is not on PATH; bash tools/setup.sh installs it"
done

work=$(mktemp -d "${TMPDIR:-/tmp}/sc_bundle.XXXXXX")
trap 'rm -rf "$work"' EXIT
B=$work/superclip
mkdir -p "$B"/{bin,libexec,etc,lib/{openmpi,pmix,hwloc,superclip},share/{openmpi,licences},tools,slurm}

# ---- programs --------------------------------------------------------------------------------------------
# The launcher of every program: same name, one folder up and in libexec.
launcher() { # NAME [ARGUMENT...]: arguments that go before the user's
    local name=$1
    shift
    cat >"$B/bin/$name" <<END
#!/bin/sh
# Starts ../libexec/$name with the libraries of this folder, wherever it lies.
self=\$0
[ ! -L "\$self" ] || self=\$(readlink -f "\$self")
case \$self in */*) ;; *) self=\$(command -v "\$self") ;; esac
B=\$(CDPATH= cd -- "\${self%/*}/.." && pwd -P) || exit 127
case \$LD_LIBRARY_PATH in
"\$B/lib" | "\$B/lib:"*) ;;
*) LD_LIBRARY_PATH=\$B/lib\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH} ;;
esac
OPAL_PREFIX=\$B OPAL_BINDIR=\$B/bin OPAL_LIBDIR=\$B/lib OPAL_PKGLIBDIR=\$B/lib/openmpi
OPAL_DATADIR=\$B/share OPAL_PKGDATADIR=\$B/share/openmpi OPAL_SYSCONFDIR=\$B/etc
PMIX_INSTALL_PREFIX=\$B PMIX_LIBDIR=\$B/lib PMIX_DATADIR=\$B/share PMIX_SYSCONFDIR=\$B/etc
HWLOC_PLUGINS_PATH=\$B/lib/hwloc
export LD_LIBRARY_PATH OPAL_PREFIX OPAL_BINDIR OPAL_LIBDIR OPAL_PKGLIBDIR OPAL_DATADIR OPAL_PKGDATADIR OPAL_SYSCONFDIR \\
    PMIX_INSTALL_PREFIX PMIX_LIBDIR PMIX_DATADIR PMIX_SYSCONFDIR HWLOC_PLUGINS_PATH
# Without a remote shell Open MPI gives up, also when it has no use for one.
command -v ssh >/dev/null || command -v rsh >/dev/null || : "\${OMPI_MCA_plm:=^rsh}"
[ -z "\$OMPI_MCA_plm" ] || export OMPI_MCA_plm
exec "\$B/libexec/$name"${*:+ $*} "\$@"
END
    chmod 755 "$B/bin/$name"
}
for program in sc_mpi sc_predict sc_export pack_hdf5 make_demo_data gpu_check; do
    [ -x "$build/bin/$program" ] || continue
    cp "$build/bin/$program" "$B/libexec/"
    launcher $program
done
plugin=no
if [ -f "$build/bin/libsc_cuda.so" ]; then
    cp "$build/bin/libsc_cuda.so" "$B/lib/superclip/"
    plugin=yes
fi

# ---- Open MPI --------------------------------------------------------------------------------------------
mpi_version=$(ompi_info --version | sed -n 's/^Open MPI v//p')
case $mpi_version in
4.*) ;;
*) fail "Open MPI ${mpi_version:-of an unknown version}; this script knows the layout of version 4 only" ;;
esac
mpi_path() { ompi_info --path "$1" --parsable | sed -n "s/^path:$1://p"; }
cp -L "$(command -v mpirun)" "$B/libexec/mpirun"
cp -L "$(command -v orted)" "$B/libexec/orted"
# shellcheck disable=SC2016 # the launcher expands it
launcher mpirun --prefix '"$B"' # remote nodes find orted by it
launcher orted
libraries_of() { ldd "$1" 2>/dev/null; }
for component in "$(mpi_path pkglibdir)"/mca_*.so; do
    [[ $(libraries_of "$component") =~ $other_networks ]] || cp -L "$component" "$B/lib/openmpi/"
done
[ -e "$B/lib/openmpi/mca_btl_vader.so" ] && [ -e "$B/lib/openmpi/mca_btl_tcp.so" ] ||
    fail "no Open MPI components in $(mpi_path pkglibdir)"
cp "$(mpi_path pkgdatadir)"/help-*.txt "$B/share/openmpi/"
pmix=$(libraries_of "$B/lib/openmpi"/mca_pmix_ext3x.so | awk '$1 ~ /^libpmix\.so/ { print $3 }')
if [ -n "$pmix" ]; then # else it is inside Open MPI
    pmix=$(dirname "$(readlink -f "$pmix")")
    for component in "$pmix"/pmix/*.so; do cp -L "$component" "$B/lib/pmix/"; done
    for share in "$pmix"/../share/pmix "$pmix"/../../share/pmix /usr/share/pmix; do
        [ -d "$share" ] || continue
        mkdir -p "$B/share/pmix"
        cp "$share"/help-*.txt "$B/share/pmix/"
        break
    done
fi
cat >"$B/etc/openmpi-mca-params.conf" <<'END'
# Shared memory inside a node, TCP between nodes. GPUs on several nodes talk through NCCL.
pml = ob1
btl = self,vader,tcp
hwloc_base_binding_policy = none
END

# ---- libraries -------------------------------------------------------------------------------------------
is_host() {
    local h
    for h in "${host_libraries[@]}"; do [ "$h" != "$1" ] || return 0; done
    return 1
}
elf_files() { find "$B" -type f \( -name '*.so*' -o -path '*/libexec/*' \) | LC_ALL=C sort; }
sources=() # the files that were copied, for their licences
take() { # FILE FOLDER
    cp -L "$1" "$B/$2/$(basename "$1")"
    chmod 644 "$B/$2/$(basename "$1")"
    sources+=("$1")
}
while read -r file; do
    while read -r name _ path _; do
        [ "$path" != not ] || fail "$(basename "$file") needs $name, which this machine does not have"
        case $path in /*) ;; *) continue ;; esac
        is_host "$name" || [ -e "$B/lib/$name" ] || { cp -L "$path" "$B/lib/$name" && sources+=("$path"); }
    done < <(libraries_of "$file")
done < <(elf_files)
chmod 644 "$B"/lib/*.so*
if [ -n "$with_cuda" ]; then
    [ $plugin = yes ] || fail "--with-cuda: the build has no libsc_cuda.so (it needs nvcc)"
    home=${CUDA_HOME:-/usr/local/cuda}
    for pattern in 'libcudnn*.so.9' 'libcublasLt.so.1[23]' 'libnccl.so.2' 'libnvrtc.so.1[23]' 'libnvrtc-builtins.so.1[23]*'; do
        found=
        for folder in "$home/lib64" "$home/lib" "$home/targets/x86_64-linux/lib"; do
            # shellcheck disable=SC2206 # a pattern
            files=($folder/$pattern)
            [ ${#files[@]} -gt 0 ] || continue
            for f in "${files[@]}"; do take "$f" lib/superclip; done
            found=1
            break
        done
        [ -n "$found" ] || fail "--with-cuda: no $pattern in $home/lib64 or $home/lib; CUDA_HOME names another place"
    done
fi
printf '%s\n' "${host_libraries[@]}" >"$B/share/host_libraries.txt"

# Every library comes from the bundle or is the target's, and the newest symbol of glibc is told.
while read -r file; do
    while read -r name _ path _; do
        case $path in
        "$B"/*) ;;
        *) is_host "$name" || [ "$name" = linux-vdso.so.1 ] || [[ $name = /*/ld-linux-x86-64.so.2 ]] ||
            fail "$(basename "$file") would take $name from the target ($path)" ;;
        esac
    done < <(LD_LIBRARY_PATH=$B/lib ldd "$file")
done < <(elf_files)
glibc=$(elf_files | xargs -d '\n' objdump -T 2>/dev/null | grep -oE 'GLIBC_2\.[0-9]+' | sort -u -V | tail -n 1)
glibc=${glibc#GLIBC_}

# ---- licences --------------------------------------------------------------------------------------------
# Debian's and Ubuntu's packages bring theirs; a library of another origin has to be named here.
owner_of() { # FILE: its package
    local path real
    real=$(readlink -f "$1")
    for path in "$1" "$real" "/usr$1" "/usr$real" "${1#/usr}" "${real#/usr}"; do
        dpkg-query -S "$path" 2>/dev/null | sed -n '1s/:.*//p' | grep . && return
    done
    return 1
}
cp "$source/LICENSE" "$B/LICENSE"
sources+=("$(mpi_path pkglibdir)/mca_btl_tcp.so" "$(command -v mpirun)")
for file in "${sources[@]}"; do
    if package=$(owner_of "$file"); then
        printf '%s %s\n' "$package" "$(dpkg-query -W -f '${Version} (source ${source:Package} ${source:Version})' "$package" | sed -n 1p)"
    elif [[ $file = */libcu* || $file = */libnccl* || $file = */libnvrtc* ]]; then
        echo "nvidia $(basename "$file"), redistributed under NVIDIA's end user licence agreements"
    else
        fail "no package owns $file: its licence is not known"
    fi
done | sort -u >"$B/share/licences/packages.txt"
while read -r package _; do
    [ "$package" != nvidia ] || continue
    [ -f "/usr/share/doc/$package/copyright" ] || fail "no /usr/share/doc/$package/copyright"
    cp -L "/usr/share/doc/$package/copyright" "$B/share/licences/$package.txt"
done <"$B/share/licences/packages.txt"
# Texts that these files refer to instead of giving them.
grep -ohE '/usr/share/common-licenses/[A-Za-z]+(-[0-9]+(\.[0-9]+)*)?' "$B"/share/licences/*.txt | sort -u |
    while read -r text; do [ ! -f "$text" ] || cp -L "$text" "$B/share/licences/"; done

# ---- what people read ------------------------------------------------------------------------------------
cp -r "$source/configs" "$B/"
cp "$source/slurm/superclip.sbatch" "$B/slurm/"
cp "$source/run_train_clip.sh" "$B/"
mkdir "$B/docs"
cp "$source"/docs/*.md "$B/docs/"
if [ -x "$B/libexec/gpu_check" ]; then
    cp "$source"/tools/gpu_check.sh "$source"/tools/bench/{gpu_step_torch,step_torch}.py "$B/tools/"
    mkdir "$B/tools/oracle"
    cp "$source"/tests/oracle/{replay_steps,replay_inputs,replay_model,model_oracle,augment_draws,hf_encoders,timm_encoders}.py \
        "$B/tools/oracle/"
fi
commit=$(git -C "$source" rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
version=$("$B/bin/sc_mpi" --version | sed -n 1p)
cat >"$B/README.md" <<END
# $version, ready to run

Built from commit $commit with Open MPI $mpi_version; CUDA plugin: $plugin. Needs x86-64 Linux with glibc $glibc or later and a
POSIX shell, no root, no installation. Unpack it anywhere (on a cluster: where all nodes see it under one path).

    cd superclip
    bin/make_demo_data demo_data --images 450 --seed 1
    bin/mpirun -np 2 bin/sc_mpi configs/demo.json --data-dir demo_data --output-dir out --log-dir logs
    bin/sc_predict out/demo_superclip/fold_*/checkpoint_best.pth demo_data --csv out.csv

Or put \`bin\` first on PATH and type \`mpirun\`, \`sc_mpi\`, \`sc_predict\`, \`sc_export\`, \`pack_hdf5\`: its mpirun starts its
ranks. As root mpirun wants \`--allow-run-as-root\`. \`bash run_train_clip.sh\` and \`sbatch slurm/superclip.sbatch\`
find the programs on PATH. docs/options.md has every option, docs/cluster.md what clusters need. Ranks on several
nodes talk over TCP; for InfiniBand build against the cluster's Open MPI.

GPUs (\`--backend cuda\`): the driver, cuDNN 9.11 or later, cuBLASLt and NCCL 2.18 or later are the machine's; they are
found through CUDA_HOME or LD_LIBRARY_PATH, or put into lib/superclip. docs/gpu_check.md: does this machine's GPU do?

Taken from the machine: $(printf '%s ' "${host_libraries[@]}")and NVIDIA's driver. All else is in lib/.
Licences: LICENSE (ours) and share/licences; packages.txt there has each package's version, unchanged from Debian or
Ubuntu, whose archives hold the sources.
END

# ---- out -------------------------------------------------------------------------------------------------
find "$B" -type d -empty ! -path '*/hwloc' -delete
on_disk=$(du -sm "$B" | cut -f1)
mkdir -p "$(dirname "$out")"
pack() { tar -C "$work" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - superclip; }
case $out in
*/) mv "$B" "${out%/}" ;;
*.tar.xz) pack | xz -T2 -6 >"$work/out" ;;
*.tar.gz) pack | gzip -1n >"$work/out" ;;
*.tar) pack >"$work/out" ;;
esac
if [ -f "$work/out" ]; then
    bytes=$(stat -c %s "$work/out")
    case $out in
    *.tar.xz) [ -n "$with_cuda" ] || [ "$bytes" -lt $most_bytes ] ||
        fail "$out would have $((bytes >> 20)) MB; $((most_bytes >> 20)) MB is the most" ;;
    esac
    cp "$work/out" "$out.part"
    mv "$out.part" "$out"
    echo "bundle.sh: $out, $((bytes >> 20)) MB, $on_disk MB unpacked; CUDA plugin: $plugin; glibc >= $glibc"
else
    echo "bundle.sh: ${out%/}, $on_disk MB; CUDA plugin: $plugin; glibc >= $glibc"
fi
