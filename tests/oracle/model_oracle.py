"""The trained model in PyTorch, with the state_dict names of the contract, for the golden scripts and for
replay_steps.py. Image towers come from torchvision, timm and transformers, BERT from transformers; CLIP's text
tower is written over nn.MultiheadAttention with the names of OpenAI's CLIP.
"""
from collections import OrderedDict

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torchvision import models
from torchvision.models.resnet import BasicBlock

import hf_encoders
import timm_encoders

CLIP = {  # width, heads, layers, columns of text_projection
    "clip:ViT-B/32": (512, 8, 12, 512), "clip:ViT-B/16": (512, 8, 12, 512),
    "clip:ViT-L/14": (768, 12, 12, 768), "clip:RN50": (512, 8, 12, 1024), "clip:tiny": (64, 2, 2, 64)}


class TinyResNet(nn.Module):
    """torchvision's ResNet with one BasicBlock a stage and a quarter of the width."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        width = 16
        for i, planes in enumerate((16, 32, 64, 128)):
            stride = 1 if i == 0 else 2
            down = None
            if stride != 1 or width != planes:
                down = nn.Sequential(nn.Conv2d(width, planes, 1, stride=stride, bias=False),
                                     nn.BatchNorm2d(planes))
            setattr(self, f"layer{i + 1}", nn.Sequential(BasicBlock(width, planes, stride, down)))
            width = planes
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, 1000)


class ImageEncoder(nn.Module):
    def __init__(self, name, embed_dim, img_size=224):
        super().__init__()
        if hf_encoders.is_hf(name):
            self.backbone = hf_encoders.make_backbone(name, img_size)
            self.projection = nn.Linear(self.backbone.num_features, embed_dim)
            return
        if timm_encoders.is_timm(name):
            self.backbone = timm_encoders.make_backbone(name)
            self.projection = nn.Linear(self.backbone.num_features, embed_dim)
            return
        net = TinyResNet() if name == "resnet-tiny" else getattr(models, name)(weights=None)
        self.backbone = nn.Sequential(*list(net.children())[:-1])
        self.projection = nn.Linear(net.fc.in_features, embed_dim)

    def forward(self, x):
        return F.normalize(self.projection(self.backbone(x).flatten(1)), dim=-1)


class QuickGELU(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(OrderedDict([("c_fc", nn.Linear(width, 4 * width)), ("gelu", QuickGELU()),
                                              ("c_proj", nn.Linear(4 * width, width))]))
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x):  # [L, T, W]
        n = x.shape[0]
        mask = torch.full((n, n), float("-inf"), dtype=x.dtype).triu(1)
        h = self.ln_1(x)
        x = x + self.attn(h, h, h, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, width, heads, layers):
        super().__init__()
        self.resblocks = nn.Sequential(*[Block(width, heads) for _ in range(layers)])


class TextEncoder(nn.Module):
    def __init__(self, name, embed_dim, vocabulary, context=77):
        super().__init__()
        width, heads, layers, columns = CLIP[name]
        self.positional_embedding = nn.Parameter(torch.empty(context, width))
        self.text_projection = nn.Parameter(torch.empty(width, columns))
        self.backbone = Transformer(width, heads, layers)
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.ln_final = nn.LayerNorm(width)
        if columns != embed_dim:
            self.projection = nn.Linear(columns, embed_dim)

    def forward(self, ids):
        """ids: lists of token ids of any lengths, start and end included -> unit features."""
        width = max(len(row) for row in ids)
        tokens = torch.zeros(len(ids), width, dtype=torch.long)
        for i, row in enumerate(ids):
            tokens[i, : len(row)] = torch.tensor(row)
        x = self.token_embedding(tokens) + self.positional_embedding[:width]
        x = self.ln_final(self.backbone.resblocks(x.permute(1, 0, 2)).permute(1, 0, 2))
        x = x[torch.arange(len(ids)), torch.tensor([len(row) - 1 for row in ids])] @ self.text_projection
        if hasattr(self, "projection"):
            x = self.projection(x)
        return F.normalize(x, dim=-1)


class SuperCLIP(nn.Module):
    def __init__(self, image_encoder, text_encoder, embed_dim, vocabulary, temperature, context=77, img_size=224):
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(float(temperature)))
        self.image_encoder = ImageEncoder(image_encoder, embed_dim, img_size)
        if hf_encoders.is_hf(text_encoder):
            self.text_encoder = hf_encoders.TextEncoder(text_encoder, embed_dim, vocabulary)
        else:
            self.text_encoder = TextEncoder(text_encoder, embed_dim, vocabulary, context)

    def class_features(self, class_ids):
        """class_ids: for each class a list of id lists -> one unit feature a class."""
        texts = self.text_encoder([row for rows in class_ids for row in rows])
        out, at = [], 0
        for rows in class_ids:
            out.append(texts[at : at + len(rows)].mean(0))
            at += len(rows)
        return F.normalize(torch.stack(out), dim=-1)


def superclip_loss(x, t, labels, tau, tau0, weights, o):
    """The old script's way: one text feature an image. Returns (total, class, contrastive), logits."""
    z = x @ t.T / tau
    s = x @ t[labels].T / tau0
    if o.get("multi_positive"):
        target = (labels[:, None] == labels[None, :]).to(x.dtype)
        target = target / target.sum(1, keepdim=True)
        contrastive = (F.cross_entropy(s, target) + F.cross_entropy(s.T, target)) / 2
    else:
        diagonal = torch.arange(len(labels))
        contrastive = (F.cross_entropy(s, diagonal) + F.cross_entropy(s.T, diagonal)) / 2
    if not o["superclip"]:
        return (contrastive, torch.zeros_like(contrastive), contrastive), z
    if o.get("focal"):
        log_p = F.log_softmax(z, dim=1)[torch.arange(len(labels)), labels]
        cls = (-o["focal_alpha"] * (1 - log_p.exp()) ** o["focal_gamma"] * log_p).mean()
    else:
        cls = F.cross_entropy(z, labels, weight=weights)
    return (o["class_weight"] * cls + o["contrastive_weight"] * contrastive, cls, contrastive), z


