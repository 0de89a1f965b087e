"""Every promised figure of the CPU trainer, measured in one run and printed as one table.

    python3 tools/bench/table.py [--build build] [--only step,packing] [--kills 20]

Needs a finished build with tests, and for the comparisons a python3 with torch, torchvision, scikit-learn and
Pillow < 13 (the one that runs this). Close other programs first: ratios are medians of alternating runs, but a busy
machine still shows. Takes about half an hour.
"""
import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
ENV = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
           OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_MCA_hwloc_base_binding_policy="none")
SMALL = {"image_encoder": "resnet-tiny", "text_encoder": "clip:tiny", "pretrained": False, "embed_dim": 64,
         "img_size": 48, "batch_size": 16, "use_superclip_loss": True, "learning_rate": 1e-3}


class Bench:
    def __init__(self, build, work, kills):
        self.build, self.work, self.kills, self.count = build, work, kills, 0
        self.data = f"{work}/data"
        run([f"{build}/bin/make_demo_data", self.data, "--images", "160", "--seed", "3"])

    def program(self, name):
        return f"{self.build}/bin/{name}"

    def config(self, configs):
        self.count += 1
        path = f"{self.work}/config{self.count}.json"
        with open(path, "w") as f:
            json.dump(configs, f)
        return path

    def train(self, ranks, config, out, *options, env=None):
        """Runs sc_mpi; returns the seconds it took."""
        begin = time.monotonic()
        run(["mpirun", "-np", str(ranks), self.program("sc_mpi"), config, "--data-dir", self.data, "--output-dir",
             f"{self.work}/{out}", "--log-dir", f"{self.work}/log", "--cache-dir", f"{self.work}/cache", *options],
            env=env)
        return time.monotonic() - begin

    def history(self, out, name, fold=1):
        with open(f"{self.work}/{out}/{name}/fold_{fold}/history.json") as f:
            return json.load(f)


def run(command, env=None):
    r = subprocess.run(command, capture_output=True, text=True, env=dict(ENV, **(env or {})), cwd=ROOT)
    if r.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {r.returncode}: {(r.stdout + r.stderr)[-800:]}")
    return r.stdout + r.stderr


def figure(text, pattern):
    found = re.search(pattern, text)
    if not found:
        raise RuntimeError(f"no '{pattern}' in: {text[-400:]}")
    return float(found.group(1))


def difference(a, b, epochs=None):
    """Largest difference of a loss, relative above 1, over the first epochs."""
    worst = 0.0
    for key in a:
        for x, y in list(zip(a[key], b[key]))[:epochs]:
            if "loss" in key:
                worst = max(worst, abs(x - y) / max(1.0, abs(x)))
    return worst


def histories(b):
    text = run([sys.executable, f"{HERE}/history_torch.py", "--sc", b.program("sc_mpi"), "--data", b.data])
    first = figure(text, r"PyTorch: ([0-9.e+-]+) after")
    third = figure(text, r"step, ([0-9.e+-]+) within")
    return f"{first:.1e}; {third:.1e}", first <= 1e-5 and third <= 3e-3


def rank_counts(b, backend, counts, epochs, batch):
    c = b.config([dict(SMALL, name="r", use_cv=False, epochs=epochs, batch_size=batch, use_amp=False,
                       use_weighted_sampling=True, class_weights="none")])
    runs = []
    for n in counts:
        b.train(n, c, f"ranks_{backend}_{n}", "--backend", backend, "--group-size", str(n))
        runs.append(b.history(f"ranks_{backend}_{n}", "r"))
    return runs


def ranks_ref(b):
    # two folds' worth of 160 images in batches of 64: two steps an epoch, five epochs
    runs = rank_counts(b, "ref", [1, 2, 3, 8], 5, 64)
    worst = max(difference(runs[0], r) for r in runs[1:])
    return f"{worst:.1e}", worst <= 1e-9


def ranks_cpu(b):
    runs = rank_counts(b, "cpu", [1, 3, 8], 3, 4096)
    first = max(difference(runs[0], r, 1) for r in runs[1:])
    third = max(difference(runs[0], r, 3) for r in runs[1:])
    return f"{first:.1e}; {third:.1e}", first <= 1e-5 and third <= 3e-3


def twice(b):
    c = b.config([dict(SMALL, name="t", n_splits=2, epochs=3)])
    for out in ("twice_a", "twice_b"):
        b.train(2, c, out)
    same = 0
    for fold in (1, 2):
        for name in ("history.json", "checkpoint_latest.pth", "checkpoint_best.pth"):
            a, z = (open(f"{b.work}/{o}/t/fold_{fold}/{name}", "rb").read() for o in ("twice_a", "twice_b"))
            same += a == z
    return f"{same} of 6 files", same == 6


