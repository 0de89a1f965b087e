#!/usr/bin/env python3
"""What sc_predict does, as fast as PyTorch does it on this CPU, for comparison.

    predict_torch.py CHECKPOINT FOLDER [--threads 2] [--workers 2] [--batch 32] [--csv OUT]

A ResNet and CLIP's text tower from a checkpoint of sc_mpi (strict), images decoded and resized by Pillow in a
DataLoader with persistent workers, channels_last, bf16 autocast as the config says, inference_mode, class
features once. The figure is of the second and later passes: workers are up, memory is warm. Needs torch,
torchvision and Pillow; used by predict_compare.sh only.
"""
import argparse
import csv
import pathlib
import time

import numpy
import PIL.Image
import torch
import torch.nn.functional as F
import torchvision

EXTENSIONS = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}


class Images(torch.utils.data.Dataset):
    def __init__(self, files, size):
        self.files, self.size = files, size

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        image = PIL.Image.open(self.files[i]).convert("RGB")
        return torch.from_numpy(numpy.array(image.resize((self.size, self.size), PIL.Image.BILINEAR)))


def image_encoder(name, state, embed_dim):
    net = getattr(torchvision.models, name)(weights=None)
    backbone = torch.nn.Sequential(*list(net.children())[:-1])
    projection = torch.nn.Linear(net.fc.in_features, embed_dim)
    pick = lambda p: {k[len(p):]: v for k, v in state.items() if k.startswith(p)}
    backbone.load_state_dict(pick("image_encoder.backbone."), strict=True)
    projection.load_state_dict(pick("image_encoder.projection."), strict=True)
    return torch.nn.Sequential(backbone, torch.nn.Flatten(), projection)


def text_features(state, id_lists, embed_dim):
    """The class texts one by one: it is done once."""
    s = {k[13:]: v.float() for k, v in state.items() if k.startswith("text_encoder.")}
    layers = 1 + max(int(k.split(".")[2]) for k in s if k.startswith("backbone.resblocks."))
    width = s["ln_final.weight"].numel()
    heads = max(width // 64, 2)
    norm = lambda x, n: F.layer_norm(x, (width,), s[n + ".weight"], s[n + ".bias"])
    linear = lambda x, n: F.linear(x, s[n + ".weight"], s[n + ".bias"])
    features = []
    for ids in id_lists:
        x = s["token_embedding.weight"][torch.tensor(ids)] + s["positional_embedding"][: len(ids)]
        for i in range(layers):
            p = f"backbone.resblocks.{i}."
            h = F.linear(norm(x, p + "ln_1"), s[p + "attn.in_proj_weight"], s[p + "attn.in_proj_bias"])
            q, k, v = h.view(len(ids), 3, heads, width // heads).permute(1, 2, 0, 3)
            a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + linear(a.transpose(0, 1).reshape(len(ids), width), p + "attn.out_proj")
            h = linear(norm(x, p + "ln_2"), p + "mlp.c_fc")
            x = x + linear(h * torch.sigmoid(1.702 * h), p + "mlp.c_proj")
        f = norm(x[-1], "ln_final") @ s["text_projection"]
        if "projection.weight" in s:
            f = linear(f, "projection")
        features.append(F.normalize(f, dim=-1))
    return torch.stack(features)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("checkpoint")
    p.add_argument("folder", type=pathlib.Path)
    for name, value in [("threads", 2), ("workers", 2), ("batch", 32), ("passes", 2)]:
        p.add_argument("--" + name, type=int, default=value)
    p.add_argument("--csv")
    o = p.parse_args()
    torch.set_num_threads(o.threads)
    c = torch.load(o.checkpoint, map_location="cpu", weights_only=True)
    config, state = c["config"], c["model_state_dict"]
    files = sorted(f for f in o.folder.glob("*/*") if f.suffix.lower() in EXTENSIONS)
    loader = torch.utils.data.DataLoader(Images(files, config["img_size"]), o.batch, num_workers=o.workers,
                                         persistent_workers=o.workers > 0,
                                         prefetch_factor=4 if o.workers else None)
    model = image_encoder(config["image_encoder_name"], state, config["embed_dim"]).eval()
    model = model.to(memory_format=torch.channels_last)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    names = sorted(c["class_to_idx"], key=c["class_to_idx"].get)
    best = 0.0
    with torch.inference_mode():
        texts = text_features(state, [c["class_token_ids"][n][0] for n in names], config["embed_dim"])
        for k in range(o.passes):
            start, rows = time.perf_counter(), []
            for batch in loader:
                x = (batch.permute(0, 3, 1, 2).float() / 255 - mean) / std
                x = x.contiguous(memory_format=torch.channels_last)
                with torch.autocast("cpu", torch.bfloat16, enabled=config.get("use_amp", True)):
                    f = model(x)
                z = F.normalize(f.float(), dim=-1) @ texts.T / state["temperature"]
                rows.append(z.softmax(-1))
            if k > 0:
                best = max(best, len(files) / (time.perf_counter() - start))
    if o.csv:
        with open(o.csv, "w", newline="") as f:
            w = csv.writer(f, lineterminator="\n")
            for path, row in zip(files, torch.cat(rows).tolist()):
                w.writerow([path, *row])
    print(f"{best:.1f}")


if __name__ == "__main__":
    main()
