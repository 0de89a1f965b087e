"""Rows of table.py about time and memory of the CPU trainer, most of them against PyTorch."""
import os
import re
import statistics
import subprocess
import sys
import time

from running import ENV, ROOT, TUNED_MALLOC, figure, python, run, usage

STEP = r"step: median ([0-9.]+) ms"
FULL = {"image_encoder": "resnet18", "text_encoder": "clip:ViT-B/32", "pretrained": False, "batch_size": 32,
        "use_superclip_loss": True, "use_cv": False, "n_splits": 5}


# ---- one step -------------------------------------------------------------------------------------

def our_step(b, *options):
    return figure(run([b.program("step_bench"), *map(str, options)]), STEP)


def their_step(*options):
    return figure(python("step_torch.py", *options, env=TUNED_MALLOC), STEP)


def fastest_variant(b, options, compiled):
    """PyTorch's layout (and compiler) differ by shape: a short try of each, then the best one runs on."""
    variants = [("--layout", "channels_last"), ("--layout", "contiguous")]
    if compiled and not b.quick:
        variants += [("--layout", "channels_last", "--flush", 1), ("--layout", "channels_last", "--compile", 1)]
    tries = {}
    for v in variants:
        try:
            tries[v] = their_step(*options, *v, "--steps", 3)
        except RuntimeError as e:
            print(f"step_torch.py {' '.join(map(str, v))}: {e}", file=sys.stderr)
    return min(tries, key=tries.get)


def compare_steps(b, *options, steps=8, compiled=False):
    steps = ("--steps", 3 if b.quick else steps)
    best = fastest_variant(b, options, compiled)
    ours, theirs = b.alternate(lambda: our_step(b, *options, *steps),
                               lambda: their_step(*options, *best, *steps))
    layout = " ".join(str(v).lstrip("-") for v in best[1:])
    return theirs / ours, f"{theirs / ours:.2f}x (PyTorch {theirs:.0f} ms, {layout}; this program {ours:.0f} ms)"


def step_bf16(b):
    ratio, text = compare_steps(b, compiled=True)
    return text, ratio >= 1.25, ratio >= 1.5


def step_fp32(b):
    ratio, text = compare_steps(b, "--precision", "fp32", steps=5)
    return text, ratio >= 1.2, ratio >= 1.6


# "an X-ray image of a {class_name} implant" with class names of three tokens
PROMPTS = ("--length", 14, "--shared", 8)


def prompts_bf16(b):
    ratio, text = compare_steps(b, *PROMPTS)
    return text, ratio >= 1.25, ratio >= 1.5


def prompts_fp32(b):
    ratio, text = compare_steps(b, *PROMPTS, "--precision", "fp32", steps=5)
    return text, ratio >= 1.2, ratio >= 1.6


def step_old(b):
    options = ("--style", "old", "--precision", "fp32", "--steps", 1 if b.quick else 2)
    theirs = figure(python("step_torch.py", *options), STEP)
    ours = our_step(b, "--steps", 5)
    return f"{theirs / ours:.1f}x ({theirs:.0f} ms, {ours:.0f} ms)", theirs >= 10 * ours, theirs >= 14 * ours


SHAPES = [
    ("batch8", "batch 8", ("--batch", 8), 25),
    ("batch128", "batch 128", ("--batch", 128), 3),
    ("size96", "img_size 96", ("--size", 96), 25),
    ("size384", "img_size 384", ("--size", 384), 3),
    ("resnet50", "resnet50", ("--image", "resnet50"), 3),
]


def shape_row(options, steps):
    def measure(b):
        ratio, text = compare_steps(b, *options, steps=steps)
        return text, ratio >= 1, ratio >= 1.25
    return measure


def convolutions(b):
    """FLOP of the direct convolutions over the time, against the measured multiply-add peak."""
    text = run([b.program("step_bench"), "--profile", "1", "--steps", "3" if b.quick else "8"])
    peak = figure(text, r"peak of this rank: ([0-9]+) GFLOP")
    rate = figure(text, r"\n  conv2d +\S+ +\S+ +\S+ +\S+ +([0-9]+)")
    share, done = rate / peak, re.search(r"\n  conv2d .* ([0-9]+) % done", text)
    return (f"{100 * share:.0f} % ({rate:.0f} of {peak:.0f} GFLOP/s); of the multiply-adds really done "
            f"{done.group(1) if done else round(100 * share)} %", share >= 0.82, share >= 0.88)


def augmentation(b):
    ms = figure(run([b.program("augment_bench")]), r"fp32: ([0-9.]+) ms an image")
    return f"{ms:.2f} ms", ms <= 0.8, ms <= 0.4


# ---- whole runs -----------------------------------------------------------------------------------

def jpeg_folder(b):
    """Class folders of 1000 px JPEG, made once."""
    folder = f"{b.work}/jpeg"
    if not os.path.isdir(folder):
        from PIL import Image
        run([b.program("make_demo_data"), folder, "--images", "160" if b.quick else "320", "--size-min", "1000",
             "--size-max", "1000"])
        for where, _, names in os.walk(folder):
            for name in names:
                path = os.path.join(where, name)
                Image.open(path).convert("RGB").save(path + ".jpg", quality=90)
                os.remove(path)
    return folder


def our_epoch(b, ranks, threads, out):
    """The second epoch's seconds, training and validation; and of its training images a second."""
    c = b.config([dict(FULL, name="e", epochs=2, num_workers=2)])
    b.train(ranks, c, out, "--group-size", str(ranks), env={"OMP_NUM_THREADS": str(threads)}, data=jpeg_folder(b))
    t = b.result(out, "e", "timing.json")
    b.forget(out)
    return t["train_seconds"][1] + t["val_seconds"][1], t["images_per_second"][1]


