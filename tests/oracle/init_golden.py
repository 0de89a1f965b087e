"""Initial values by a Philox4x32-10 of its own, in plain Python -> tests/golden/init.golden.

    /opt/oracle/bin/python tests/oracle/init_golden.py tests/golden/init.golden
"""
import math
import sys

import numpy as np

from golden_format import GoldenFile

MASK = 0xFFFFFFFF


def philox(key, counter):
    k, c = list(key), list(counter)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & MASK, (p0 >> 32) ^ c[3] ^ k[1], p0 & MASK]
        k = [(k[0] + 0x9E3779B9) & MASK, (k[1] + 0xBB67AE85) & MASK]
    return c


assert philox((0, 0), (0, 0, 0, 0)) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]  # Random123


def fnv1a(name):
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return h


def values(name, kind, a, seed, count):
    h, out = fnv1a(name), []
    for block in range((count + 3) // 4):
        words = philox((seed & MASK, 1), (block & MASK, block >> 32, h & MASK, h >> 32))
        u = [(w + 0.5) * 2.0**-32 for w in words]
        if kind == "uniform":
            out += [a * (2 * v - 1) for v in u]
            continue
        for first, second in ((u[0], u[1]), (u[2], u[3])):
            radius = math.sqrt(-2 * math.log(first))
            out += [a * (radius * f(2 * math.pi * second)) for f in (math.cos, math.sin)]
    return np.array(out[:count], dtype=np.float32)


golden = GoldenFile()
for name, kind, a, seed, count in [("image_encoder.backbone.0.weight", "normal", 0.02, 42, 41),
                                   ("text_encoder.token_embedding.weight", "normal", 1.0, 0, 16),
                                   ("image_encoder.projection.bias", "uniform", 0.0442, 12345, 7)]:
    golden.case(name, kind, {"a": a, "seed": seed}, {"values": values(name, kind, a, seed, count)})
golden.write(sys.argv[1])
