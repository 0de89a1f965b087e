"""Repeats the training steps that `sc_mpi --dump-steps N DIR` wrote, in PyTorch, and prints how far they are
apart. Exit 0: everything within the bounds; 1: something beyond them.

    python tests/oracle/replay_steps.py DIR [--data SRC_DIR]

Of each step: with --data, the pixels are made again from the image files by Pillow and torchvision with the
dumped draws (they must be equal, byte for byte, outside the erased box); features, logits, losses and
gradients are computed from the dumped pixels in double; AdamW is applied to the dumped gradients and compared
with the dumped parameters. Needs torch, torchvision, Pillow < 13 and safetensors.
"""
import argparse
import glob
import json
import sys

import numpy as np
import torch
from safetensors import safe_open

from model_oracle import SuperCLIP, superclip_loss

# Relative distances |a - b| / |b| (2-norms; losses: each number) that are still rounding. "update" is taken
# relative to the length of the step itself.
BOUNDS = {"fp64": {"features": 1e-10, "logits": 1e-10, "losses": 1e-10, "gradients": 1e-8, "update": 1e-8},
          "fp32": {"features": 2e-5, "logits": 1e-4, "losses": 1e-4, "gradients": 2e-3, "update": 1e-3},
          "bf16": {"features": 5e-2, "logits": 0.1, "losses": 5e-2, "gradients": 0.25, "update": 1e-3}}


def read(path):
    with safe_open(path, "pt") as f:
        return json.loads(f.metadata()["step"]), {k: f.get_tensor(k) for k in f.keys()}


def distance(a, b):
    a, b = a.detach().double(), b.detach().double()
    if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
        return float("inf")
    size = float(b.norm())
    return float((a - b).norm()) / size if size > 0 else float(a.norm())


# ---- pixels --------------------------------------------------------------------------------------

