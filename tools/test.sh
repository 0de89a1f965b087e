#!/usr/bin/env bash
# Installs, builds with warnings as errors, and runs every test.
#   tools/test.sh               all tests
#   tools/test.sh --sanitize    and all of them again under AddressSanitizer + UBSan
#   tools/test.sh -R PATTERN    only tests whose name matches
set -euo pipefail
cd "$(dirname "$0")/.."
sanitize=
filter=()
while [ $# -gt 0 ]; do
    case $1 in
    --sanitize) sanitize=1 ;;
    -R)
        filter=(-R "${2:?test.sh: -R needs a pattern}")
        shift
        ;;
    -h | --help)
        sed -n '2,5s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    *)
        echo "test.sh: unknown option '$1'; see --help" >&2
        exit 1
        ;;
    esac
    shift
done

bash tools/setup.sh --tests
echo "test: building"
bash tools/build.sh release -DSC_WERROR=ON
# Two at a time: most tests are one thread's work, some wait, and none needs the machine for itself.
ctest --preset release --no-tests=error -j 2 "${filter[@]}"
if [ -n "$sanitize" ]; then
    echo "test: building with AddressSanitizer and UBSan"
    bash tools/build.sh asan
    # Open MPI and Slurm keep memory of their own until the end: leaks are looked for in the unit tests,
    # whose programs do not start MPI.
    export UBSAN_OPTIONS=print_stacktrace=1
    ctest --preset asan --no-tests=error -j 2 "${filter[@]}"
fi
