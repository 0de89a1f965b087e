"""Writes tests/golden/model_names.txt, model_tiny.txt, model_<name>-mini.txt and model_vit-tiny.txt.

    /opt/oracle/bin/python tests/oracle/model_golden.py tests/golden

model_names: for each pair of encoders the state dict of the PyTorch model: the whole list (name and shape)
for some, its CRC-32C and length for the others. model_tiny: features, losses and gradients of resnet-tiny +
clip:tiny in double on made-up 8-bit images; of each gradient the sum, the sum of squares and the first
element. The others: the same of timm's families, on images of an odd size, and of Hugging Face's two, the
parameters drawn anew so that no layer is as good as absent.
"""
import sys

import torch

import timm_encoders
from model_oracle import draw, make_model, superclip_loss
from train_oracle import CLASS_IDS, images, labels_of, normalise

PAIRS = [("resnet18", "clip:ViT-B/32", 512, 49408, True), ("resnet50", "clip:RN50", 512, 514, True),
         ("resnet34", "clip:ViT-B/16", 256, 514, False), ("resnet101", "clip:ViT-L/14", 512, 514, False),
         ("resnet152", "clip:ViT-L/14", 768, 514, False), ("resnet-tiny", "clip:tiny", 64, 514, True)]
PAIRS += [(name, "clip:tiny", 64, 514, False) for name in timm_encoders.FULL]
PAIRS += [(name, "clip:tiny", 64, 514, True) for name in timm_encoders.SMALL]
PAIRS += [("vit", "bert-base-chinese", 512, 21128, False), ("vit-tiny", "bert-tiny", 64, 514, True)]


def crc32c(data):
    table = []
    for i in range(256):
        for _ in range(8):
            i = (i >> 1) ^ (0x82F63B78 if i & 1 else 0)
        table.append(i)
    crc = 0xFFFFFFFF
    for b in data:
        crc = table[(crc ^ b) & 255] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def write_names(path):
    with open(path, "w") as f:
        for image, text, dim, vocabulary, whole in PAIRS:
            state = make_model(image, text, dim, vocabulary, init=False, img_size=32).state_dict()
            lines = [f"{k} {list(v.shape)}\n" for k, v in state.items()]
            crc = crc32c("".join(lines).encode())
            f.write(f"model {image} {text} {dim} {vocabulary} {len(lines)} {crc:08x} {int(whole)}\n")
            if whole:
                f.writelines(lines)


def redraw(model):
    """1 + normal of 0.1 for what was constant, as the C test does."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.startswith(("image_encoder.backbone", "text_encoder.backbone.e")) and p.dim() == 1:
                p.copy_(1 + torch.from_numpy(draw(name, "normal", 0.1, 7, p.numel())))


def write_tiny(path, encoder, size, text="clip:tiny"):
    model = make_model(encoder, text, 24, 514, img_size=size)
    if encoder != "resnet-tiny":
        redraw(model)
    model.train()
    samples = list(range(6))
    labels = torch.tensor(labels_of(21))[samples]
    x = model.image_encoder(normalise(images(samples, size, False)))
    t = model.class_features(CLASS_IDS)
    x.retain_grad()
    t.retain_grad()
    weights = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    losses, z = superclip_loss(x, t, labels, model.temperature, 0.07, weights,
                               {"superclip": True, "class_weight": 1.0, "contrastive_weight": 1.0})
    losses[0].backward()

    def line(name, v):
        v = v.detach().reshape(-1)
        return f"{name} {v.sum():.17g} {(v * v).sum():.17g} {v[0]:.17g}\n"

    with open(path, "w") as f:
        f.write(line("losses", torch.stack(list(losses))))
        f.write(line("logits", z))
        f.write(line("image_features", x))
        f.write(line("class_features", t))
        f.write(line("image_features.grad", x.grad))
        f.write(line("class_features.grad", t.grad))
        for name, p in model.named_parameters():
            if p.grad is not None:  # else a pooler
                f.write(line(name, p.grad))


if __name__ == "__main__":
    write_names(sys.argv[1] + "/model_names.txt")
    write_tiny(sys.argv[1] + "/model_tiny.txt", "resnet-tiny", 32)
    for encoder in timm_encoders.SMALL:
        write_tiny(f"{sys.argv[1]}/model_{encoder}.txt", encoder, 45)
    write_tiny(sys.argv[1] + "/model_vit-tiny.txt", "vit-tiny", 32, "bert-tiny")
