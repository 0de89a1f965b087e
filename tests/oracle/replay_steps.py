"""Repeats the training steps that `sc_mpi --dump-steps N DIR` wrote, in PyTorch, and says how far they are apart.

    python tests/oracle/replay_steps.py DIR [--run OUTPUT_DIR/NAME] [--data SRC_DIR]

DIR holds step_0001.safetensors and so on. Of each step these groups are worked out again:

  settings    metadata, learning rate, class weights and token ids, from config.json of the run
  samples     the batch of the epoch's order, from folds_info.json and Philox; labels and paths with it
  draws       every augmentation draw, from Philox
  pixels      from the image files and the draws, by Pillow and torchvision: equal bytes
  features    of images and class texts, in double, from the dumped pixels, token ids and parameters
  logits      from the dumped features
  losses      from the dumped features
  gradients   by autograd, through both towers
  statistics  BatchNorm's running mean, variance and count
  update      AdamW with the dumped gradients

Settings, samples and draws need the run's output folder (config.json, folds_info.json); it is looked for in
DIR and above it, or named by --run. Pixels need the image folder: --data, else the data_dir of config.json.
What is not there is reported as not checked. Needs torch, torchvision, numpy and Pillow before 13.
Exit: 0 everything within its bound, 1 something beyond it, 2 usage.
"""
import argparse
import json
import math
import pathlib
import re
import struct
import sys

import numpy as np
import torch

import replay_inputs as inputs
from model_oracle import superclip_loss
from replay_model import (Broken, batch_norms, build, forward_backward, load, own_rounding, trainable,
                          trainable_parameters)

GROUPS = ("tensors", "settings", "samples", "draws", "pixels", "features", "logits", "losses", "gradients",
          "statistics", "update")
# What is still rounding. The first five groups count differences (pixels: levels). features: distance of a unit
# feature; logits: times the temperature, so of a cosine; losses: relative; gradients: of a tensor, relative;
# statistics: of a channel's batch mean and variance, relative to its deviation and variance plus the layer's mean;
# update: of an element, relative to the learning rate. In bf16 only the towers are computed.
# A step may be badly conditioned (BatchNorm over two values): features, gradients and statistics may also be
# SLACK times as far from the result in double as PyTorch's own float or bf16 run is.
SLACK = 10
BOUNDS = {"fp64": {"features": 1e-9, "logits": 1e-12, "losses": 1e-10, "gradients": 1e-7, "statistics": 1e-9,
                   "update": 1e-9},
          "fp32": {"features": 5e-5, "logits": 1e-5, "losses": 1e-4, "gradients": 2e-3, "statistics": 1e-3,
                   "update": 1e-4},
          "bf16": {"features": 0.05, "logits": 1e-5, "losses": 1e-4, "gradients": 0.25, "statistics": 0.05,
                   "update": 1e-4}}
EPSILON = {"fp64": 2.0**-52, "fp32": 2.0**-23, "bf16": 2.0**-23}  # of stored parameters and statistics
TYPES = {"F64": np.float64, "F32": np.float32, "I64": np.int64, "I32": np.int32, "U8": np.uint8}
INPUTS = ["samples", "labels", "tokens", "text_end", "text_class", "class_weights", "lr", "pixels",
          "image_features", "class_features", "logits", "losses"] + ["draw." + name for name in inputs.DRAWS]


def read(path):
    """(metadata, tensors) of a safetensors file: 8 bytes of length, a JSON header, the data."""
    data = path.read_bytes()
    try:
        end = 8 + struct.unpack_from("<Q", data)[0]
        header = json.loads(data[8:end])
        meta = json.loads(header.pop("__metadata__")["step"])
        if len(data) != end + max(t["data_offsets"][1] for t in header.values()):
            raise Broken(f"{path} is cut short or has bytes behind its end")
        out = {}
        for name, t in header.items():
            begin, stop = t["data_offsets"]
            values = np.frombuffer(data[end + begin : end + stop], TYPES[t["dtype"]])
            out[name] = torch.from_numpy(values.copy()).reshape(t["shape"])
        return meta, out
    except (struct.error, ValueError, KeyError, TypeError, RuntimeError) as e:
        raise Broken(f"{path} is not a step of --dump-steps: {e!r}") from e


def usage(message):
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