def augmented(path, meta, d, i):
    from PIL import Image
    from torchvision.transforms import functional as TF

    image = Image.open(path)
    if image.mode == "P" or image.mode == "RGBA" or image.mode == "LA":
        image = image.convert("RGBA").convert("RGB")
    if image.mode.startswith("I;16") or image.mode == "I":
        grey = np.asarray(image).astype(np.int64)
        image = Image.fromarray(((grey * 2 + 257) // 514).astype(np.uint8))
    image = image.convert("RGB")
    row, size = meta["row_size"], meta["img_size"]
    image = image.resize((row, row), Image.BILINEAR)
    image = TF.crop(image, int(d["draw.crop_top"][i]), int(d["draw.crop_left"][i]), size, size)
    if d["draw.flip_h"][i]:
        image = TF.hflip(image)
    if d["draw.flip_v"][i]:
        image = TF.vflip(image)
    if d["draw.jitter"][i]:
        change = [("brightness", TF.adjust_brightness), ("contrast", TF.adjust_contrast),
                  ("saturation", TF.adjust_saturation), ("hue", TF.adjust_hue)]
        for k in d["draw.jitter_order"][i].tolist():
            name, f = change[k]
            image = f(image, float(d["draw." + name][i]))
    if d["draw.rotate"][i]:
        image = TF.rotate(image, float(d["draw.angle"][i]))
    return np.asarray(image)


def erase_box(d, i):
    h = int(d["draw.erase_h"][i])
    if not h:
        return None
    top, left = int(d["draw.erase_top"][i]), int(d["draw.erase_left"][i])
    return slice(top, top + h), slice(left, left + int(d["draw.erase_w"][i]))


def check_pixels(data, meta, d):
    """How many images differ from Pillow's and torchvision's."""
    wrong = 0
    for i, path in enumerate(meta["paths"]):
        want, have = augmented(f"{data}/{path}", meta, d, i).copy(), d["pixels"][i].numpy().copy()
        box = erase_box(d, i)
        if box:
            want[box], have[box] = 0, 0
        if not np.array_equal(want, have):
            off = np.abs(want.astype(int) - have.astype(int))
            print(f"    {path}: {(off > 0).sum()} values differ, by up to {off.max()}")
            wrong += 1
    return wrong


def network_input(d):
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    x = (d["pixels"].numpy().astype(np.float32) / np.float32(255) - mean) / std
    for i in range(len(x)):
        box = erase_box(d, i)
        if box:
            x[i][box] = 0
    return torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).double()


# ---- model -----------------------------------------------------------------------------------------

def class_ids(d):
    classes = [[] for _ in range(int(d["text_class"].max()) + 1)]
    for row, end, c in zip(d["tokens"].tolist(), d["text_end"].tolist(), d["text_class"].tolist()):
        classes[c].append(row[: end + 1])
    return classes


def build(meta, d):
    dim = d["param.image_encoder.projection.weight"].shape[0]
    vocabulary = d["param.text_encoder.token_embedding.weight"].shape[0]
    context = d["param.text_encoder.positional_embedding"].shape[0]
    model = SuperCLIP(meta["image_encoder"], meta["text_encoder"], dim, vocabulary, 0.07, context).double()
    load(model, d, "param.")
    for name, p in model.named_parameters():
        p.requires_grad_("grad." + name in d)
    return model


def load(model, d, prefix):
    state = {k[len(prefix):]: v for k, v in d.items() if k.startswith(prefix)}
    model.load_state_dict({k: v.double() if v.is_floating_point() else v for k, v in state.items()},
                          strict=True)


def optimizer(model, meta, d):
    opt = torch.optim.AdamW(model.parameters(), lr=float(d["lr"]), weight_decay=meta["weight_decay"])
    for name, p in model.named_parameters():  # a dump that begins later in a training
        if "exp_avg." + name in d:
            opt.state[p] = {"step": torch.tensor(float(meta["updates"] - 1)),
                            "exp_avg": d["exp_avg." + name].double(),
                            "exp_avg_sq": d["exp_avg_sq." + name].double()}
    return opt


def replay(meta, d, model, opt):
    """Distances of one step; the model ends with the dumped parameters after it."""
    model.train()
    if meta["running_statistics"]:
        for m in model.modules():
            if isinstance(m, torch.nn.BatchNorm2d):
                m.eval()
    labels = d["labels"].long()
    x, t = model.image_encoder(network_input(d)), model.class_features(class_ids(d))
    losses, z = superclip_loss(x, t, labels, model.temperature, meta["tau0"], d["class_weights"].double(),
                               meta)
    opt.zero_grad()
    losses[0].backward()
    grads = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    worst = max(grads, key=lambda g: distance(d["grad." + g[0]], g[1].grad) * float(g[1].grad.norm()))
    out = {"features": max(distance(d["image_features"], x), distance(d["class_features"], t)),
           "logits": distance(d["logits"], z),
           "losses": max(distance(d["losses"][k], losses[k]) for k in range(3)),
           "gradients": distance(torch.cat([d["grad." + n].double().reshape(-1) for n, _ in grads]),
                                 torch.cat([p.grad.reshape(-1) for _, p in grads]))}
    before = torch.cat([p.detach().reshape(-1).clone() for _, p in grads])
    for name, p in grads:
        p.grad.copy_(d["grad." + name].double())
    opt.param_groups[0]["lr"] = float(d["lr"])
    opt.step()
    after = torch.cat([p.detach().reshape(-1) for _, p in grads])
    dumped = torch.cat([d["updated." + n].double().reshape(-1) for n, _ in grads])
    out["update"] = distance(dumped - before, after - before)
    for name, p in model.named_parameters():
        if not p.requires_grad and not torch.equal(p.detach(), d["updated." + name].double()):
            out["update"] = float("inf")
    load(model, d, "updated.")
    return out, worst[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("dir")
    parser.add_argument("--data", help="the folder of class folders, to make the pixels again")
    args = parser.parse_args()
    files = sorted(glob.glob(args.dir + "/step_*.safetensors"))
    if not files:
        sys.exit(f"{args.dir}: no step_*.safetensors")
    model = opt = None
    ok = True
    columns = list(BOUNDS["fp32"])
    print("step  " + "".join(f"{c:>12}" for c in columns) + "  pixels        farthest gradient")
    for i, path in enumerate(files):
        meta, d = read(path)
        if model is None:
            model = build(meta, d)
            opt = optimizer(model, meta, d)
        pixels = "not checked"
        if args.data:
            wrong = check_pixels(args.data, meta, d)
            ok &= wrong == 0
            pixels = "equal" if wrong == 0 else f"{wrong} DIFFER"
        result, worst = replay(meta, d, model, opt)
        bounds = BOUNDS[meta["precision"]]
        marks = "".join(f"{result[c]:>11.1e}{' ' if result[c] <= bounds[c] else '!'}" for c in columns)
        ok &= all(result[c] <= bounds[c] for c in columns)
        print(f"{i + 1:>4}  {marks}  {pixels:<12}  {worst}")
    print(f"bounds {''.join(f'{bounds[c]:>11.1e} ' for c in columns)} ({meta['precision']})")
    print("PASS" if ok else "FAIL: beyond the bounds where marked with !")
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