def kills(b):
    begin = time.monotonic()
    run(["bash", f"{ROOT}/tests/app/continue.sh", b.build], env={"SC_KILLS": str(b.kills)})
    return f"{b.kills} kills, identical ({time.monotonic() - begin:.0f} s)", True


def jobs_an_hour(b):
    configs = [dict(SMALL, name=f"j{i}", image_encoder="resnet18", img_size=64, n_splits=3, epochs=10)
               for i in range(2)]
    c = b.config(configs)
    ratios = []
    for k in range(3):
        one = b.train(1, c, f"jobs1_{k}", env={"OMP_NUM_THREADS": "1"})
        two = b.train(2, c, f"jobs2_{k}", env={"OMP_NUM_THREADS": "1"})
        ratios.append(one / two)
    ratio = sorted(ratios)[1]
    return f"{ratio:.2f}x", ratio >= 1.8


def packing(b):
    ratio = figure(run(["sh", f"{HERE}/pack_compare.sh", b.build, sys.executable]), r"Pillow: ([0-9.]+)x")
    return f"{ratio:.2f}x", ratio >= 1.5


def augmentation(b):
    ms = figure(run([b.program("augment_bench")]), r"fp32: ([0-9.]+) ms an image")
    return f"{ms:.2f} ms", ms <= 1.5


def step(b):
    text = run(["bash", f"{HERE}/step_compare.sh", b.build], env={"PYTHON": sys.executable})
    ratio = figure(text, r": ([0-9.]+)x")
    return f"{ratio:.2f}x ({text.strip().splitlines()[-1]})", ratio >= 0.8


def plan(b):
    c = b.config([dict(SMALL, name=f"c{i}", epochs=5 + i % 11, image_encoder=["resnet-tiny", "resnet18"][i % 2])
                  for i in range(2000)])
    begin = time.monotonic()
    run([b.program("sc_mpi"), c, "--data-dir", b.data, "--output-dir", f"{b.work}/plan", "--cache-dir",
         f"{b.work}/cache", "--plan", "--plan-ranks", "4096"])
    seconds = time.monotonic() - begin
    return f"{seconds:.2f} s", seconds < 1


def memory(b):
    """Peak resident memory of one rank at the first config of the guide's example, on 64 images."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    run([b.program("sc_mpi"), f"{ROOT}/configs/train_clip_config.json", "--data-dir", b.data, "--output-dir",
         f"{b.work}/memory", "--log-dir", f"{b.work}/log", "--cache-dir", f"{b.work}/cache", "--epochs", "1",
         "--overfit", "64", "--set", "use_cv=false"])
    after = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    shutil.rmtree(f"{b.work}/memory")
    return f"{after / 1e6:.2f} GB" + (" (an earlier row's peak)" if after == before else ""), after <= 2.5e6


ROWS = [
    ("memory", "peak memory of a rank, the guide's example config", "<= 2.5 GB", memory),
    ("histories", "histories against PyTorch, full batch, fp32: one step; three", "<= 1e-5; 3e-3", histories),
    ("ranks_ref", "ref backend, 1 / 2 / 3 / 8 ranks, 10 steps", "<= 1e-9", ranks_ref),
    ("ranks_cpu", "fp32 CPU, 1 / 3 / 8 ranks: one step; three", "<= 1e-5; 3e-3", ranks_cpu),
    ("twice", "the same command twice, bytes of history.json and .pth", "identical", twice),
    ("kills", "killed at random times, then continued", "identical", kills),
    ("jobs", "6 jobs on 2 ranks against 1, one thread a rank", ">= 1.8x", jobs_an_hour),
    ("packing", "packing 1000 px JPEG, one core, against Pillow", ">= 1.5x", packing),
    ("augmentation", "standard augmentation, one core, 224 px, an image", "<= 1.5 ms", augmentation),
    ("step", "training step against tuned PyTorch", ">= 0.8x", step),
    ("plan", "plan of 10^4 jobs on 4096 ranks, whole command", "< 1 s", plan),
]


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--build", default=f"{ROOT}/build")
    a.add_argument("--only", default="", help="rows by name: " + ",".join(r[0] for r in ROWS))
    a.add_argument("--kills", type=int, default=20)
    o = a.parse_args()
    wanted = [w for w in o.only.split(",") if w] or [r[0] for r in ROWS]
    failed = 0
    with tempfile.TemporaryDirectory() as work:
        b = Bench(os.path.abspath(o.build), work, o.kills)
        print("| Measure | Bound | Measured | |\n|---|---|---|---|", flush=True)
        for name, title, bound, measure in ROWS:
            if name not in wanted:
                continue
            try:
                value, good = measure(b)
            except (RuntimeError, OSError) as e:
                value, good = f"failed: {e}", False
            failed += not good
            print(f"| {title} | {bound} | {value} | {'ok' if good else 'MISSED'} |", flush=True)
    sys.exit(1 if failed else 0)


main()