class Report:
    """The error of each group that is largest beside its bound, and where it was."""

    def __init__(self):
        self.error, self.where, self.bound, self.lines = {}, {}, {}, []
        self.skipped = {}

    def add(self, group, error, where, bound=0.0):
        if math.isnan(error):
            error = math.inf
        if group not in self.error or self.part(error, bound) > self.part(self.error[group], self.bound[group]):
            self.error[group], self.where[group], self.bound[group] = error, where, bound

    @staticmethod
    def part(error, bound):
        return error / bound if bound > 0 else error and math.inf

    def add_lines(self, group, lines, step):
        self.add(group, len(lines), f"{step}: {lines[0]}" if lines else "")
        self.lines += [f"{step}: {line}" for line in lines[1:]]

    def passed(self, group):
        return group not in self.error or self.error[group] <= self.bound[group]

    def print(self, verbose):
        print(f"{'group':<11}{'max error':>10}{'bound':>10}  verdict      where it is largest")
        for g in GROUPS:
            if g in self.error:
                verdict = "ok" if self.passed(g) else "FAIL"
                print(f"{g:<11}{self.error[g]:>10.1e}{self.bound[g]:>10.1e}  {verdict:<11}  {self.where[g]}")
            else:
                print(f"{g:<11}{'':>20}  not checked  {self.skipped.get(g, '')}")
        shown = self.lines if verbose else self.lines[:8]
        for line in shown:
            print("  " + line)
        if len(shown) < len(self.lines):
            print(f"  and {len(self.lines) - len(shown)} more differences (--verbose)")


