#!/usr/bin/env python3
"""Writes tests/golden/weights_torch.pth, weights_views.pth, weights_old.pth, weights_deflated.pth and
weights_hf.safetensors: files of PyTorch and of the safetensors library that our reader has to understand.
Every value is computed from its place (see ramp), so the C test knows what to expect without this script.

    python tests/oracle/weights_golden.py    # torch >= 2.1, safetensors
"""
import collections
import io
import pathlib
import zipfile

import safetensors.torch
import torch

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.int32,
          torch.int16, torch.int8, torch.uint8, torch.bool]


def ramp(shape, dtype=torch.float32, start=0):
    """Element i, counted in row-major order, is start + i (true unless it is 0 for bool)."""
    n = 1
    for s in shape:
        n *= s
    return (torch.arange(n) + start).reshape(shape).to(dtype)


def training_checkpoint():
    """What the old script saved: a model with BatchNorm, AdamW's state, a cosine schedule, a config."""
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3, bias=False), torch.nn.BatchNorm2d(2),
                                torch.nn.Flatten(), torch.nn.Linear(8, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=7)
    for _ in range(3):
        optimizer.zero_grad()
        model(ramp((2, 3, 4, 4)) / 96).square().sum().backward()
        optimizer.step()
        scheduler.step()
    with torch.no_grad():
        for i, (_, t) in enumerate(sorted(model.state_dict().items())):
            t.copy_(ramp(t.shape, t.dtype, 10 * i))
    return {
        "epoch": 2, "fold": 1, "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "scheduler_state_dict": scheduler.state_dict(),
        "train_loss": 0.1, "val_acc": -1.5e-300, "best": None, "amp": True, "cv": False,
        "big": 2**40, "small": -(2**40), "byte": 255, "short": 65535, "int": -70000,
        "config": {"name": "种植体 \"x\"", "betas": (0.9, 0.999), "empty": {}, "list": [1, [2, []], ()],
                   "shape": torch.Size([2, 3]), "long": (1, 2, 3, 4, 5)},
        "class_to_idx": collections.OrderedDict([("a", 0), ("b", 1)]),
    }


def views():
    base = ramp((4, 6))
    image = ramp((2, 3, 4, 5)).contiguous(memory_format=torch.channels_last)
    tensors = collections.OrderedDict()
    for dtype in DTYPES:
        tensors[str(dtype)[6:]] = ramp((2, 3), dtype)
    tensors.update({
        "base": base, "transposed": base.t(), "columns": base[:, 1::2], "row": base[2],
        "element": base[3, 5], "expanded": ramp((3, 1)).expand(3, 4), "channels_last": image,
        "halves": ramp((3, 4), torch.float16).t(), "bytes": ramp((3, 4), torch.uint8)[1:, ::3],
        "scalar": torch.tensor(7.5), "empty": torch.zeros(0, 3), "empty_view": base[4:],
        "parameter": torch.nn.Parameter(ramp((3,))), "eight": ramp((1, 2, 1, 2, 1, 2, 1, 2)),
        "one_wide": ramp((5, 1)), "step": ramp((10,), torch.int64)[::3],
    })
    return tensors


def deflated(data):
    """The same records, compressed: other writers of zip files do that."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, \
            zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(zipfile.ZipInfo(name), source.read(name),
                            compress_type=zipfile.ZIP_DEFLATED)
    return out.getvalue()


def saved(value, **options):
    out = io.BytesIO()
    torch.save(value, out, **options)
    return out.getvalue()


def main():
    (GOLDEN / "weights_torch.pth").write_bytes(saved(training_checkpoint()))
    view_file = saved(views())
    (GOLDEN / "weights_views.pth").write_bytes(view_file)
    (GOLDEN / "weights_deflated.pth").write_bytes(deflated(view_file))
    (GOLDEN / "weights_old.pth").write_bytes(
        saved({"w": ramp((2,))}, _use_new_zipfile_serialization=False))
    flat = {k: v.detach().contiguous().clone() for k, v in views().items()}
    safetensors.torch.save_file(flat, GOLDEN / "weights_hf.safetensors", {"format": "pt", "by": "test"})


if __name__ == "__main__":
    main()
