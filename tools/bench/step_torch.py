#!/usr/bin/env python3
"""The training step of step_bench in PyTorch on this CPU, for comparison.

--style tuned: ResNet (torchvision's) and CLIP's text tower with causal scaled_dot_product_attention, the SuperCLIP
loss on distinct class texts cut to their length, fused AdamW, bf16 autocast; an allocator that keeps its pages is the
caller's to set (running.TUNED_MALLOC). --layout, --compile and --flush vary it.
--style old: what a user's plain script does. One text an image and the class texts, all of 77 tokens, through
nn.MultiheadAttention; AdamW and allocator as they come; then image and class texts once more without gradients,
for the accuracy.
--processor-time 1 counts processor time: for --threads 1 on a busy machine. Needs torch and torchvision.
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
        x = self.ln_final(x[torch.arange(len(x), device=x.device), end])
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
    return classes + contrastive(i @ t[labels].T / 0.07)


def contrastive(s):
    diagonal = torch.arange(len(s), device=s.device)
    return (F.cross_entropy(s, diagonal) + F.cross_entropy(s.T, diagonal)) / 2


class OldBlock(torch.nn.Module):
    """OpenAI CLIP's ResidualAttentionBlock, [length, texts, width]."""

    def __init__(self, width, heads):
        super().__init__()
        self.attn = torch.nn.MultiheadAttention(width, heads)
        self.ln_1, self.ln_2 = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.fc, self.proj = torch.nn.Linear(width, 4 * width), torch.nn.Linear(4 * width, width)

    def forward(self, x, mask):
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        h = self.fc(self.ln_2(x))
        return x + self.proj(h * torch.sigmoid(1.702 * h))


class OldText(Text):
    def __init__(self, vocabulary):
        super().__init__(vocabulary)
        self.blocks = torch.nn.ModuleList(OldBlock(512, 8) for _ in range(12))

    def forward(self, tokens, end):
        x = (self.token(tokens) + self.position[: tokens.shape[1]]).permute(1, 0, 2)
        mask = torch.full((len(x), len(x)), float("-inf")).triu_(1)
        for b in self.blocks:
            x = b(x, mask)
        x = self.ln_final(x.permute(1, 0, 2)[torch.arange(x.shape[1]), end])
        return F.normalize(x @ self.projection, dim=-1)


def old_step(m, adamw, x, tokens, end, labels):
    adamw.zero_grad()
    i = F.normalize(m.projection(m.image(x)), dim=-1)
    t = m.text(tokens[labels], end[labels])
    classes = m.text(tokens, end)
    loss = F.cross_entropy(i @ classes.T / m.temperature, labels) + contrastive(i @ t.T / 0.07)
    loss.backward()
    adamw.step()
    with torch.no_grad():
        i = F.normalize(m.projection(m.image(x)), dim=-1)
        (i @ m.text(tokens, end).T).argmax(1).eq(labels).sum().item()
    return loss


def make_step(o):
    """A function without arguments that does one step and returns the loss."""
    old = o.style == "old"
    m = Model(o).train()
    if old:
        m.text = OldText(o.vocabulary)
    length = 77 if old else o.length
    x = torch.randn(o.batch, 3, o.size, o.size)
    if not old and o.layout == "channels_last":
        m, x = m.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    tokens = torch.randint(0, o.vocabulary, (o.texts, length))
    tokens[:, :o.shared] = tokens[:1, :o.shared]
    end = torch.full((o.texts,), o.length - 1)
    labels = torch.arange(o.batch) % o.texts
    adamw = torch.optim.AdamW(m.parameters(), lr=1e-4, weight_decay=0.01, **({} if old else {"fused": True}))
    compute = torch.compile(loss_of) if o.compile else loss_of

    def step():
        if old:
            return old_step(m, adamw, x, tokens, end, labels)
        return tuned_step(o.precision == "bf16", compute, m, adamw, (x, tokens, end, labels))
    return step


def tuned_step(bf16, compute, m, adamw, batch):
    adamw.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = compute(m, *batch)
    loss.backward()
    adamw.step()
    return loss


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, values in [("style", ["tuned", "old"]), ("precision", ["bf16", "fp32"]),
                         ("layout", ["channels_last", "contiguous"])]:
        p.add_argument("--" + name, choices=values, default=values[0])
    p.add_argument("--image", default="resnet18")
    for name, value in [("batch", 32), ("size", 224), ("texts", 9), ("length", 20), ("shared", 0),
                        ("vocabulary", 49408), ("threads", 2), ("steps", 15),
                        ("processor-time", 0), ("compile", 0), ("flush", 0)]:
        p.add_argument("--" + name, type=int, default=value)
    o = p.parse_args()
    clock = time.process_time if o.processor_time else time.perf_counter
    torch.manual_seed(0)
    torch.set_num_threads(o.threads)
    if o.flush:
        torch.set_flush_denormal(True)
    times = []
    step = make_step(o)
    for k in range(o.steps + 3):
        start = clock()
        loss = step()
        if k >= 3:
            times.append(1e3 * (clock() - start))
    print(f"torch {torch.__version__}, {o.precision}, {o.threads} threads")
    print(f"step: median {statistics.median(times):.1f} ms, least {min(times):.1f} ms, "
          f"{1e3 * o.batch / statistics.median(times):.1f} images/s, loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
