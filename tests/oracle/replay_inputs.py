"""What a step of `--dump-steps` must have been fed with, worked out a second time: the settings from
config.json, the order and the draws from folds_info.json and Philox (docs/random_numbers.md), the pixels
from the image files by Pillow and torchvision. Part of replay_steps.py.
"""
import io
import json
import math
import pathlib
import struct

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import functional as TF

from augment_draws import ORDER, draws, permutation, weighted

DRAWS = ("crop_top", "crop_left", "flip_h", "flip_v", "jitter", "rotate", "jitter_order", "brightness", "contrast",
         "saturation", "hue", "angle", "rotate_fix", "erase_top", "erase_left", "erase_h", "erase_w")
Image.MAX_IMAGE_PIXELS = None  # the packer has its own cap


# ---- the run ----------------------------------------------------------------------------------------

class Run:
    """The output folder of the run that was dumped: its config.json, folds_info.json and checkpoints."""

    def __init__(self, config, folds):
        self.folder = pathlib.Path(config).parent
        self.config = json.loads(pathlib.Path(config).read_text())
        self.folds = json.loads(pathlib.Path(folds).read_text())
        self.orders = {}
        self.paths = {i: p for f in self.folds["folds"] for i, p in zip(f["val_indices"], f["val_files"])}

    def fold(self, number):
        return next(f for f in self.folds["folds"] if f["fold"] == number)

    def counts(self, fold):
        return [self.fold(fold)["train_class_counts"][c] for c in self.folds["class_names"]]

    def label_of(self, fold):
        """Sample index -> class: samples are sorted by class, so the fold's ascending indices are too."""
        labels = [c for c, n in enumerate(self.counts(fold)) for _ in range(n)]
        return dict(zip(self.fold(fold)["train_indices"], labels))

    def class_weights(self, fold):
        """What the sampler draws with; the loss too unless class_weights is none."""
        counts, smooth = self.counts(fold), self.config["weight_smooth_factor"]
        n, present = sum(counts), sum(c > 0 for c in counts)
        if self.config["weight_method"] == "inverse_sqrt":
            return [math.sqrt(n / (c + smooth)) if c else 0.0 for c in counts]
        return [n / (present * (c + smooth)) if c else 0.0 for c in counts]

    def order(self, fold, epoch):
        """Sample indices of an epoch (from 0) of a fold (from 1)."""
        if (fold, epoch) not in self.orders:
            seed, train = self.config["random_state"], self.fold(fold)["train_indices"]
            if self.config["use_weighted_sampling"]:
                label, w = self.label_of(fold), self.class_weights(fold)
                drawn = weighted([w[label[i]] for i in train], seed, epoch, fold)
                order = [train[i] for i in drawn]
            else:
                order = permutation(train, seed, ORDER, epoch, fold)
            self.orders = {(fold, epoch): order}
        return self.orders[fold, epoch]

    def standard(self):
        return self.config["augmentation"] == "standard"


# ---- settings, order, draws --------------------------------------------------------------------------

def expected_settings(run, meta):
    """What the step's metadata must say."""
    c = run.config
    size = c["img_size"]
    return {"image_encoder": c["image_encoder"], "text_encoder": c["text_encoder"],
            "precision": c["precision_used"], "img_size": size,
            "row_size": int(1.1 * size) if run.standard() else size,
            "weight_decay": c["weight_decay"], "tau0": c["temperature"],
            "running_statistics": c["freeze_bn"] or c["freeze_image_encoder"],
            "superclip": c["use_superclip_loss"], "class_weight": c["class_loss_weight"],
            "contrastive_weight": c["contrastive_loss_weight"], "focal": c["use_focal_loss"],
            "focal_alpha": c["focal_alpha"], "focal_gamma": c["focal_gamma"],
            "multi_positive": c["contrastive_targets"] == "multi_positive"}


def check_settings(run, meta, d):
    """Lines that say what of the step is not as the config asks."""
    want = expected_settings(run, meta)
    wrong = [f"{k} is {meta.get(k)!r}, config.json gives {v!r}" for k, v in want.items() if meta.get(k) != v]
    c, epoch = run.config, meta["epoch"] - 1
    lr = 0.5 * c["learning_rate"] * (1 + math.cos(math.pi * epoch / c["epochs"]))
    if not math.isclose(float(d["lr"]), lr, rel_tol=1e-12):
        wrong.append(f"lr is {float(d['lr'])!r}, config.json gives {lr!r}")
    weights = run.class_weights(meta["fold"]) if c["class_weights"] == "train" else [1.0] * len(run.counts(1))
    if d["class_weights"].shape != (len(weights),) or not np.allclose(d["class_weights"], weights, 1e-12, 0):
        wrong.append(f"class_weights are {d['class_weights'].tolist()}, the fold's counts give {weights}")
    return wrong + check_tokens(run, meta, d)


def check_tokens(run, meta, d):
    """The texts of the step against those that the fold's checkpoint names, when there is one already."""
    rows = list(zip(d["tokens"].tolist(), d["text_end"].tolist(), d["text_class"].tolist()))
    if any(any(row[end + 1:]) for row, end, _ in rows):
        return ["tokens are not 0 behind their end"]
    for name in ("checkpoint_best.pth", "checkpoint_latest.pth"):
        path = run.folder / f"fold_{meta['fold']}" / name
        if path.exists():
            ids = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["class_token_ids"]
            want = [(list(text), c) for c, name in enumerate(run.folds["class_names"]) for text in ids[name]]
            have = [(row[: end + 1], c) for row, end, c in rows]
            return [] if want == have else [f"tokens, text_end, text_class are not class_token_ids of {path}"]
    return []


