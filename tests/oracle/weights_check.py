#!/usr/bin/env python3
"""Opens tests/golden/weights_ours.pth and weights_ours.safetensors, which the C test writes byte for byte
the same, in PyTorch with weights_only=True, loads model, optimizer and scheduler strictly, and takes
a step. This is the proof behind the byte comparison in tests/weights.

    python tests/oracle/weights_check.py [FILE.pth FILE.safetensors]
"""
import collections
import pathlib
import sys
import zipfile

import safetensors.torch
import torch

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"


def ramp(shape, dtype=torch.float32, start=0):
    n = 1
    for s in shape:
        n *= s
    return (torch.arange(n) + start).reshape(shape).to(dtype)


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)


def main():
    pth, flat = sys.argv[1:] or (GOLDEN / "weights_ours.pth", GOLDEN / "weights_ours.safetensors")
    with zipfile.ZipFile(pth) as z:
        assert z.testzip() is None
        for info in z.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
    c = torch.load(pth, weights_only=True)
    assert list(c) == ["epoch", "numbers", "floats", "nothing", "yes", "no", "text", "list", "tuples",
                       "ordered", "tensors", "tied", "model_state_dict", "optimizer_state_dict",
                       "scheduler_state_dict"], list(c)
    assert c["epoch"] == 3
    assert c["numbers"] == [0, 255, 256, 65535, 65536, -1, 2**31 - 1, -2**31, 2**31, -2**31 - 1,
                            2**63 - 1, -2**63]
    assert c["floats"] == [0.1, -1.5e-300, float("inf")]
    assert c["nothing"] is None and c["yes"] is True and c["no"] is False
    assert c["text"] == "种植体 \"x\"\n" and c["list"] == [1, [], ["a"]]
    assert c["tuples"] == [(), (0,), (0, 1), (0, 1, 2), (0, 1, 2, 3)]
    assert isinstance(c["ordered"], collections.OrderedDict) and list(c["ordered"]) == ["b", "a"]
    for name, t in c["tensors"].items():
        if name in ("scalar", "empty", "wide"):
            continue
        assert same(t, ramp((2, 3), getattr(torch, name))), name
    assert same(c["tensors"]["scalar"], torch.tensor(7.0))
    assert same(c["tensors"]["empty"], torch.zeros(0, 3))
    assert same(c["tensors"]["wide"], ramp((2, 1, 2, 1, 2)))
    assert c["tied"][0].data_ptr() == c["tied"][1].data_ptr()

    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    model.load_state_dict(c["model_state_dict"], strict=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0)
    optimizer.load_state_dict(c["optimizer_state_dict"])
    assert optimizer.param_groups[0]["lr"] == 5e-5 and optimizer.param_groups[0]["params"]
    state = optimizer.state[model[0].weight]
    assert state["step"] == 5 and same(state["exp_avg"], ramp((2, 3), start=1))
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100)
    scheduler.load_state_dict(c["scheduler_state_dict"])
    assert scheduler.T_max == 7 and scheduler.last_epoch == 5
    model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    scheduler.step()
    assert all(torch.isfinite(p).all() for p in model.parameters())

    tensors = safetensors.torch.load_file(flat)
    for name, t in tensors.items():
        if name not in ("scalar", "empty"):
            assert same(t, ramp((2, 3), getattr(torch, name))), name
    assert same(tensors["scalar"], torch.tensor(7.0)) and same(tensors["empty"], torch.zeros(0, 3))
    with safetensors.safe_open(flat, "pt") as f:
        assert f.metadata() == {"format": "pt", "made": "by a test"}
    print("ok: torch", torch.__version__, "opens both files")


if __name__ == "__main__":
    main()
