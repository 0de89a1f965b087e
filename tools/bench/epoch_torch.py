#!/usr/bin/env python3
"""A whole epoch from image files in PyTorch: DataLoader, torchvision's transforms, the tuned step of step_torch.py.

    epoch_torch.py FOLDER [--workers 2] [--pipeline pil|tensor] [--epochs 2]

Trains on four fifths of a folder of class folders and validates on the rest. pil: PIL images through the usual
transforms; tensor: decoded by torchvision and changed by its v2 transforms on 8-bit tensors. Prints the seconds of
the last epoch, in which everything is warm. Needs torch and torchvision; used by table.py.
"""
import argparse
import time

import torch
import torchvision
from torchvision.transforms import v2

from step_torch import Model, loss_of, tuned_step

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def transforms(size, training, tensor):
    larger, finish = int(1.1 * size), [v2.Normalize(MEAN, STD)]
    if training:
        steps = [v2.Resize((larger, larger), antialias=True), v2.RandomCrop(size), v2.RandomHorizontalFlip(),
                 v2.RandomVerticalFlip(), v2.ColorJitter(0.2, 0.2, 0.2, 0.1), v2.RandomRotation(15)]
        finish.append(v2.RandomErasing(0.1))
    else:
        steps = [v2.Resize((size, size), antialias=True)]
    to_float = [v2.ToDtype(torch.float32, scale=True)]
    return v2.Compose(steps + (to_float if tensor else [v2.ToImage()] + to_float) + finish)


class Rows(torch.utils.data.Dataset):
    def __init__(self, samples, indices, transform, tensor):
        self.samples, self.indices, self.transform, self.tensor = samples, indices, transform, tensor

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, i):
        path, label = self.samples[self.indices[i]]
        image = (torchvision.io.decode_image(path, torchvision.io.ImageReadMode.RGB) if self.tensor
                 else torchvision.datasets.folder.pil_loader(path))
        return self.transform(image), label


def loaders(o):
    folder = torchvision.datasets.ImageFolder(o.folder)
    order = torch.randperm(len(folder), generator=torch.Generator().manual_seed(0)).tolist()
    cut, tensor = len(order) * 4 // 5, o.pipeline == "tensor"
    return [torch.utils.data.DataLoader(Rows(folder.samples, part, transforms(o.size, training, tensor), tensor),
                                        batch_size=o.batch, shuffle=training, num_workers=o.workers,
                                        persistent_workers=o.workers > 0)
            for part, training in ((order[:cut], True), (order[cut:], False))], len(folder.classes), len(order)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("folder")
    p.add_argument("--image", default="resnet18")
    p.add_argument("--layout", choices=["channels_last", "contiguous"], default="channels_last")
    p.add_argument("--pipeline", choices=["pil", "tensor"], default="pil")
    for name, value in [("workers", 2), ("epochs", 2), ("batch", 32), ("size", 224), ("length", 20),
                        ("vocabulary", 514), ("threads", 2)]:
        p.add_argument("--" + name, type=int, default=value)
    o = p.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(o.threads)
    (train, val), classes, count = loaders(o)
    layout = torch.channels_last if o.layout == "channels_last" else torch.contiguous_format
    m = Model(o).to(memory_format=layout)
    adamw = torch.optim.AdamW(m.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
    tokens = torch.randint(0, o.vocabulary, (classes, o.length))
    end = torch.full((classes,), o.length - 1)
    for _ in range(o.epochs):
        start = time.perf_counter()
        m.train()
        for x, labels in train:
            tuned_step(True, loss_of, m, adamw, (x.to(memory_format=layout), tokens, end, labels)).item()
        m.eval()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            for x, labels in val:
                loss_of(m, x.to(memory_format=layout), tokens, end, labels).item()
        seconds = time.perf_counter() - start
    print(f"epoch: {seconds:.3f} s, {count / seconds:.1f} images/s")


if __name__ == "__main__":
    main()
