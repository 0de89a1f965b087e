"""Histories of sc_mpi against PyTorch: full batch, fp32, every loss option, the same initial weights.

    history_torch.py --sc build/bin/sc_mpi --data FOLDER [--image resnet18] [--text clip:tiny] [--backend cpu]

Writes random weights as a .pth, trains each option for three epochs with sc_mpi (--init-from) and again here
with torchvision's ResNet, nn.MultiheadAttention, torch.optim.AdamW and scikit-learn's folds and metrics, in
double, from the image files through PIL. Prints the worst difference of a loss (relative above 1) after one step
and within three, and fails beyond the bounds 1e-5 and 3e-3. Needs torch, torchvision, scikit-learn and Pillow < 13.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import torch
from PIL import Image
from sklearn.metrics import average_precision_score, precision_recall_fscore_support
from sklearn.model_selection import StratifiedKFold

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "tests", "oracle"))
from model_oracle import SuperCLIP, superclip_loss  # noqa: E402
from train_oracle import class_weights, normalise  # noqa: E402

EPOCHS, LR, FOLDS, SEED, VOCABULARY = 3, 1e-4, 3, 7, 514
VARIANTS = {
    "contrastive_only": {},
    "superclip": {"use_superclip_loss": True},
    "weighted_sum": {"use_superclip_loss": True, "class_loss_weight": 0.3, "contrastive_loss_weight": 2.0,
                     "weight_method": "inverse_sqrt", "weight_smooth_factor": 2.5},
    "no_class_weights": {"use_superclip_loss": True, "class_weights": "none"},
    "focal": {"use_superclip_loss": True, "use_focal_loss": True, "focal_alpha": 0.4, "focal_gamma": 1.5},
    "multi_positive": {"use_superclip_loss": True, "contrastive_targets": "multi_positive"},
    "frozen_backbones": {"use_superclip_loss": True, "freeze_image_encoder": True, "freeze_text_encoder": True},
    "frozen_bn": {"use_superclip_loss": True, "freeze_bn": True},
}


def loss_options(v):
    return {"superclip": v.get("use_superclip_loss", False), "focal": v.get("use_focal_loss"),
            "focal_alpha": v.get("focal_alpha", 0.25), "focal_gamma": v.get("focal_gamma", 2.0),
            "class_weight": v.get("class_loss_weight", 1.0),
            "contrastive_weight": v.get("contrastive_loss_weight", 1.0),
            "multi_positive": v.get("contrastive_targets") == "multi_positive"}


def read_folder(data):
    """Class names and (path, label) in the order of bytes."""
    names = sorted((d for d in os.listdir(os.fsencode(data))
                    if os.path.isdir(os.path.join(os.fsencode(data), d))))
    rows = [(os.path.join(os.fsencode(data), c, f), k) for k, c in enumerate(names)
            for f in sorted(os.listdir(os.path.join(os.fsencode(data), c)))]
    return [os.fsdecode(n) for n in names], rows


def load(rows, size):
    return normalise(np.stack([np.array(Image.open(p).convert("RGB").resize((size, size), Image.BILINEAR))
                               for p, _ in rows]))


def set_modes(model, v):
    model.train()
    if v.get("freeze_image_encoder") or v.get("freeze_bn"):
        for m in model.modules():
            if isinstance(m, torch.nn.BatchNorm2d):
                m.eval()
                m.requires_grad_(False)
    if v.get("freeze_image_encoder"):
        model.image_encoder.backbone.requires_grad_(False)
    if v.get("freeze_text_encoder"):
        for name, p in model.text_encoder.named_parameters():
            p.requires_grad_(name.startswith("projection"))
    model.temperature.requires_grad_(bool(v.get("use_superclip_loss")))


def replay(o, v, start, ids, split, labels, batches):
    """Three full-batch epochs in PyTorch; a dict of lists like history.json."""
    (train_x, train_y), (val_x, val_y) = batches
    model = SuperCLIP(o.image, o.text, o.embed_dim, VOCABULARY, 0.07)
    model.load_state_dict(start)
    model = model.double()
    counts = np.bincount(labels[split[0]], minlength=len(ids)).tolist()
    weights = torch.tensor(class_weights(counts, v.get("weight_method"), v.get("weight_smooth_factor", 1.0)),
                           dtype=torch.float64)
    if v.get("class_weights") == "none":
        weights = torch.ones_like(weights)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=EPOCHS)
    options, out = loss_options(v), {}
    for _ in range(EPOCHS):
        set_modes(model, v)
        row = {"lr": optimizer.param_groups[0]["lr"]}
        losses, z = superclip_loss(model.image_encoder(train_x), model.class_features(ids), train_y,
                                   model.temperature, 0.07, weights, options)
        optimizer.zero_grad()
        losses[0].backward()
        optimizer.step()
        schedule.step()
        model.eval()
        with torch.no_grad():
            val, vz = superclip_loss(model.image_encoder(val_x), model.class_features(ids), val_y,
                                     model.temperature, 0.07, weights, options)
        row.update(train_loss=losses[0].item(), val_loss=val[0].item(),
                   train_acc=100 * float((z.argmax(1) == train_y).double().mean()))
        if options["superclip"]:
            row.update(train_class_loss=losses[1].item(), train_contrastive_loss=losses[2].item(),
                       val_class_loss=val[1].item(), val_contrastive_loss=val[2].item())
        row.update(metrics(vz, val_y))
        for key, value in row.items():
            out.setdefault(key, []).append(value)
    return out


def metrics(z, y):
    p, y, classes = z.softmax(1).numpy(), y.numpy(), z.shape[1]
    precision, recall, f1, _ = precision_recall_fscore_support(y, p.argmax(1), labels=range(classes),
                                                               average="macro", zero_division=0)
    ap = [average_precision_score(y == c, p[:, c]) for c in range(classes) if (y == c).any()]
    return {"val_acc": 100 * float((p.argmax(1) == y).mean()), "val_mAP": 100 * float(np.mean(ap)),
            "val_precision": 100 * precision, "val_recall": 100 * recall, "val_f1": 100 * f1}


def run_program(o, work):
    torch.manual_seed(o.seed)
    start = random_model(o).state_dict()
    torch.save({"model_state_dict": start}, f"{work}/start.pth")
    base = {"image_encoder": o.image, "text_encoder": o.text, "pretrained": False, "embed_dim": o.embed_dim,
            "batch_size": 4096, "epochs": EPOCHS, "learning_rate": LR, "img_size": o.img_size,
            "augmentation": "none", "use_amp": False, "use_cv": False, "n_splits": FOLDS, "random_state": SEED}
    with open(f"{work}/config.json", "w") as f:
        json.dump([dict(base, name=k, **v) for k, v in VARIANTS.items()], f)
    command = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-np", str(o.ranks),
               o.sc, f"{work}/config.json", "--data-dir", o.data, "--output-dir", f"{work}/out",
               "--log-dir", f"{work}/log", "--backend", o.backend, "--init-from", f"{work}/start.pth",
               "--group-size", str(o.ranks)]
    r = subprocess.run(command, capture_output=True, text=True)
    if r.returncode != 0:
        sys.exit(f"sc_mpi ended with {r.returncode}:\n{r.stdout[-2000:]}{r.stderr[-2000:]}")
    return start


def random_model(o):
    """Random weights with no constant tensors, so that a swapped pair of tensors cannot hide."""
    model = SuperCLIP(o.image, o.text, o.embed_dim, VOCABULARY, 0.07)
    for name, p in model.named_parameters():
        if p.dim() > 1 and name.startswith("text_encoder"):
            torch.nn.init.normal_(p, std=0.02 if "embedding" in name else p.shape[-1] ** -0.5)
        elif p.dim() == 1:
            torch.nn.init.normal_(p, mean=1.0 if "ln_" in name and name.endswith("weight") else 0.0, std=0.02)
            if name.startswith("image_encoder.backbone") and name.endswith("weight"):
                p.data += 1.0
    return model


def compare(o, work, start):
    names, rows = read_folder(o.data)
    labels = np.array([k for _, k in rows])
    split = next(StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(labels, labels))
    batches = [(load([rows[i] for i in part], o.img_size), torch.tensor(labels[part])) for part in split]
    worst = {"first": 0.0, "third": 0.0, "metric": 0.0}
    for name, v in VARIANTS.items():
        folder = f"{work}/out/{name}"
        with open(f"{folder}/folds_info.json") as f:
            info = json.load(f)
        with open(f"{folder}/fold_1/history.json") as f:
            history = json.load(f)
        if info["class_names"] != names or info["folds"][0]["train_indices"] != split[0].tolist() \
                or info["folds"][0]["val_indices"] != split[1].tolist():
            sys.exit(f"{name}: folds_info.json does not hold scikit-learn's folds")
        checkpoint = torch.load(f"{folder}/fold_1/checkpoint_latest.pth", weights_only=True)
        ids = checkpoint["class_token_ids"]
        ids = [ids[c] for c in names] if isinstance(ids, dict) else ids
        expected = replay(o, v, start, ids, split, labels, batches)
        steps = [0.0] * EPOCHS
        for key, values in expected.items():
            for e in range(EPOCHS):
                error = abs(history[key][e] - values[e])
                if "loss" in key:
                    steps[e] = max(steps[e], error / max(1.0, abs(values[e])))
                elif e == 0:
                    worst["metric"] = max(worst["metric"], error)
        print(f"  {name:18s} losses differ by " + "  ".join(f"{s:.1e}" for s in steps))
        worst["first"] = max(worst["first"], steps[0])
        worst["third"] = max(worst["third"], max(steps))
    print(f"histories against PyTorch: {worst['first']:.1e} after one step, {worst['third']:.1e} within three "
          f"(bounds 1e-5, 3e-3); metrics of epoch 1 within {worst['metric']:.1e} points")
    return worst["first"] <= 1e-5 and worst["third"] <= 3e-3


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--sc", required=True)
    a.add_argument("--data", required=True)
    a.add_argument("--image", default="resnet18")
    a.add_argument("--text", default="clip:tiny")
    a.add_argument("--embed-dim", type=int, default=64)
    a.add_argument("--img-size", type=int, default=48)
    a.add_argument("--backend", default="cpu")
    a.add_argument("--ranks", type=int, default=1)
    a.add_argument("--seed", type=int, default=0)
    o = a.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as work:
        sys.exit(0 if compare(o, work, run_program(o, work)) else 1)


main()
