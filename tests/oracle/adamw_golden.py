"""Five steps of torch.optim.AdamW in double -> tests/golden/adamw.golden.

    /opt/oracle/bin/python tests/oracle/adamw_golden.py tests/golden/adamw.golden
"""
import sys

import torch

from golden_format import GoldenFile

STEPS = 5
generator = torch.Generator().manual_seed(20250103)
golden = GoldenFile()
for name, lr, decay, scale in [("usual", 1e-3, 0.01, 1.0), ("tiny_gradients", 1e-4, 0.1, 1e-9),
                               ("no_decay", 0.1, 0.0, 10.0)]:
    p = torch.randn(37, generator=generator, dtype=torch.float64).requires_grad_(True)
    optimizer = torch.optim.AdamW([p], lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=decay)
    tensors = {"before": p.detach().clone()}
    for step in range(STEPS):
        p.grad = torch.randn(37, generator=generator, dtype=torch.float64) * scale
        if step == 2:
            p.grad[:5] = 0
        tensors[f"grad{step}"] = p.grad.clone()
        optimizer.step()
        tensors[f"after{step}"] = p.detach().clone()
    state = optimizer.state[p]
    tensors["m"], tensors["v"] = state["exp_avg"], state["exp_avg_sq"]
    golden.case(f"adamw/{name}", "adamw", {"lr": lr, "weight_decay": decay}, tensors)
golden.write(sys.argv[1])
