"""The old trainer's epoch in PyTorch on the made-up data of tests/train/fake_data.c, in double."""
import math
import warnings

import numpy as np
import torch
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

from model_oracle import make_model, superclip_loss

MEAN = np.float32([0.485, 0.456, 0.406])
STD = np.float32([0.229, 0.224, 0.225])
CLASS_IDS = [[[512, 64, 321, 513]], [[512, 65, 66, 323, 513], [512, 71, 72, 73, 330, 513]],
             [[512, 70, 326, 513]]]
COLUMNS = ["train_loss", "train_acc", "val_loss", "val_acc", "val_mAP", "val_precision", "val_recall",
           "val_f1", "train_class_loss", "train_contrastive_loss", "val_class_loss",
           "val_contrastive_loss", "lr"]


def labels_of(count):
    return [0 if i % 7 < 4 else 1 if i % 7 < 6 else 2 for i in range(count)]


def images(samples, size, train_rows):
    """8-bit rows [n, size, size, 3]."""
    out = np.zeros((len(samples), size, size, 3), np.uint8)
    y, x, c = np.meshgrid(range(size), range(size), range(3), indexing="ij")
    for k, i in enumerate(samples):
        label = labels_of(i + 1)[i]
        noise = (i * 1000003 + y * 10007 + x * 101 + c * 7 + (55 if train_rows else 0)).astype(np.uint64)
        noise = (noise * 2654435761 & 0xFFFFFFFF) >> 25
        pattern = (x * (label + 1) // 4 + y * (2 - label) // 4) % 2
        out[k] = noise + 120 * pattern
    return out


def normalise(rows):
    """ToTensor and Normalize in float32, then double: [n, 3, S, S]."""
    x = rows.astype(np.float32) / np.float32(255)
    return torch.from_numpy(((x - MEAN) / STD).transpose(0, 3, 1, 2).copy()).double()


def class_weights(counts, method, smooth):
    n, present = sum(counts), sum(c > 0 for c in counts)
    if method == "inverse_sqrt":
        w = [math.sqrt(n / (c + smooth)) if c else 0.0 for c in counts]
    else:
        w = [n / (present * (c + smooth)) if c else 0.0 for c in counts]
    return w


def freeze(model, o):
    """The optimiser is given every parameter; frozen ones just get no gradient."""
    if o.get("freeze_image"):
        model.image_encoder.backbone.requires_grad_(False)
    if o.get("freeze_text"):
        for name, p in model.text_encoder.named_parameters():
            if not name.startswith("projection"):
                p.requires_grad_(False)
    if o.get("freeze_bn"):
        for m in model.modules():
            if isinstance(m, torch.nn.BatchNorm2d):
                m.requires_grad_(False)


def train_mode(model, o):
    model.train()
    if o.get("freeze_image") or o.get("freeze_bn"):
        for m in model.modules():
            if isinstance(m, torch.nn.BatchNorm2d):
                m.eval()


def metrics(p, y, classes):
    warnings.simplefilter("ignore")
    predicted = p.argmax(1)
    precision, recall, f1, _ = precision_recall_fscore_support(y, predicted, labels=range(classes),
                                                               average="macro", zero_division=0)
    ap = [average_precision_score(y == c, p[:, c]) for c in range(classes) if (y == c).any()]
    return [100 * float(v) for v in ((predicted == y).mean(), np.mean(ap), precision, recall, f1)]


def run(o, epochs=3, lr0=1e-4, count=21, fold=1, folds=3):
    """Full batches, no augmentation. Returns (rows of COLUMNS, model)."""
    model = make_model("resnet-tiny", "clip:tiny", o.get("embed_dim", 24), 514)
    freeze(model, o)
    if not o["superclip"]:
        model.temperature.requires_grad_(False)
    labels = torch.tensor(labels_of(count))
    train = [i for i in range(count) if i % folds != fold]
    val = [i for i in range(count) if i % folds == fold]
    weights = None
    if o.get("class_weights", True):
        counts = [int((labels[train] == c).sum()) for c in range(3)]
        weights = torch.tensor(class_weights(counts, o.get("method"), 1.0), dtype=torch.float64)
    opt = torch.optim.AdamW(model.parameters(), lr=lr0, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=epochs)
    xt, xv = normalise(images(train, 32, False)), normalise(images(val, 32, False))
    history = []
    for _ in range(epochs):
        lr = opt.param_groups[0]["lr"]
        train_mode(model, o)
        losses, z = superclip_loss(model.image_encoder(xt), model.class_features(CLASS_IDS), labels[train],
                                   model.temperature, 0.07, weights, o)
        opt.zero_grad()
        losses[0].backward()
        opt.step()
        schedule.step()
        model.eval()
        with torch.no_grad():
            vl, vz = superclip_loss(model.image_encoder(xv), model.class_features(CLASS_IDS), labels[val],
                                    model.temperature, 0.07, weights, o)
        acc = 100 * float((z.argmax(1) == labels[train]).double().mean())
        m = metrics(vz.softmax(1).numpy(), labels[val].numpy(), 3)
        history.append([float(losses[0]), acc, float(vl[0]), *m, float(losses[1]), float(losses[2]),
                        float(vl[1]), float(vl[2]), lr])
    return history, model