def check_tensors(model, run, meta, d, first):
    """Lines that name tensors which are missing or nobody knows; sets which parameters have gradients."""
    norms = {n for n, _ in batch_norms(model)}
    names = [n for n, _ in model.named_parameters()]
    if run:
        grads = [n for n in names if trainable(n, run.config, meta, norms)]
    else:
        grads = [n for n in names if "grad." + n in d]
    want = INPUTS + ["grad." + n for n in grads] + ["updated." + n for n in model.state_dict()]
    if first:
        want += ["param." + n for n in model.state_dict()]
        if meta["updates"] > 1:
            want += [f"{m}.{n}" for n in grads for m in ("exp_avg", "exp_avg_sq")]
    for n, p in model.named_parameters():
        p.requires_grad_(n in grads)
    shapes = {"grad." + n: p.shape for n, p in model.named_parameters()}
    shapes.update({"updated." + n: v.shape for n, v in model.state_dict().items()})
    missing = sorted(set(want) - set(d))
    if missing:
        raise Broken(f"no tensor {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else ""))
    wrong = [f"nobody knows the tensor {n}" for n in sorted(set(d) - set(want))]
    return wrong + [f"{n} is {list(d[n].shape)}" for n in want if n in shapes and d[n].shape != shapes[n]]


def optimizer(model, meta, d):
    opt = torch.optim.AdamW(model.parameters(), lr=float(d["lr"]), weight_decay=meta["weight_decay"])
    for name, p in model.named_parameters():  # a dump that begins later in a training
        if "exp_avg." + name in d:
            opt.state[p] = {"step": torch.tensor(float(meta["updates"] - 1)),
                            "exp_avg": d["exp_avg." + name].double(),
                            "exp_avg_sq": d["exp_avg_sq." + name].double()}
    return opt


# ---- one step ----------------------------------------------------------------------------------------

def row_errors(name, have, want):
    if have.shape != want.shape:
        return [(math.inf, f"{name} is {list(have.shape)}")]
    return [(float(e), f"{name} {i}") for i, e in enumerate((have - want).norm(dim=1))]


def gradient_errors(grads, have):
    """Per tensor of `grads` (name, right parameter), relative to its own length; a tensor far smaller than the
    others (an attention's key biases have none but rounding) relative to a hundredth of their mean length."""
    rms = math.sqrt(sum(float(p.grad.square().sum()) for _, p in grads) / sum(p.numel() for _, p in grads))
    for n, p in grads:
        size = max(float(p.grad.norm()), 0.01 * rms * math.sqrt(p.numel()), 1e-300)
        yield float((have[n] - p.grad).norm()) / size, n


def statistics_errors(before, model, have, fixed, eps):
    """Per layer and buffer. fixed: the layers ran in eval mode, nothing may have changed."""
    for name, m in batch_norms(model):
        mean, var, count = (have[f"{name}.{k}"] for k in ("running_mean", "running_var", "num_batches_tracked"))
        yield (0.0 if int(count) == int(m.num_batches_tracked) else math.inf), name + ".num_batches_tracked"
        size = m.running_var if fixed else m.running_var - 0.9 * before[name]
        size = size + size.mean() + 1e-30
        deviation = (size * (1 if fixed else 0.1)).sqrt()  # a tenth of the new values goes into the buffers
        off = ((mean - m.running_mean).abs() - 4 * eps * m.running_mean.abs()).clamp(min=0)
        yield (math.inf if fixed and off.any() else float((off / deviation).max())), name + ".running_mean"
        off = ((var - m.running_var).abs() - 4 * eps * m.running_var.abs()).clamp(min=0)
        yield (math.inf if fixed and off.any() else float((off / size).max())), name + ".running_var"


def update_errors(model, d, meta):
    eps = EPSILON[meta["precision"]]
    for n, p in model.named_parameters():
        have = d["updated." + n].double()
        if not p.requires_grad:
            yield (0.0 if torch.equal(have, p.detach()) else math.inf), n + " (no gradient reaches it)"
        else:
            off = ((have - p.detach()).abs() - 4 * eps * p.detach().abs()).clamp(min=0)
            yield float(off.max()) / float(d["lr"]), n


def compare(group, mine, own, meta, report, step):
    """`mine` and `own`: (error, name) of sc_mpi's and of PyTorch's rounded result, in the same order."""
    mine, base = list(mine), BOUNDS[meta["precision"]][group]
    own = [e for e, _ in own] if own else [0.0] * len(mine)
    if meta["precision"] == "fp64":
        own = [e * 2.0**-29 for e in own]
    middle = sorted(own)[len(own) // 2]
    for (error, name), o in zip(mine, own, strict=True):
        # Where PyTorch's own run is lost in rounding nothing can be said, but NaN stays wrong.
        bound = max(base, SLACK * max(o, middle)) if math.isfinite(o) else base
        report.add(group, error, f"{step}: {name}", bound)


def replay(meta, d, model, opt, report, step):
    """Adds one step's errors; the model ends with the dumped parameters after it."""
    eps, labels = EPSILON[meta["precision"]], d["labels"].long()
    if not (0 <= int(labels.min()) and int(labels.max()) < len(d["class_weights"])):
        raise Broken("a label that is no class")
    model.train()
    if meta["running_statistics"]:
        for _, m in batch_norms(model):
            m.eval()
    before = {n: m.running_var.clone() for n, m in batch_norms(model)}
    own_x, own_t, own_grads, own_buffers = own_rounding(model, meta, d)
    x, t = forward_backward(model, meta, d)

    compare("features", row_errors("image_features", d["image_features"], x)
            + row_errors("class_features", d["class_features"], t),
            row_errors("", own_x, x) + row_errors("", own_t, t), meta, report, step)
    grads = trainable_parameters(model)
    compare("gradients", gradient_errors(grads, {n: d["grad." + n] for n, _ in grads}),
            gradient_errors(grads, own_grads), meta, report, step)
    fixed, updated = meta["running_statistics"], {n: d["updated." + n] for n in own_buffers}
    if updated:  # else nothing is normalised over batches
        compare("statistics", statistics_errors(before, model, updated, fixed, eps),
                [] if fixed else statistics_errors(before, model, own_buffers, fixed, 0), meta, report, step)

    tau = model.temperature.detach()
    losses, z = superclip_loss(d["image_features"], d["class_features"], labels, tau, meta["tau0"],
                               d["class_weights"], meta)
    compare("logits", [(e * abs(float(tau)), n) for e, n in row_errors("logits of row", d["logits"], z)], None,
            meta, report, step)
    names = ("total", "class loss", "contrastive loss")
    compare("losses", [(abs(float(have - want)) / max(abs(float(want)), 0.1), name)
                       for have, want, name in zip(d["losses"], losses, names, strict=True)], None,
            meta, report, step)

    for name, p in grads:
        p.grad.copy_(d["grad." + name])
    opt.param_groups[0]["lr"] = float(d["lr"])
    opt.step()
    compare("update", update_errors(model, d, meta), None, meta, report, step)
    load(model, d, "updated.")


def check_inputs(args, run, meta, d, report, step):
    if run:
        if not any(f["fold"] == meta["fold"] for f in run.folds["folds"]):
            raise Broken(f"fold {meta['fold']} is not in folds_info.json")
        report.add_lines("settings", inputs.check_settings(run, meta, d), step)
        report.add_lines("samples", inputs.check_samples(run, meta, d), step)
        report.add_lines("draws", inputs.check_draws(run, meta, d), step)
    if args.data:
        error, where = inputs.check_pixels(args.data, args.window, meta, d)
        # A GPU may differ from torchvision by one level.
        report.add("pixels", error, f"{step}: {where}", 1 if run and run.config["backend"] == "cuda" else 0)


def check_sequence(last, meta):
    """Dumped steps follow each other."""
    if last is None:
        return
    if meta["updates"] != last["updates"] + 1:
        raise Broken(f"update {meta['updates']} follows update {last['updates']}: a step is missing")
    if any(meta[k] != last[k] for k in meta if k not in ("epoch", "step", "updates", "paths")):
        raise Broken("its metadata is not that of the step before")


# ---- the command -------------------------------------------------------------------------------------

def window(text):
    low, high = (float(v) for v in text.split(","))
    return low, high


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=pathlib.Path, help="what --dump-steps was given (of several jobs: one fold's)")
    parser.add_argument("--run", metavar="DIR", help="the run's output folder: config.json, folds_info.json")
    parser.add_argument("--config", metavar="FILE", help="config.json, where it is not in --run")
    parser.add_argument("--folds", metavar="FILE", help="folds_info.json, where it is not in --run")
    parser.add_argument("--data", metavar="DIR", help="class folders of images (default: data_dir of config.json)")
    parser.add_argument("--window", metavar="LO,HI", type=window, help="what pack_hdf5 --window was given")
    parser.add_argument("--ranks", type=int, default=1, help="ranks of the group; matters for sync_bn false only")
    parser.add_argument("--verbose", action="store_true", help="name every difference, not just eight")
    return parser.parse_args()


def find_run(args):
    """The run's folder, named or near the dump; None when there is none."""
    if args.config or args.folds or args.run:
        folder = pathlib.Path(args.run or ".")
        files = [pathlib.Path(args.config or folder / "config.json"),
                 pathlib.Path(args.folds or folder / "folds_info.json")]
        for f in files:
            if not f.is_file():
                usage(f"{f} is not a file; --run wants the output folder of the config, OUTPUT_DIR/NAME")
        return inputs.Run(*files)
    for folder in [args.dir, *list(args.dir.resolve().parents)[:2]]:
        if (folder / "config.json").is_file() and (folder / "folds_info.json").is_file():
            return inputs.Run(folder / "config.json", folder / "folds_info.json")
    return None


def find_data(args, run):
    """Why pixels cannot be checked, or None with args.data set."""
    if args.data:
        if not pathlib.Path(args.data).is_dir():
            usage(f"--data {args.data} is not a folder")
        return None
    folder = pathlib.Path(run.config["data_dir"]) if run else None
    if folder is None:
        return "name the folder of class folders with --data"
    if not folder.is_dir() or (folder / "manifest.json").exists():
        return f"{folder} is no folder of class folders from here; name it with --data"
    args.data = str(folder)
    return None


def check(args, run, files, report):
    model = opt = last = None
    for path in files:
        step = path.stem
        try:
            meta, d = read(path)
            if meta.get("precision") not in BOUNDS:
                raise Broken(f"precision {meta.get('precision')!r}")
            check_sequence(last, meta)
            if model is None:
                local = run and not run.config["sync_bn"]
                model = build(meta, d, args.ranks if local else 1)
            report.add_lines("tensors", check_tensors(model, run, meta, d, last is None), step)
            opt = opt or optimizer(model, meta, d)
            check_inputs(args, run, meta, d, report, step)
            replay(meta, d, model, opt, report, step)
            last = meta
        except (Broken, KeyError, IndexError, ValueError, TypeError, OSError, RuntimeError) as e:
            text = str(e) if isinstance(e, (Broken, OSError)) else f"cannot be replayed: {e!r}"
            report.add("tensors", math.inf, f"{step}: {text}")
            return


def main():
    args = arguments()
    files = sorted(args.dir.glob("step_*.safetensors"))
    if not files:
        usage(f"{args.dir} holds no step_*.safetensors; of several jobs, name one fold's folder")
    numbers = [int(re.search(r"\d+", f.stem).group()) for f in files]
    report, run = Report(), find_run(args)
    why = find_data(args, run)
    report.skipped["pixels"] = why
    if run is None:
        for g in ("settings", "samples", "draws"):
            report.skipped[g] = "name the run's output folder with --run"
    if numbers != list(range(1, len(files) + 1)):
        report.add("tensors", math.inf, f"the steps are numbered {numbers}")
    else:
        check(args, run, files, report)
    print(f"{len(files)} steps of {args.dir}"
          + (f", fold folder of {run.folder}" if run else "") + (f", images of {args.data}" if args.data else ""))
    report.print(args.verbose)
    ok = all(report.passed(g) for g in GROUPS)
    unchecked = [g for g in GROUPS if g not in report.error]
    print(("PASS" if ok else "FAIL") + (f" (not checked: {', '.join(unchecked)})" if unchecked else ""))
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
