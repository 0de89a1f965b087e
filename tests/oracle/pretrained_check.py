#!/usr/bin/env python3
"""Features of sc_mpi's encoders against the libraries whose weights it reads, a file of every layout.
Models of torchvision, open_clip and transformers are made with random values and saved the way those
libraries save them; sc_mpi finds the files by `pretrained: true`, takes one step at rest (learning rate
1e-30) and dumps its features. The libraries' own forward passes have to agree to 2e-5 of the largest value.

    python tests/oracle/pretrained_check.py build/bin/sc_mpi [CASE...]   # torchvision, timm, open_clip, transformers<5
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
import open_clip
import safetensors.torch
import torch
import torch.nn.functional as F
import torchvision
import transformers
from PIL import Image

import timm_encoders
from model_oracle import CLIP, TextEncoder, TinyResNet

BOUND = 2e-5
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
HUB = {"clip:ViT-B/32": "openai--clip-vit-base-patch32", "clip:ViT-B/16": "openai--clip-vit-base-patch16",
       "clip:ViT-L/14": "openai--clip-vit-large-patch14"}
CASES = [f"resnet{n}={kind}" for n, kind in ((18, "torchvision"), (18, "older"), (18, "half"), (34, "timm"),
                                             (50, "torchvision"), (101, "older"), (152, "torchvision"))]
CASES += [f"{n}={kind}" for n, kind in (
    ("convnext-tiny", "timm"), ("convnext-tiny", "torchvision"), ("convnext-tiny", "authors"),
    ("convnext-small", "torchvision"), ("convnext-base", "authors"), ("efficientnet-b0", "torchvision"),
    ("efficientnet-b1", "timm"), ("efficientnet-b2", "torchvision"), ("efficientnet-b3", "torchvision"),
    ("starnet_s1", "timm"), ("starnet_s4", "authors"))]
CASES += [f"{n}={kind}" for n in ("vit", "bert-base-chinese") for kind in ("bare", "headed")]
CASES += [f"clip:{n}={kind}" for n, kind in (
    ("ViT-B/32", "transformers"), ("ViT-B/32", "open_clip"), ("ViT-B/32", "script"), ("ViT-B/16", "transformers"),
    ("ViT-L/14", "transformers"), ("ViT-L/14", "script"), ("RN50", "open_clip"), ("RN50", "script"))]


def images(folder):
    rng = np.random.default_rng(1)
    for c in ("a cat", "a dog"):
        (folder / c).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)).save(folder / c / f"{i}.png")


# ---- files as the libraries write them --------------------------------------------------------------

def resnet(name, folder, kind):
    """torchvision's state dict; with statistics that keep the numbers of a random network in range."""
    torch.manual_seed(len(name))
    net = getattr(torchvision.models, name)(weights=None).train()
    with torch.no_grad():
        for m in net.modules():
            if isinstance(m, torch.nn.BatchNorm2d):
                m.momentum = None
                m.weight.uniform_(0.5, 1.0)
                m.bias.uniform_(-0.1, 0.1)
        for _ in range(2):
            net(torch.randn(8, 3, 96, 96))
    net.eval()
    state = net.state_dict()
    if kind == "older":
        state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    if kind == "half":
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
        net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    if kind == "timm":
        safetensors.torch.save_file(state, folder / f"{name}.safetensors", {"format": "pt"})
    else:
        torch.save(state, folder / f"{name}.pth", _use_new_zipfile_serialization=kind != "older")
    return torch.nn.Sequential(*list(net.children())[:-1], torch.nn.Flatten())


def lively(net):
    """Nothing that a fresh network leaves neutral stays so."""
    with torch.no_grad():
        for p in net.parameters():
            if p.dim() == 1:
                p.add_(torch.randn_like(p) * 0.1)
    return net.eval()


def save_hf(net, name, folder):
    net.save_pretrained(folder)
    (folder / "model.safetensors").rename(folder / f"{name}.safetensors")


def vit(name, folder, kind):
    config = transformers.ViTConfig(image_size=96, num_labels=10)
    torch.manual_seed(11)
    net = lively((transformers.ViTForImageClassification if kind == "headed" else transformers.ViTModel)(config))
    save_hf(net, name, folder)
    inner = net.vit if kind == "headed" else net
    return lambda x: inner(x).last_hidden_state[:, 0]


def bert(name, folder, kind):
    config = transformers.BertConfig(vocab_size=21128)
    torch.manual_seed(12)
    net = lively((transformers.BertForMaskedLM if kind == "headed" else transformers.BertModel)(config))
    save_hf(net, name, folder)
    words = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 104: "a", 105: "photo",
             106: "of", 107: "cat", 108: "dog", 109: "中", 110: "文", 111: "&", 112: "more", 113: ","}
    (folder / "vocab.txt").write_text("".join(words.get(i, f"[unused{i}]") + "\n" for i in range(21128)))
    inner = net.bert if kind == "headed" else net

    def features(tokens, ends):
        mask = (torch.arange(tokens.shape[1]) <= ends[:, None]).long()
        return inner(input_ids=tokens, attention_mask=mask).last_hidden_state[:, 0]
    return features


