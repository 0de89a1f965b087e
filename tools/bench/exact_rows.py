"""Rows of table.py about exactness, continuing, packing and planning."""
import sys
import time

from running import HERE, ROOT, SMALL, figure, python, run


def difference(a, b, epochs=None):
    """Largest difference of a loss, relative above 1, over the first epochs."""
    worst = 0.0
    for key in a:
        for x, y in list(zip(a[key], b[key]))[:epochs]:
            if "loss" in key:
                worst = max(worst, abs(x - y) / max(1.0, abs(x)))
    return worst


def histories(b):
    text = python("history_torch.py", "--sc", b.program("sc_mpi"), "--data", b.data)
    first = figure(text, r"PyTorch: ([0-9.e+-]+) after")
    third = figure(text, r"step, ([0-9.e+-]+) within")
    return f"{first:.1e}; {third:.1e}", first <= 1e-5 and third <= 3e-3


def rank_counts(b, backend, counts, epochs, batch):
    c = b.config([dict(SMALL, name="r", use_cv=False, epochs=epochs, batch_size=batch, use_amp=False,
                       use_weighted_sampling=True, class_weights="none")])
    runs = []
    for n in counts:
        b.train(n, c, f"ranks_{backend}_{n}", "--backend", backend, "--group-size", str(n))
        runs.append(b.result(f"ranks_{backend}_{n}", "r"))
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


def jobs_an_hour(b, image="resnet18", size=64, epochs=10):
    """Six jobs on one rank against two, one thread each."""
    configs = [dict(SMALL, name=f"j{i}", image_encoder=image, img_size=size, n_splits=3, epochs=epochs)
               for i in range(2)]
    c = b.config(configs)
    ratios = []
    for k in range(b.rounds):
        one = b.train(1, c, f"jobs1_{image}_{k}", env={"OMP_NUM_THREADS": "1"})
        two = b.train(2, c, f"jobs2_{image}_{k}", env={"OMP_NUM_THREADS": "1"})
        ratios.append(one / two)
    return sorted(ratios)[len(ratios) // 2], one / 6


def jobs(b):
    ratio, _ = jobs_an_hour(b)
    return f"{ratio:.2f}x", ratio >= 1.8


def short_jobs(b):
    ratio, seconds = jobs_an_hour(b, epochs=4)
    return f"{ratio:.2f}x (a job is {seconds:.1f} s)", ratio >= 1.8, ratio >= 1.9


def packing(b):
    ratio = figure(run(["sh", f"{HERE}/pack_compare.sh", b.build, sys.executable]), r"Pillow: ([0-9.]+)x")
    return f"{ratio:.2f}x", ratio >= 1.5


def plan(b):
    c = b.config([dict(SMALL, name=f"c{i}", epochs=5 + i % 11, image_encoder=["resnet-tiny", "resnet18"][i % 2])
                  for i in range(2000)])
    begin = time.monotonic()
    run(b.train_command(c, "plan", "--plan", "--plan-ranks", "4096"))
    seconds = time.monotonic() - begin
    return f"{seconds:.2f} s", seconds < 1


ROWS = [
    ("histories", "histories against PyTorch, full batch, fp32: one step; three", "<= 1e-5; 3e-3", "", histories),
    ("ranks_ref", "ref backend, 1 / 2 / 3 / 8 ranks, 10 steps", "<= 1e-9", "", ranks_ref),
    ("ranks_cpu", "fp32 CPU, 1 / 3 / 8 ranks: one step; three", "<= 1e-5; 3e-3", "", ranks_cpu),
    ("twice", "the same command twice, bytes of history.json and .pth", "identical", "", twice),
    ("kills", "killed at random times, then continued", "identical", "", kills),
    ("jobs", "6 jobs on 2 ranks against 1, one thread a rank", ">= 1.8x", "", jobs),
    ("short_jobs", "the same with short jobs", ">= 1.8x", ">= 1.9x", short_jobs),
    ("packing", "packing 1000 px JPEG, one core, against Pillow", ">= 1.5x", "", packing),
    ("plan", "plan of 10^4 jobs on 4096 ranks, whole command", "< 1 s", "", plan),
]
