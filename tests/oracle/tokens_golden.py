"""Ops on sequences of tokens and patches, by PyTorch in double -> tests/golden/tokens.golden.

    /opt/oracle/bin/python tests/oracle/tokens_golden.py tests/golden/tokens.golden

Attention without a causal mask, with and without lengths; embed with a row of types; prepend; the first
row; causal texts packed without padding, what they begin with once. Format: ops_golden.py.
"""
import sys

import torch
import torch.nn.functional as F

from ops_golden import golden, i32, randn, run


def attention():
    for name, t, length, width, heads, last in [
            ("full", 2, 5, 8, 2, None), ("full_odd", 3, 7, 15, 3, None), ("full_one", 2, 1, 4, 2, None),
            ("full_70", 1, 70, 6, 1, None), ("lengths", 4, 6, 8, 2, [5, 0, 2, 4]),
            ("lengths_odd", 3, 18, 9, 3, [16, 17, 6])]:
        def split(x):
            return x.view(t, length, heads, width // heads).transpose(1, 2)

        def full(x, _):
            seen = None
            if last is not None:
                seen = torch.arange(length)[None] <= x[3].long()[:, None]
            y = F.scaled_dot_product_attention(*map(split, x[:3]),
                                               attn_mask=None if seen is None else seen[:, None, None])
            y = y.transpose(1, 2).reshape(t, length, width)
            return y if seen is None else y * seen[..., None]
        parts = [randn(t, length, width, scale=1.5) for _ in range(3)]
        run(name, "attention", {"heads": heads}, parts + ([i32(last)] if last else []), [], full)


def rows():
    tokens = i32([[1, 2, 1, 1], [8, 1, 0, 2]])
    run("types", "embed", {}, [tokens], [randn(9, 5), randn(6, 5), randn(2, 5)],
        lambda x, p: p[0][x[0].long()] + p[2][0] + p[1][:4])
    for name, n, length, width in [("patches", 3, 4, 6), ("one", 1, 1, 3)]:
        run(name, "prepend", {}, [randn(n, length, width)], [randn(1, 1, width), randn(1, length + 1, width)],
            lambda x, p, n=n: torch.cat([p[0].expand(n, -1, -1), x[0]], 1) + p[1])
    run("pixels", "prepend", {}, [randn(2, 7, 3, 2)], [randn(1, 1, 7), randn(1, 7, 7)],
        lambda x, p: torch.cat([p[0].expand(2, -1, -1), x[0].flatten(2).transpose(1, 2)], 1) + p[1])
    run("first", "select_row", {}, [randn(3, 4, 5)], [], lambda x, _: x[0][:, 0])


def packed():
    """The causal op on every text by itself, shared rows in front; a row's gradient is the sum over texts."""
    for name, begins, width, heads in [("packed", [2, 5, 6, 10], 8, 2), ("packed_none_shared", [0, 3, 4, 9], 15, 3),
                                       ("packed_one", [3, 7], 6, 1), ("packed_long", [70, 72, 74, 90], 4, 2)]:
        shared, rows = begins[0], begins[-1]

        def attention(x, _):
            out = []
            for a, b in zip(begins, begins[1:]):
                text = torch.cat([x[0][:shared], x[0][a:b]])
                q, k, v = text.view(-1, 3, heads, width // heads).permute(1, 2, 0, 3)
                y = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]
                y = y.transpose(0, 1).reshape(-1, width)
                if not out:
                    out.append(y[:shared])
                out.append(y[shared:])
            return torch.cat(out)
        longest = shared + max(b - a for a, b in zip(begins, begins[1:]))
        run(name, "attention", {"heads": heads, "shared": shared, "longest": longest},
            [randn(rows, 3 * width, scale=1.5), i32(begins)], [], attention)
    tokens, places = i32([1, 2, 8, 8, 0]), i32([0, 1, 2, 3, 2])
    run("packed", "embed", {}, [tokens, places], [randn(9, 5), randn(6, 5)],
        lambda x, p: p[0][x[0].long()] + p[1][x[1].long()])
    run("packed", "select_row", {}, [randn(6, 5), i32([5, 0, 3])], [], lambda x, _: x[0][x[1].long()])


attention()
rows()
packed()
golden.write(sys.argv[1])
