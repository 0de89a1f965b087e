#!/usr/bin/env bash
# Installs what sc_mpi needs from Debian's (or Ubuntu's) packages; with sudo when not root.
#   tools/setup.sh            compiler and libraries
#   tools/setup.sh --tests    and what the tests use
# Asks apt only for what is missing; does nothing, and needs no network, when all is there.
set -euo pipefail

packages=(build-essential cmake ninja-build pkg-config
    libopenmpi-dev openmpi-bin libhdf5-dev libcjson-dev libdnnl-dev
    libjpeg-dev libpng-dev libtiff-dev libwebp-dev libpcre2-dev libunistring-dev zlib1g-dev)
test_packages=(libcmocka-dev iproute2 procps unzip)
slurm_packages=(slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge)

for arg in "$@"; do
    case $arg in
    --tests)
        packages+=("${test_packages[@]}")
        # A real Slurm on this host is a test that needs root.
        [ "$(id -u)" = 0 ] && packages+=("${slurm_packages[@]}")
        ;;
    -h | --help)
        sed -n '2,5s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    *)
        echo "setup.sh: unknown option '$arg'; see --help" >&2
        exit 1
        ;;
    esac
done

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "setup.sh: this is not Debian or Ubuntu; install the like of: ${packages[*]}" >&2
    exit 1
fi

missing=()
for p in "${packages[@]}"; do
    # A package, or an installed one that provides it (libjpeg-dev is a name of libjpeg62-turbo-dev).
    dpkg-query -W -f '${db:Status-Status}\n' "$p" 2>/dev/null | grep -qx installed || missing+=("$p")
done
if [ ${#missing[@]} = 0 ]; then
    exit 0
fi

sudo=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || {
        echo "setup.sh: not root and no sudo; ask an administrator for: ${missing[*]}" >&2
        exit 1
    }
    sudo=sudo
fi
echo "setup: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() { $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >"$log" 2>&1; }
# Old package lists are the usual reason for a failure: fetch them first, then try once more.
if ! { $sudo apt-get update -q >"$log" 2>&1; install; }; then
    sleep 3
    { $sudo apt-get update -q >"$log" 2>&1 && install; } || {
        cat "$log" >&2
        echo "setup.sh: apt-get could not install the packages above" >&2
        exit 1
    }
fi