def check_samples(run, meta, d):
    """Lines that say which rows of the batch are not those of the epoch's order."""
    fold, first = meta["fold"], (meta["step"] - 1) * run.config["batch_size"]
    want = run.order(fold, meta["epoch"] - 1)[first : first + run.config["batch_size"]]
    have, labels, paths = d["samples"].tolist(), d["labels"].tolist(), meta["paths"]
    if not len(have) == len(labels) == len(paths) == len(want):
        return [f"{len(have)} samples, {len(labels)} labels, {len(paths)} paths; the order gives {len(want)}"]
    wrong = [f"row {i}: sample {h}, the order gives {w}" for i, (h, w) in enumerate(zip(have, want)) if h != w]
    label_of, names = run.label_of(fold), run.folds["class_names"]
    for i, (s, label, path) in enumerate(zip(want, labels, paths)):
        if label != label_of[s]:
            wrong.append(f"row {i}: label {label}, sample {s} is of class {label_of[s]}")
        if path.split("/")[0] != names[label_of[s]] or run.paths.get(s, path) != path:
            wrong.append(f"row {i}: path {path} is not sample {s}'s")
    by_index = [p.encode() for _, p in sorted(zip(want, paths))]
    keys = [p.split(b"/", 1) for p in by_index]
    if keys != sorted(keys):  # sample indices ascend with the bytes of class and file names
        wrong.append("paths are not in the order of their sample indices")
    return wrong


def check_draws(run, meta, d):
    """Names of the draw.* tensors that are not what Philox gives."""
    n, wrong = len(d["samples"]), []
    first = (meta["step"] - 1) * run.config["batch_size"]
    want = [{} if not run.standard() else
            draws(run.config["random_state"], meta["epoch"] - 1, first + i, meta["fold"], meta["img_size"],
                  int(1.1 * meta["img_size"])) for i in range(n)]
    for name in DRAWS:
        have = d["draw." + name].numpy()
        zero = np.zeros(have.shape[1:], have.dtype)
        rows = np.array([w.get(name, zero) for w in want]).astype(have.dtype).reshape(n, *have.shape[1:])
        off = np.flatnonzero((rows != have).reshape(n, -1).any(1)) if have.shape == rows.shape else [0]
        wrong += [f"draw.{name} of row {i} is {have[i].tolist()}, Philox gives {rows[i].tolist()}" for i in off]
    return wrong


# ---- pixels ------------------------------------------------------------------------------------------

def without_orientation(data):
    """A TIFF's bytes with its Orientation tag set to 1: Pillow turns such images as it loads them, the
    trainer does not. Other bytes come back as they are."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 16:
        return data
    magic = struct.unpack_from(order + "H", data, 2)[0]
    if magic == 42:
        at, number, head, entry = struct.unpack_from(order + "I", data, 4)[0], "H", 2, 12
    elif magic == 43:  # BigTIFF
        at, number, head, entry = struct.unpack_from(order + "Q", data, 8)[0], "Q", 8, 20
    else:
        return data
    out = bytearray(data)
    for k in range(struct.unpack_from(order + number, data, at)[0]):
        place = at + head + k * entry
        tag, kind = struct.unpack_from(order + "HH", data, place)
        if tag == 274:
            value = place + (8 if magic == 42 else 12)
            struct.pack_into(order + {1: "B", 3: "H"}.get(kind, "I"), out, value, 1)
    return bytes(out)


def grey8(image, window):
    """16-bit grey -> 8 bits, from all of 0..65535 or from the packer's --window."""
    v = np.asarray(image).astype(np.int64)
    if window is None:
        return Image.fromarray(((v + 128) // 257).astype(np.uint8))
    t = (v - window[0]) / (window[1] - window[0]) * 255
    return Image.fromarray(np.floor(t.clip(0, 255) + 0.5).astype(np.uint8))


def decoded(path, window):
    with open(path, "rb") as f:
        image = Image.open(io.BytesIO(without_orientation(f.read())))
    if image.mode in ("P", "RGBA", "LA", "PA"):
        image = image.convert("RGBA")
    if image.mode.startswith("I;16") or image.mode == "I":
        image = grey8(image, window)
    return image.convert("RGB")


def augmented(path, meta, d, i, window):
    row, size = meta["row_size"], meta["img_size"]
    image = decoded(path, window).resize((row, row), Image.BILINEAR)
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
    return np.array(image)


def erase_box(d, i):
    h = int(d["draw.erase_h"][i])
    if not h:
        return None
    top, left = int(d["draw.erase_top"][i]), int(d["draw.erase_left"][i])
    return slice(top, top + h), slice(left, left + int(d["draw.erase_w"][i]))


def check_pixels(data, window, meta, d):
    """(largest difference of a byte, where) between the dumped pixels and those made from the files."""
    worst = 0, ""
    for i, path in enumerate(meta["paths"]):
        want, have = augmented(f"{data}/{path}", meta, d, i, window), d["pixels"][i].numpy()
        box = erase_box(d, i)
        if box:
            want[box] = 0
        worst = max(worst, (int(np.abs(want.astype(int) - have.astype(int)).max()), path))
    return worst


def network_input(d):
    """[n,3,S,S] as ToTensor and Normalize make it in float, then the erased boxes; in double."""
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    x = (d["pixels"].numpy().astype(np.float32) / np.float32(255) - mean) / std
    for i in range(len(x)):
        box = erase_box(d, i)
        if box:
            x[i][box] = 0
    return torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).double()
