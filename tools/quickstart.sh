#!/usr/bin/env bash
# From a fresh machine to a finished cross-validation on the CPU: installs, builds, draws demo data, trains
# two configs with three folds each on two ranks, and prints what came out.
#   tools/quickstart.sh [options for sc_mpi]
# Typed again it continues, and says so quickly when all is done.
set -euo pipefail
cd "$(dirname "$0")/.."

case ${1:-} in
-h | --help)
    sed -n '2,5s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac

bash tools/setup.sh
echo "quickstart: building (build/bin)"
bash tools/build.sh release -DSC_TESTS=OFF
if [ ! -d demo_data ]; then
    echo "quickstart: drawing demo data (demo_data)"
    rm -rf demo_data.part
    build/bin/make_demo_data demo_data.part --images 450 --seed 1
    mv demo_data.part demo_data
fi

mpi=(mpirun -np 2 --bind-to none)
[ "$(id -u)" != 0 ] || mpi+=(--allow-run-as-root)
[ "$(nproc)" -ge 2 ] || mpi+=(--oversubscribe)
echo "quickstart: ${mpi[*]} build/bin/sc_mpi configs/demo.json --data-dir demo_data --output-dir checkpoints/demo --log-dir logs/demo $*"
"${mpi[@]}" build/bin/sc_mpi configs/demo.json --data-dir demo_data --output-dir checkpoints/demo \
    --log-dir logs/demo "$@"

for summary in checkpoints/demo/*/cv_summary.json; do
    echo
    echo "== $summary"
    cat "$summary"
done
