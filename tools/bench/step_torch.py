#!/usr/bin/env python3
"""The training step of step_bench as fast as PyTorch does it on this CPU, for comparison.

ResNet-18 (torchvision's) and CLIP's text tower with causal scaled_dot_product_attention, the SuperCLIP
loss on distinct class texts, fused AdamW. Tuning found best: channels_last, bf16 autocast, texts cut to
their length, and an allocator that keeps its pages (step_compare.sh sets the environment for it).
--processor-time 1 counts processor time: for --threads 1 on a busy machine. Needs torch and
torchvision; used by step_compare.sh only.
"""
import argparse
import statistics
import time

import torch
import torch.nn.functional as F
import torchvision


class Block(torch.nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1 = torch.nn.LayerNorm(width)
        self.qkv = torch.nn.Linear(width, 3 * width)
        self.out = torch.nn.Linear(width, width)
        self.ln_2 = torch.nn.LayerNorm(width)
        self.fc = torch.nn.Linear(width, 4 * width)
        self.proj = torch.nn.Linear(4 * width, width)

    def forward(self, x):
        t, l, w = x.shape
        q, k, v = self.qkv(self.ln_1(x)).view(t, l, 3, self.heads, w // self.heads).permute(2, 0, 3, 1, 4)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(a.transpose(1, 2).reshape(t, l, w))
        h = self.fc(self.ln_2(x))
        return x + self.proj(h * torch.sigmoid(1.702 * h))


class Text(torch.nn.Module):
    def __init__(self, vocabulary, width=512, layers=12, heads=8, context=77, embed=512):
        super().__init__()
        self.token = torch.nn.Embedding(vocabulary, width)
        self.position = torch.nn.Parameter(torch.randn(context, width) * 0.01)
        self.blocks = torch.nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.ln_final = torch.nn.LayerNorm(width)
        self.projection = torch.nn.Parameter(torch.randn(width, embed) * width**-0.5)

    def forward(self, tokens, end):
        x = self.token(tokens) + self.position[: tokens.shape[1]]
        for b in self.blocks:
            x = b(x)
        x = self.ln_final(x[torch.arange(len(x)), end])
        return F.normalize(x @ self.projection, dim=-1)


class Model(torch.nn.Module):
    def __init__(self, o):
        super().__init__()
        net = getattr(torchvision.models, o.image)(weights=None)
        features = net.fc.in_features
        net.fc = torch.nn.Identity()
        self.image, self.projection = net, torch.nn.Linear(features, 512)
        self.text = Text(o.vocabulary)
        self.temperature = torch.nn.Parameter(torch.tensor(0.07))


def loss_of(m, x, tokens, end, labels):
    i = F.normalize(m.projection(m.image(x)).float(), dim=-1)
    t = m.text(tokens, end).float()
    classes = F.cross_entropy(i @ t.T / m.temperature, labels)
    s = i @ t[labels].T / 0.07
    diagonal = torch.arange(len(s))
    return classes + (F.cross_entropy(s, diagonal) + F.cross_entropy(s.T, diagonal)) / 2


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, value in [("image", "resnet18"), ("precision", "bf16")]:
        p.add_argument("--" + name, default=value)
    for name, value in [("batch", 32), ("size", 224), ("texts", 9), ("length", 20),
                        ("vocabulary", 49408), ("threads", 2), ("steps", 15),
                        ("processor-time", 0)]:
        p.add_argument("--" + name, type=int, default=value)
    o = p.parse_args()
    clock = time.process_time if o.processor_time else time.perf_counter
    torch.manual_seed(0)
    torch.set_num_threads(o.threads)
    m = Model(o).to(memory_format=torch.channels_last).train()
    adamw = torch.optim.AdamW(m.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
    x = torch.randn(o.batch, 3, o.size, o.size).to(memory_format=torch.channels_last)
    tokens = torch.randint(0, o.vocabulary, (o.texts, o.length))
    end = torch.full((o.texts,), o.length - 1)
    labels = torch.arange(o.batch) % o.texts
    times = []
    for k in range(o.steps + 3):
        start = clock()
        adamw.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=o.precision == "bf16"):
            loss = loss_of(m, x, tokens, end, labels)
        loss.backward()
        adamw.step()
        if k >= 3:
            times.append(1e3 * (clock() - start))
    print(f"torch {torch.__version__}, {o.precision}, {o.threads} threads")
    print(f"step: median {statistics.median(times):.1f} ms, least {min(times):.1f} ms, "
          f"{1e3 * o.batch / statistics.median(times):.1f} images/s, loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