# ---- initial values: the rule of sc_init_fill (nn/init.c), written down a second time ---------------

def philox(key, counter):
    """Philox4x32-10 on arrays of blocks; counter: four uint32 arrays."""
    c = [np.asarray(v, dtype=np.uint64) for v in counter]
    k0, k1 = key
    mask = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        p0, p1 = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(p1 >> np.uint64(32)) ^ c[1] ^ np.uint64(k0), p1 & mask,
             (p0 >> np.uint64(32)) ^ c[3] ^ np.uint64(k1), p0 & mask]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c


def draw(name, kind, a, seed, count):
    digest = 0xCBF29CE484222325
    for b in name.encode():
        digest = (digest ^ b) * 0x100000001B3 % (1 << 64)
    blocks = np.arange((count + 3) // 4, dtype=np.uint64)
    ones = np.ones_like(blocks)
    words = philox((seed & 0xFFFFFFFF, 1), [blocks, 0 * ones, ones * np.uint64(digest & 0xFFFFFFFF),
                                            ones * np.uint64(digest >> 32)])
    u = [(w.astype(np.float64) + 0.5) * 2.0**-32 for w in words]
    if kind == "normal":
        v = []
        for i in (0, 2):
            r = np.sqrt(-2 * np.log(u[i]))
            v += [a * r * np.cos(2 * np.pi * u[i + 1]), a * r * np.sin(2 * np.pi * u[i + 1])]
    else:
        v = [a * (2 * x - 1) for x in u]
    return np.stack(v, 1).reshape(-1)[:count].astype(np.float32)


def initial_rule(model, name, p):
    """(kind, a) of a parameter: torchvision's, timm's, nn.Linear's and OpenAI CLIP's rules."""
    image = name.startswith("image_encoder.backbone")
    if hf_encoders.is_hf(model.encoder if image else model.text) and ".backbone." in name:
        return hf_encoders.initial_rule(name)
    width, _, layers, columns = CLIP.get(model.text, 4 * (None,))
    if image and timm_encoders.is_timm(model.encoder):
        weight = dict(model.named_parameters()).get(name.rsplit(".", 1)[0] + ".weight")
        return timm_encoders.initial_rule(model.encoder, name, p, weight)
    last = name.rsplit(".", 1)[-1]
    if name == "temperature":
        return "constant", float(p)
    if image:
        if p.dim() == 4:
            return "normal", (2.0 / (p.shape[0] * p.shape[2] * p.shape[3])) ** 0.5
        return "constant", 1.0 if last == "weight" else 0.0
    if ".projection." in name:
        fan_in = dict(model.named_parameters())[name.rsplit(".", 1)[0] + ".weight"].shape[1]
        return "uniform", fan_in**-0.5
    if "ln_" in name:
        return "constant", 1.0 if last == "weight" else 0.0
    if ".attn." in name and last.endswith("bias"):
        return "constant", 0.0
    if "mlp.c_fc.bias" in name:
        return "uniform", width**-0.5
    if "mlp.c_proj.bias" in name:
        return "uniform", (4 * width) ** -0.5
    std = {"positional_embedding": 0.01, "text_projection": width**-0.5, "in_proj_weight": width**-0.5}
    if last in std:
        return "normal", std[last]
    if "token_embedding" in name:
        return "normal", 0.02
    if "c_fc.weight" in name:
        return "normal", (2 * width) ** -0.5
    return "normal", width**-0.5 * (2 * layers) ** -0.5  # attn.out_proj and mlp.c_proj


def make_model(image_encoder, text_encoder, embed_dim, vocabulary, temperature=0.07, seed=42, init=True,
               img_size=224):
    """In double, with the C program's initial values (drawn as floats)."""
    model = SuperCLIP(image_encoder, text_encoder, embed_dim, vocabulary, temperature, img_size=img_size)
    model.encoder, model.text = image_encoder, text_encoder
    if init:
        with torch.no_grad():
            for name, p in model.named_parameters():
                kind, a = initial_rule(model, name, p)
                if kind == "constant":
                    p.fill_(a)
                else:
                    p.copy_(torch.from_numpy(draw(name, kind, a, seed, p.numel())).view(p.shape))
    return model.double()
