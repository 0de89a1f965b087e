#!/usr/bin/env python3
"""Writes tests/golden/weights_*: files of PyTorch, in all formats it ever had, and of the safetensors
library that our reader has to understand.
Every value is computed from its place (see ramp), so the C test knows what to expect without this script.

    python tests/oracle/weights_golden.py    # torch >= 2.1, safetensors
"""
import collections
import io
import json
import pathlib
import pickle
import struct
import tarfile
import tempfile
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


class Tower(torch.nn.Module):
    """A model with what a TorchScript archive of CLIP holds: nested modules, half precision, bare
    parameters, a scalar buffer, and code."""

    def __init__(self):
        super().__init__()
        self.blocks = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.GELU(), torch.nn.LayerNorm(4))
        self.projection = torch.nn.Parameter(ramp((4, 3)))
        self.register_buffer("context_length", torch.tensor(77))
        with torch.no_grad():
            for i, p in enumerate(self.parameters()):
                p.copy_(ramp(p.shape, p.dtype, 10 * i))
        self.blocks[0].half()

    def forward(self, x):
        return self.blocks[2](self.blocks[0](x.half()).float()) @ self.projection


def script():
    out = io.BytesIO()
    torch.jit.save(torch.jit.trace(Tower(), torch.ones(2, 4), check_trace=False), out)
    return out.getvalue()


def tar_file(tensors):
    """The format of the first PyTorch versions, as torch's own reader of it takes it."""
    classes = {torch.float32: ("FloatStorage", "FloatTensor"), torch.int64: ("LongStorage", "LongTensor")}
    storages, table = io.BytesIO(), io.BytesIO()

    class Name:
        """Pickled as a bare global of the module torch."""
        def __init__(self, name):
            self.name = name

        def __reduce__(self):
            return self.name

    class Pickler(pickle._Pickler):
        def save(self, obj, save_persistent_id=True):
            if isinstance(obj, Name):
                self.write(b"ctorch\n" + obj.name.encode() + b"\n")
            else:
                super().save(obj, save_persistent_id)

        def persistent_id(self, obj):
            return numbers[id(obj)] if isinstance(obj, torch.Tensor) else None

    def dump(obj, to):
        Pickler(to, 2).dump(obj)

    numbers = {id(t): 2**40 + i for i, t in enumerate(tensors.values())}
    roots = {}
    for t in tensors.values():
        roots.setdefault(t.untyped_storage().data_ptr(), (94000000000000 + len(roots), t))
    dump(len(roots), storages)
    for key, t in roots.values():
        dump((key, "cpu", Name(classes[t.dtype][0])), storages)
        n = t.untyped_storage().nbytes() // t.element_size()
        storages.write(struct.pack("<q", n))
        storages.write(torch.as_strided(t, (n,), (1,), 0).numpy().tobytes())
    dump([], storages)
    dump(len(tensors), table)
    for t in tensors.values():
        key = roots[t.untyped_storage().data_ptr()][0]
        dump((numbers[id(t)], key, Name(classes[t.dtype][1])), table)
        table.write(struct.pack("<i", t.dim()) + b"\xAA" * 4)
        table.write(struct.pack(f"<{2 * t.dim() + 1}q", *t.shape, *t.stride(), t.storage_offset()))
    main_pickle, system = io.BytesIO(), io.BytesIO()
    dump(tensors, main_pickle)
    dump({"protocol_version": 1000, "little_endian": True}, system)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in (("sys_info", system), ("pickle", main_pickle), ("tensors", table),
                           ("storages", storages)):
            info = tarfile.TarInfo(name)
            info.size = len(data.getvalue())
            tar.addfile(info, io.BytesIO(data.getvalue()))
    with tempfile.NamedTemporaryFile(suffix=".pth") as f:
        f.write(out.getvalue())
        f.flush()
        for name, t in torch.load(f.name, weights_only=False).items():
            assert torch.equal(t, tensors[name]), name
    return out.getvalue()


def old_tensors():
    base = ramp((4, 6))
    return collections.OrderedDict(base=base, transposed=base.t(), row=base[2], long=ramp((3, 2), torch.int64),
                                   scalar=ramp((1,)))


def shards():
    first, second = {"a.weight": ramp((2, 3)), "b": ramp((4,), torch.float16)}, {"c": ramp((3,), start=5)}
    names = ["weights_model-00001-of-00002.safetensors", "weights_model-00002-of-00002.safetensors"]
    for name, tensors in zip(names, (first, second)):
        safetensors.torch.save_file(tensors, GOLDEN / name, {"format": "pt"})
    index = {"metadata": {"total_size": 44},
             "weight_map": {**{k: names[0] for k in first}, **{k: names[1] for k in second}}}
    (GOLDEN / "weights_model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def main():
    (GOLDEN / "weights_torch.pth").write_bytes(saved(training_checkpoint()))
    view_file = saved(views())
    (GOLDEN / "weights_views.pth").write_bytes(view_file)
    (GOLDEN / "weights_deflated.pth").write_bytes(deflated(view_file))
    (GOLDEN / "weights_old.pth").write_bytes(
        saved({"w": ramp((2,))}, _use_new_zipfile_serialization=False))
    (GOLDEN / "weights_legacy.pth").write_bytes(saved(views(), _use_new_zipfile_serialization=False))
    (GOLDEN / "weights_script.pt").write_bytes(script())
    (GOLDEN / "weights_tar.pth").write_bytes(tar_file(old_tensors()))
    shards()
    flat = {k: v.detach().contiguous().clone() for k, v in views().items()}
    safetensors.torch.save_file(flat, GOLDEN / "weights_hf.safetensors", {"format": "pt", "by": "test"})


if __name__ == "__main__":
    main()
