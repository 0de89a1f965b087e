"""Every full encoder of timm's families, vit and bert-base-chinese on the CPU backend against timm and
transformers: features and gradients from the same weights. Not part of the test suite, which has the narrow ones; prints a table, exits 1 past a bound.

    encoders_check.py BUILD_DIR [--size 224] [--batch 4] [--precision fp32] [ENCODER...]

Weights are random: timm's initial ones, but vectors, running statistics and layer scales drawn so that every layer
counts. features: |a - b| / |b| of the worst image, evaluation and training; gradient: |a - b| / |b| of the tower's
gradient as one vector. All against timm in double; beside ours in brackets stands timm's own float32.
Needs timm, "transformers<5", safetensors.
"""
import argparse
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file

import timm_encoders
from model_oracle import SuperCLIP, superclip_loss

FEATURES = {"fp32": 2e-5, "bf16": 0.1}
LOSS = {"superclip": True, "class_weight": 1, "contrastive_weight": 1}


TEXTS = ["bert-base-chinese"]  # checked with a tiny image tower; image towers with a tiny text tower


def make_model(name, size):
    torch.manual_seed(1)
    text = name in TEXTS
    model = SuperCLIP("resnet-tiny" if text else name, name if text else "clip:tiny", 64, 21128 if text else 514,
                      0.07, img_size=size)
    if not text:
        for n, p in model.text_encoder.named_parameters():
            torch.nn.init.normal_(p, 1.0 if "ln_" in n and n.endswith("weight") else 0.0, 0.05)
    for n, p in (model.text_encoder if text else model.image_encoder).backbone.named_parameters():
        if p.dim() == 1:
            torch.nn.init.normal_(p, 0.3 if n.endswith("gamma") else 1.0 if n.endswith("weight") else 0.0, 0.1)
    for n, b in model.image_encoder.backbone.named_buffers():
        if n.endswith("running_mean"):
            torch.nn.init.normal_(b, 0.0, 0.1)
        elif n.endswith("running_var"):
            torch.nn.init.uniform_(b, 0.5, 1.5)
    return model


def make_inputs(batch, size, text):
    g = torch.Generator().manual_seed(2)
    soft = torch.nn.functional.interpolate(torch.rand(batch, 3, 9, 9, generator=g) * 255, (size, size), mode="bicubic")
    pixels = (soft + 20 * torch.randn(batch, 3, size, size, generator=g)).clamp(0, 255)
    tokens = torch.randint(0, 512, (3, 4), generator=g)
    tokens[:, 0], tokens[:, -1] = 512, 513
    end = torch.tensor([3, 3, 3])
    if text:  # of three lengths
        tokens, end = torch.randint(1, 21128, (3, 40), generator=g), torch.tensor([39, 0, 17])
        tokens[torch.arange(40) > end[:, None]] = 0
    i32 = {"tokens": tokens, "text_end": end, "text_class": torch.arange(3),
           "labels": torch.arange(batch) % 3}
    return {"images": pixels.to(torch.uint8).permute(0, 2, 3, 1).contiguous(),
            **{k: v.to(torch.int32) for k, v in i32.items()}}


def run_timm(model, d, dtype):
    model = model.to(dtype)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = ((d["images"].float() / 255 - mean) / std).to(dtype).permute(0, 3, 1, 2).contiguous()
    with torch.no_grad():
        features = model.eval().image_encoder(x)
    model.train().zero_grad()
    out = {"eval_features": features, "train_features": model.image_encoder(x)}
    text = model.class_features([[row[: end + 1]] for row, end in zip(d["tokens"].tolist(), d["text_end"].tolist())])
    out["class_features"] = text
    losses, _ = superclip_loss(out["train_features"], text, d["labels"].long(), model.temperature, 0.07,
                               torch.ones(3, dtype=dtype), LOSS)
    losses[0].backward()
    out.update({"grad." + k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None})
    model.load_state_dict(before)
    return {k: v.detach().double() for k, v in out.items()}


def feature_error(got, want):
    return ((got.double() - want).norm(dim=1) / want.norm(dim=1)).max().item()


def gradient_error(got, want, tower):
    names = [k for k in want if k.startswith(f"grad.{tower}_encoder.")]
    square = sum((got[k].double() - want[k]).square().sum().item() for k in names)
    return (square / sum(want[k].square().sum().item() for k in names)) ** 0.5


def check(build, name, o):
    text = name in TEXTS
    model, d = make_model(name, o.size), make_inputs(o.batch, o.size, text)
    pair = ("resnet-tiny", name) if text else (name, "clip:tiny")
    with tempfile.TemporaryDirectory() as tmp:
        save_file({**d, **{k: v.contiguous() for k, v in model.state_dict().items()}}, tmp + "/in")
        subprocess.run([build + "/bin/encoder_step", *pair, tmp + "/in", tmp + "/out", o.precision], check=True)
        got = load_file(tmp + "/out")
    narrow, want = run_timm(model, d, torch.float32), run_timm(model, d, torch.float64)
    features = ["class_features"] * 2 if text else ["eval_features", "train_features"]
    row = [(f(got), f(narrow)) for f in (lambda v: feature_error(v[features[0]], want[features[0]]),
                                         lambda v: feature_error(v[features[1]], want[features[1]]),
                                         lambda v: gradient_error(v, want, "text" if text else "image"))]
    good = all(ours <= FEATURES[o.precision] for ours, _ in row[:2])
    print(f"{name:18}" + "".join(f"  {a:8.1e} ({b:.1e})" for a, b in row) + ("" if good else "  TOO FAR"), flush=True)
    return good


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("build")
    full = timm_encoders.FULL + ["vit"] + TEXTS
    p.add_argument("encoders", nargs="*", default=full)
    p.add_argument("--size", type=int, default=224)
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    o = p.parse_intermixed_args()
    print(f"{'':18}  features, evaluation   training             gradient")
    sys.exit(not all([check(o.build, name, o) for name in o.encoders or full]))