def epoch(b):
    folder = jpeg_folder(b)

    def theirs(pipeline):
        return figure(python("epoch_torch.py", folder, "--pipeline", pipeline, env=TUNED_MALLOC),
                      r"epoch: ([0-9.]+) s")
    tries = {p: theirs(p) for p in ("pil", "tensor")}
    best = min(tries, key=tries.get)
    rounds = [(tries[best], our_epoch(b, 1, 2, "epoch"))]
    rounds += [(theirs(best), our_epoch(b, 1, 2, "epoch")) for _ in range(b.rounds - 1)]
    t, o = statistics.median(r[0] for r in rounds), statistics.median(r[1][0] for r in rounds)
    return f"{t / o:.2f}x (PyTorch {t:.1f} s, {best} images; this program {o:.1f} s)", t >= 1.6 * o, t >= 1.9 * o


def two_ranks(b):
    pairs = [(our_epoch(b, 1, 2, "one")[1], our_epoch(b, 2, 1, "two")[1]) for _ in range(b.rounds)]
    one, two = statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)
    return f"{two / one:.2f}x ({one:.1f} and {two:.1f} images/s)", two >= 0.75 * one, two >= 0.9 * one


def packed_data(b):
    packed = f"{b.work}/packed"
    if not os.path.isdir(packed):
        run([b.program("pack_hdf5"), b.data, packed])
    return packed


def start(b):
    """From the program's start to the beginning of its first step: that of its end, less the step."""
    packed, c = packed_data(b), b.config([dict(FULL, name="s", epochs=1)])
    seconds = []
    for _ in range(3):
        b.forget("start")
        begin, first = time.monotonic(), None
        with subprocess.Popen(b.train_command(c, "start", "--overfit", "32", "--progress", "plain", data=packed),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENV, cwd=ROOT) as p:
            for line in p.stdout:
                if first is None and "[Train]" in line:
                    first = time.monotonic() - begin
        if p.returncode != 0 or first is None:
            raise RuntimeError(f"sc_mpi ended with {p.returncode}")
        seconds.append(first - b.result("start", "s", "timing.json")["step_ms_median"][0] / 1e3)
    s = statistics.median(seconds)
    return f"{s:.2f} s", s < 1.5, s < 0.7


def memory(b):
    """Peak resident memory of one rank at the first config of the guide's example (its keys in FULL), on 64 images."""
    c = b.config([dict(FULL, name="m", epochs=1, use_superclip_loss=False)])
    used = usage(b.train_command(c, "memory", "--overfit", "64"))
    b.forget("memory")
    return f"{used.ru_maxrss / 1e6:.2f} GB", used.ru_maxrss <= 2.0e6, used.ru_maxrss <= 1.5e6


def allocations(b):
    """Of two runs that differ by 11 training steps and 11 batches of evaluation: a step and a batch each.

    Both sort more than 64 scores at the epoch's end, where qsort takes memory of its own."""
    c, counts = b.config([dict(FULL, name="a", epochs=1, batch_size=8, checkpoint_interval_s=1000)]), []
    shim, file = f"{b.build}/bin/count_alloc.so", f"{b.work}/allocations.count"
    for images in (72, 160):
        b.forget("allocations")
        used = usage(b.train_command(c, "allocations", "--overfit", str(images), data=packed_data(b)),
                     env={"LD_PRELOAD": shim, "COUNT_ALLOC_FILE": file})
        with open(file) as f:
            counts.append((*map(int, f.read().split()), used.ru_minflt))
    own, libraries, faults = ((counts[1][k] - counts[0][k]) / 11 for k in range(3))
    return (f"{own:.0f} allocations, {libraries:.0f} more inside oneDNN; {faults:.0f} faults",
            round(own + libraries) == 0 and faults < 100)


ROWS = [
    ("step", "step, bf16, against best-tuned PyTorch", ">= 1.25x", ">= 1.5x", step_bf16),
    ("old", "step against the old script's step", ">= 10x", ">= 14x", step_old),
    ("fp32", "step, fp32, against best-tuned fp32 PyTorch", ">= 1.2x", ">= 1.6x", step_fp32),
    ("prompts", "step, bf16, nine prompts of the guide's template", ">= 1.25x", ">= 1.5x", prompts_bf16),
    ("prompts_fp32", "step, fp32, nine prompts of the guide's template", ">= 1.2x", ">= 1.6x", prompts_fp32),
    ("epoch", "whole epoch from 1000 px JPEG (packed before) against DataLoader + torchvision + tuned step", ">= 1.6x",
     ">= 1.9x", epoch),
    ("convolutions", "convolutions' share of the measured bf16 peak, FLOP of direct convolutions", ">= 82 %",
     ">= 88 %", convolutions),
    ("augmentation", "standard augmentation, one core, 224 px, an image", "<= 0.8 ms", "<= 0.4 ms", augmentation),
    *[(name, f"step, {title}, against tuned PyTorch", ">= 1x", ">= 1.25x", shape_row(options, steps))
      for name, title, options, steps in SHAPES],
    ("start", "start to first step, packed data, random weights", "< 1.5 s", "< 0.7 s", start),
    ("memory", "peak memory of a rank, the guide's example config", "<= 2.0 GB", "<= 1.5 GB", memory),
    ("allocations", "heap allocations and page faults of a step after the first", "0; < 100", "", allocations),
    ("ranks", "one job on 2 ranks x 1 thread against 1 rank x 2 threads, images/s", ">= 0.75x", ">= 0.9x", two_ranks),
]