def to_authors(name):
    """timm's names of a ConvNeXt as its authors have them."""
    for a, b in ((r"^stem\.", "downsample_layers.0."), (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
                 (r"\.blocks\.", "."), ("conv_dw", "dwconv"), (r"mlp\.fc1", "pwconv1"), (r"mlp\.fc2", "pwconv2"),
                 (r"^head\.norm\.", "norm."), (r"^head\.fc\.", "head.")):
        name = re.sub(a, b, name)
    return name


def timm_net(name, folder, kind):
    """A whole classifier of timm, torchvision or the authors, and what it gives in front of its last matrix."""
    torch.manual_seed(len(name))
    if kind == "torchvision":
        net = getattr(torchvision.models, name.replace("-", "_"))(weights=None)
    else:
        net = timm_encoders.timm.create_model(name.replace("-", "_"), pretrained=False)
    with torch.no_grad():
        for n, p in net.named_parameters():
            if p.dim() == 1 or n.endswith("layer_scale"):
                p.normal_(0.3 if "gamma" in n or "layer_scale" in n else 1.0 if n.endswith("weight") else 0.0, 0.1)
        for n, b in net.named_buffers():
            if n.endswith("running_var"):
                b.uniform_(0.5, 1.5)
    state = net.eval().state_dict()
    if kind == "authors":
        state = {to_authors(k) if name.startswith("convnext") else k: v for k, v in state.items()}
        torch.save({"epoch": 3, "model" if name.startswith("convnext") else "state_dict": state}, folder / f"{name}.pth")
    elif kind == "timm":
        safetensors.torch.save_file(state, folder / f"{name}.safetensors", {"format": "pt"})
    else:
        torch.save(state, folder / f"{name}.pth")
    if kind == "torchvision":
        net.classifier[-1] = torch.nn.Identity()
        return net
    return lambda x: net.forward_head(net.forward_features(x), pre_logits=True)


def open_clip_model(name):
    width, heads, layers, columns = CLIP[name]
    torch.manual_seed(width + columns)
    model = open_clip.CLIP(
        columns, open_clip.CLIPVisionCfg(layers=1, width=64, head_width=32, patch_size=32, image_size=64),
        open_clip.CLIPTextCfg(width=width, heads=heads, layers=layers, vocab_size=49408), quick_gelu=True)
    with torch.no_grad():  # biases and norms that are not neutral
        for n, p in model.named_parameters():
            if p.dim() == 1:
                p.add_(torch.randn_like(p) * 0.05)
    return model.eval()


def clip_text(name, folder, kind):
    """A function from token rows (zero-padded) to features, and the file it was saved in."""
    file = name.split(":")[1].replace("/", "-")
    if kind == "transformers":
        width, heads, layers, columns = CLIP[name]
        torch.manual_seed(7)
        text = transformers.CLIPTextConfig(
            vocab_size=49408, hidden_size=width, intermediate_size=4 * width, num_attention_heads=heads,
            num_hidden_layers=layers, hidden_act="quick_gelu", projection_dim=columns, eos_token_id=49407,
            bos_token_id=49406)
        vision = transformers.CLIPVisionConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=1,
                                               num_attention_heads=2, image_size=64, patch_size=32)
        config = transformers.CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(),
                                         projection_dim=columns)
        model = transformers.CLIPModel(config).eval()
        with torch.no_grad():
            for n, p in model.named_parameters():
                if p.dim() == 1:
                    p.add_(torch.randn_like(p) * 0.05)
        at = folder / "hub" / f"models--{HUB[name]}"
        (at / "refs").mkdir(parents=True)
        (at / "refs/main").write_text("c0ffee")
        model.save_pretrained(at / "snapshots/c0ffee")
        inner = model.text_model

        def features(tokens, ends):
            hidden = inner(input_ids=tokens).last_hidden_state
            return model.text_projection(hidden[torch.arange(len(ends)), ends])
        return features
    model = open_clip_model(name)
    if kind == "script":  # OpenAI's: half precision where open_clip's converter puts it, traced
        open_clip.convert_weights_to_fp16(model)
        state = model.state_dict()
        model.float()
        model.load_state_dict({k: v.float() for k, v in state.items()})
        half = open_clip_model(name)
        open_clip.convert_weights_to_fp16(half)
        half.load_state_dict(state)
        traced = torch.jit.trace_module(Script(half), {"encode_text": torch.zeros(2, 77, dtype=torch.long)},
                                        check_trace=False)
        torch.jit.save(traced, folder / f"{file}.pt")
    else:
        safetensors.torch.save_file(model.state_dict(), folder / f"{file}.safetensors", {"format": "pt"})

    def features(tokens, ends):
        padded = F.pad(tokens, (0, 77 - tokens.shape[1]))
        return model.encode_text(padded)
    return features


