#!/usr/bin/env python3
"""The gradients of one step against double precision: this program's and PyTorch's, side by side.

    gradient_error.py BUILD_DIR [options of gradient_error, but --save]

Runs BUILD_DIR/bin/gradient_error and has PyTorch repeat its step from the same parameters and inputs: in double
(which has to agree with the reference), in fp32 and under bf16 autocast, in both memory layouts. Distances are
|g - ref| / |ref|. Needs torch, torchvision and safetensors.
"""
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors import safe_open

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "oracle"))
from model_oracle import SuperCLIP, superclip_loss  # noqa: E402

LOSS = {"superclip": True, "class_weight": 1, "contrastive_weight": 1}


def read(path):
    with safe_open(path, "pt") as f:
        return f.metadata(), {k: f.get_tensor(k) for k in f.keys()}


def build(meta, d):
    vocabulary = len(d["param.text_encoder.token_embedding.weight"])
    m = SuperCLIP(meta["image_encoder"], meta["text_encoder"], 512, vocabulary, 0.07).double()
    m.load_state_dict({k[6:]: v for k, v in d.items() if k.startswith("param.")})
    return m.train()


def pixels(d):
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return ((d["images"].float() / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()


def run(meta, d, dtype, autocast=False, channels_last=False):
    m, x = build(meta, d).to(dtype), pixels(d).to(dtype)
    if channels_last:
        m, x = m.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    ids = [[row[: end + 1]] for row, end in zip(d["tokens"].tolist(), d["text_end"].tolist())]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        image, text = m.image_encoder(x), m.class_features(ids)
    wide = torch.float32 if autocast else dtype
    (loss, _, _), _ = superclip_loss(image.to(wide), text.to(wide), d["labels"].long(), m.temperature, 0.07,
                                     torch.ones(len(ids), dtype=wide), LOSS)
    loss.backward()
    return loss.item(), {k: p.grad.double() for k, p in m.named_parameters() if p.grad is not None}


def report(name, loss, got, d, reference_loss):
    want = {k[5:]: v.double() for k, v in d.items() if k.startswith("grad.")}
    assert got.keys() == want.keys(), got.keys() ^ want.keys()
    parts = {"whole": list(want), "image": [k for k in want if k.startswith("image_")]}
    parts["text"] = [k for k in want if k not in parts["image"]]
    square = {k: ((got[k] - v).square().sum().item(), v.square().sum().item()) for k, v in want.items()}
    one = {k: (a / b) ** 0.5 if b else 0 for k, (a, b) in square.items()}
    whole = [(sum(square[k][0] for k in p) / sum(square[k][1] for k in p)) ** 0.5 for p in parts.values()]
    worst = max(one, key=one.get)
    figures = "  ".join(f"{v:8.2e}" for v in (*whole, sum(one.values()) / len(one), one[worst]))
    print(f"{name:<16} {loss - reference_loss:9.2e}  {figures} {worst}", flush=True)
    return whole[0]


def main():
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        path = folder + "/step.safetensors"
        subprocess.run([sys.argv[1] + "/bin/gradient_error", *sys.argv[2:], "--save", path], check=True)
        meta, d = read(path)
    reference_loss = float(meta["loss"])
    distance = report("PyTorch double", *run(meta, d, torch.float64), d, reference_loss)
    report("PyTorch fp32", *run(meta, d, torch.float32), d, reference_loss)
    report("PyTorch bf16", *run(meta, d, torch.float32, True), d, reference_loss)
    report("  channels_last", *run(meta, d, torch.float32, True, True), d, reference_loss)
    if not distance < 1e-6:
        sys.exit("gradient_error: PyTorch in double does not agree with the reference")


if __name__ == "__main__":
    main()
