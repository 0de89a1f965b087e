#!/usr/bin/env python3
"""What PyTorch needs on this GPU for the training step that `gpu_check speed` times, and what the GPU does at most.

    gpu_step_torch.py ceilings                       a bf16 matrix product, and a copy within the device
    gpu_step_torch.py eager|compile|graph|compile_graph [--batch N]...

The step is step_torch.py's tuned one: channels_last, bf16 autocast, fused AdamW, distinct class texts. Its input
is a float batch that lies on the device: no augmentation, which ours does. graph: the whole step captured by hand;
compile_graph: torch.compile's mode reduce-overhead. Prints rows of markdown: medians over repetitions of steps one
behind the other. --device cpu and small sizes try the script itself.
"""
import argparse
import contextlib
import statistics
import time

import torch

from step_torch import Model, loss_of


def row(what, words):
    print(f"| {what} | measured | {words} |", flush=True)


def wait(device):
    if device == "cuda":
        torch.cuda.synchronize()


def seconds(function, device, steps, repetitions=7):
    """Median and least time of one call, of `steps` calls one behind the other."""
    times = []
    for _ in range(repetitions):
        wait(device)
        begin = time.perf_counter()
        for _ in range(steps):
            function()
        wait(device)
        times.append((time.perf_counter() - begin) / steps)
    return statistics.median(times), min(times)


def ceilings(o):
    n = o.ceiling
    a, b = (torch.randn(n, n, device=o.device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    product, _ = seconds(lambda: a @ b, o.device, 5)
    bytes_ = 32 * n * n
    x = torch.empty(bytes_, dtype=torch.uint8, device=o.device)
    y = torch.empty_like(x)
    y.copy_(x)
    copy, _ = seconds(lambda: y.copy_(x), o.device, 5)
    row("ceilings", f"tflops={2 * n**3 / product * 1e-12:.1f} (bf16 product of {n}), "
        f"tbytes={2 * bytes_ / copy * 1e-12:.3f} (copy, read and written)")


def make_step(o, batch):
    """A function that does one step and leaves its loss in the tensor it returns."""
    torch.manual_seed(0)
    m = Model(o).to(o.device).train().to(memory_format=torch.channels_last)
    x = torch.randn(batch, 3, o.size, o.size, device=o.device).to(memory_format=torch.channels_last)
    tokens = torch.randint(0, o.vocabulary, (o.texts, o.length), device=o.device)
    end = torch.full((o.texts,), o.length - 1, device=o.device)
    labels = torch.arange(batch, device=o.device) % o.texts
    graph = o.how == "graph"
    adamw = torch.optim.AdamW(m.parameters(), lr=1e-4, weight_decay=0.01, fused=True, capturable=graph)
    compute = {"compile": torch.compile(loss_of), "compile_graph": torch.compile(loss_of, mode="reduce-overhead")
               }.get(o.how, loss_of)

    def step():
        adamw.zero_grad(set_to_none=True)
        # Within a capture autocast must not keep its casts: they would be made outside of it.
        with torch.autocast(o.device, torch.bfloat16, cache_enabled=not graph):
            loss = compute(m, x, tokens, end, labels)
        loss.backward()
        adamw.step()
        return loss

    if not graph:
        return step
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        loss = step()

    def replay():
        captured.replay()
        return loss
    return replay


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("how", choices=["ceilings", "eager", "compile", "graph", "compile_graph"])
    p.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    p.add_argument("--image", default="resnet18")
    p.add_argument("--batch", type=int, action="append")
    for name, value in [("size", 224), ("texts", 9), ("length", 12), ("vocabulary", 49408), ("steps", 50),
                        ("ceiling", 8192)]:
        p.add_argument("--" + name, type=int, default=value)
    o = p.parse_args()
    torch.backends.cudnn.benchmark = True
    if o.how == "ceilings":
        return ceilings(o)
    for batch in o.batch or [32, 256]:
        begin = time.perf_counter()
        step = make_step(o, batch)
        for _ in range(5):
            step()
        wait(o.device)
        first = time.perf_counter() - begin
        median, least = seconds(step, o.device, o.steps)
        loss = step().item()  # read before the next step: torch.compile's graphs write it again
        words = (f"median {median * 1e3:.3f} ms, least {least * 1e3:.3f} ms, {batch / median:.0f} images/s; "
                 f"ready after {first:.1f} s; loss {loss:.4f}")
        row(f"PyTorch {torch.__version__} {o.how}, batch {batch}, bf16", words)
        with contextlib.suppress(Exception):
            torch._dynamo.reset()
    return None


if __name__ == "__main__":
    main()