class Script(torch.nn.Module):
    """The tensors of a CLIP under the names of OpenAI's archives; what it computes is not read."""

    def __init__(self, model):
        super().__init__()
        for name, child in model.named_children():
            self.add_module(name, child)
        for name, p in model.named_parameters(recurse=False):
            self.register_parameter(name, p)
        for name, value in (("input_resolution", 64), ("context_length", 77), ("vocab_size", 49408)):
            self.register_buffer(name, torch.tensor(value))

    def encode_text(self, text):
        return text + 1


# ---- one case ---------------------------------------------------------------------------------------

def run(program, work, image, text, **keys):
    config = {"name": "x", "image_encoder": image, "text_encoder": text, "img_size": 96, "embed_dim": 512,
              "batch_size": 4, "n_splits": 2, "use_cv": False, "epochs": 1, "learning_rate": 1e-30,
              "use_amp": False, "augmentation": "none", "freeze_bn": True, "num_workers": 1,
              "use_superclip_loss": True, "text_template": "a photo of {class_name}, 中文 & more", **keys}
    (work / "c.json").write_text(json.dumps([config]))
    env = dict(os.environ, SC_WEIGHTS_DIR=str(work / "weights"), HF_HOME=str(work / "weights"),
               HOME=str(work), VIRTUAL_ENV=sys.prefix, OMP_NUM_THREADS="1")
    env.pop("HF_HUB_CACHE", None)
    done = subprocess.run(
        [program, "c.json", "--data-dir", "data", "--output-dir", "out", "--log-dir", "logs", "--dump-steps",
         "1", "dump"], cwd=work, env=env, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{image}, {text}: {done.stderr.strip()}")
    return safetensors.torch.load_file(work / "dump/step_0001.safetensors")


def difference(ours, theirs):
    return float((ours.double() - theirs.double()).abs().max() / theirs.double().abs().max())


def other_tower(text, folder):
    """A tiny tower for the side that is not looked at."""
    torch.manual_seed(3)
    if text:
        torch.save(TinyResNet().state_dict(), folder / "resnet-tiny.pth")
        return "resnet-tiny"
    tower = TextEncoder("clip:tiny", 64, 514)
    for p in tower.parameters():
        torch.nn.init.normal_(p, std=0.1)
    state = {k.replace("backbone.", "transformer."): v for k, v in tower.state_dict().items()}
    safetensors.torch.save_file(state, folder / "tiny.safetensors")
    return "clip:tiny"


@torch.no_grad()
def check(program, case, work):
    weights = work / "weights"
    weights.mkdir()
    images(work / "data")
    name, _, kind = case.partition("=")
    text = name.startswith(("clip:", "bert"))
    makers = {"clip": clip_text, "bert-base-chinese": bert, "vit": vit}
    make = makers.get(name.split(":")[0]) or (timm_net if timm_encoders.is_timm(name) else resnet)
    reference = make(name, weights, kind)
    other = other_tower(text, weights)
    d = run(program, work, *((other, name) if text else (name, other)))
    if text:
        tower, ours = "text", d["class_features"]
        out = reference(d["tokens"].long(), d["text_end"].long())
    else:
        tower, ours = "image", d["image_features"]
        out = reference(((d["pixels"].float() / 255 - MEAN) / STD).permute(0, 3, 1, 2))
    weight = d.get(f"param.{tower}_encoder.projection.weight")
    if (weight is None) != (name in CLIP and CLIP[name][3] == 512):
        sys.exit(f"{case}: a projection where there should be none, or none")
    if weight is not None:
        out = F.linear(out, weight, d[f"param.{tower}_encoder.projection.bias"])
    out = F.normalize(out, dim=-1)
    return float((ours.double() - out.double()).abs().max() / out.double().abs().max())


def main():
    program, cases = str(pathlib.Path(sys.argv[1]).resolve()), sys.argv[2:] or CASES
    torch.set_num_threads(1)
    worst = 0.0
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            off = check(program, case, pathlib.Path(folder))
        worst = max(worst, off)
        print(f"{case:28} {off:.2e}", flush=True)
    if worst > BOUND:
        sys.exit(f"worst {worst:.2e} is above {BOUND:.0e}")
    print(f"ok: {len(cases)} files, worst {worst:.2e}")


if __name__ == "__main__":
    main()
