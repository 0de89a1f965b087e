"""Every promised figure of the CPU trainer, measured in one run and printed as one table.

    python3 tools/bench/table.py [--build build] [--rows speed|exact|all] [--only step,packing] [--quick]

Needs a finished build with tests, and for the comparisons a python3 with torch, torchvision, scikit-learn and
Pillow < 13 (the one that runs this). Both programs run in turn in every round and the medians of the rounds count, but
a busy machine still shows: close other programs first. The speed rows take about half an hour on two cores,
the exact ones half of that; --quick takes one round, fewer steps and no torch.compile.
"""
import argparse
import os
import sys
import tempfile

import exact_rows
import speed_rows
from running import ROOT, Bench

ROWS = {"speed": speed_rows.ROWS, "exact": exact_rows.ROWS}
ROWS["all"] = ROWS["speed"] + ROWS["exact"]


def verdict(good, better):
    return "MISSED" if not good else "goal" if better else "must"


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--build", default=f"{ROOT}/build")
    a.add_argument("--rows", choices=sorted(ROWS), default="all")
    a.add_argument("--only", default="", help="rows by name: " + ",".join(r[0] for r in ROWS["all"]))
    a.add_argument("--kills", type=int, default=20)
    a.add_argument("--quick", action="store_true")
    o = a.parse_args()
    wanted = [w for w in o.only.split(",") if w] or [r[0] for r in ROWS[o.rows]]
    unknown = set(wanted) - {r[0] for r in ROWS["all"]}
    if unknown:
        a.error(f"--only: no row {', '.join(sorted(unknown))}")
    failed = 0
    with tempfile.TemporaryDirectory() as work:
        b = Bench(os.path.abspath(o.build), work, o.kills, o.quick)
        print("| Measure | Must | Goal | Measured | |\n|---|---|---|---|---|", flush=True)
        for name, title, must, goal, measure in ROWS["all"]:
            if name not in wanted:
                continue
            try:
                value, good, *better = measure(b)
            except (RuntimeError, OSError, ValueError, KeyError) as e:
                value, good, better = f"failed: {e}", False, []
            failed += not good
            better = better[0] if better else bool(good)
            print(f"| {title} | {must} | {goal} | {value} | {verdict(good, better)} |", flush=True)
    sys.exit(1 if failed else 0)


main()
