"""Shows that replay_steps.py can fail: changes one thing of a dump at a time, in memory, and replays it.

    python tests/oracle/replay_mutations.py [--some N] DIR [options of replay_steps.py]

Every tensor and every entry of the metadata of the first step and of the last but one is changed once; with
--some N only N of them, drawn by a fixed seed, but one of each kind at least. Exit 0: the dump passes as it is
and fails after each change.
"""
import copy
import random
import re
import sys

import torch

import replay_steps as replay


def changed(x, name):
    """A tensor with its largest element changed by as little as matters in bf16 too."""
    x = x.clone()
    flat = x.reshape(-1)
    at = int(flat.double().abs().argmax())
    if name == "pixels":
        flat[at] ^= 1
    elif not x.is_floating_point():
        flat[at] += 1 if flat[at] < 255 else -1
    elif name.startswith(("grad.", "exp_avg.")):
        flat[at] = -flat[at] if flat[at] else 1
    elif name.endswith(("running_mean", "running_var")):
        flat[at] += 2 * flat[at].abs() + 1
    else:
        flat[at] += 0.01 * flat[at].abs() + 1e-3
    return x


def kind(name):
    parts = name.split(".")
    if parts[0] in ("draw", "meta"):
        return name
    if parts[0] in ("grad", "param", "updated", "exp_avg", "exp_avg_sq"):
        tower = parts[1] if len(parts) > 1 else ""
        return f"{parts[0]} {tower} {'buffer' if re.search('running|num_batches', name) else ''}"
    return name


def changes(steps):
    """(what, step number, function of (meta, tensors))"""
    at = sorted({0, max(0, len(steps) - 2)})
    for k in at:
        meta, d = steps[k]
        for name in sorted(d):
            yield name, k, lambda m, d, name=name: d.update({name: changed(d[name], name)})
        for key, value in meta.items():
            def change(m, d, key=key, value=value):
                if isinstance(value, bool):
                    m[key] = not value
                elif isinstance(value, (int, float)):
                    m[key] = value + 1
                elif isinstance(value, list):
                    m[key] = [value[0].rsplit(".", 1)[0] + "x.png"] + value[1:]
                else:
                    m[key] = {"fp64": "fp32", "fp32": "bf16", "bf16": "fp32"}.get(value, value + "0")
            yield "meta." + key, k, change
        yield "lost tensor", k, lambda m, d: d.pop("draw.hue")
        grad = max(n for n in d if n.startswith("grad."))
        yield "lost gradient", k, lambda m, d, grad=grad: d.pop(grad)
        yield "unknown tensor", k, lambda m, d: d.update({"more": torch.zeros(1)})
        yield "swapped samples", k, lambda m, d: d.update({"samples": d["samples"].flip(0)})
        yield "features not finite", k, lambda m, d: d["image_features"].fill_(float("nan"))
        yield "gradient not finite", k, lambda m, d, grad=grad: d[grad].fill_(float("nan"))
        yield "all gradients times 1.5", k, lambda m, d: [d[n].mul_(1.5) for n in d if n.startswith("grad.")]


def verdict(args, run, files):
    report = replay.Report()
    replay.check(args, run, files, report)
    failed = [g for g in replay.GROUPS if not report.passed(g)]
    return failed, {g: report.where[g] for g in failed}


def main():
    some = None
    if sys.argv[1:2] == ["--some"]:
        some = int(sys.argv[2])
        del sys.argv[1:3]
    args = replay.arguments()
    run = replay.find_run(args)
    replay.find_data(args, run)
    files = sorted(args.dir.glob("step_*.safetensors"))
    steps = [replay.read(f) for f in files]
    current = {}
    replay.read = lambda path: current[path]

    def attempt(k=None, change=None):
        current.update(zip(files, steps))
        last = len(files)
        if change:
            meta, d = copy.deepcopy(steps[k])
            change(meta, d)
            current[files[k]] = meta, d
            last = min(k + 2, len(files))  # what does not show here shows in the step after
        return verdict(args, run, files[:last])

    failed, where = attempt()
    if failed:
        sys.exit(f"the dump itself fails: {where}")
    todo = list(changes(steps))
    if some is not None:
        random.Random(1).shuffle(todo)
        seen, first, rest = set(), [], []
        for t in todo:
            (rest if kind(t[0]) in seen else first).append(t)
            seen.add(kind(t[0]))
        todo = first + rest[: max(0, some - len(first))]
    missed, by_group = [], {}
    for what, k, change in todo:
        failed, _ = attempt(k, change)
        if not failed:
            missed.append(f"{what} of step {k + 1}")
        for g in failed:
            by_group[g] = by_group.get(g, 0) + 1
    print(f"{args.dir}: unchanged passes; {len(todo) - len(missed)} of {len(todo)} changes fail; "
          f"by group {by_group}")
    for m in missed:
        print("  not noticed: " + m)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
