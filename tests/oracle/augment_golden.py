"""The augment op by torchvision on PIL images, given the draws -> tests/golden/augment.golden.

    /opt/oracle/bin/python tests/oracle/augment_golden.py tests/golden/augment.golden

The draws are packed as struct sc_augment of tensor.h. Only the six rotation numbers are not
torchvision's own words: they are the fixed-point map that Pillow derives from the angle.
"""
import math
import struct
import sys

import numpy as np
import torch
import torchvision.transforms.functional as F
from PIL import Image
from torchvision.transforms import InterpolationMode

from golden_format import GoldenFile

golden = GoldenFile()
random = np.random.default_rng(20250102)


def float32(v):
    return float(np.float32(v))


def rotate_fix(angle, size):
    angle = math.fmod(angle, 360)
    t = -math.radians(angle + 360 if angle < 0 else angle)
    c, s, d = round(math.cos(t), 15), round(math.sin(t), 15), round(-math.sin(t), 15)
    center = size / 2.0
    m2 = (c * -center + s * -center) + center
    m5 = (d * -center + c * -center) + center
    values = (c, s, m2 + c * 0.5 + s * 0.5, d, c, m5 + d * 0.5 + c * 0.5)
    return [math.floor(v * 65536 + 0.5) for v in values]


def random_draws(size, row):
    d = {"top": int(random.integers(0, row - size + 1)), "left": int(random.integers(0, row - size + 1)),
         "flip_h": int(random.integers(2)), "flip_v": int(random.integers(2)), "jitter": 1, "rotate": 1,
         "order": [int(k) for k in random.permutation(4)],
         "factors": [float32(random.uniform(0.8, 1.2)) for _ in range(3)] + [float32(random.uniform(-0.1, 0.1))],
         "angle": float32(random.uniform(-15, 15)), "erase": (0, 0, 0, 0)}
    if random.integers(2):
        h, w = (int(v) for v in random.integers(1, size, 2))
        d["erase"] = (int(random.integers(0, size - h + 1)), int(random.integers(0, size - w + 1)), h, w)
    return d


def neutral():
    return {"top": 0, "left": 0, "flip_h": 0, "flip_v": 0, "jitter": 0, "rotate": 0, "order": [0, 0, 0, 0],
            "factors": [0.0] * 4, "angle": 0.0, "erase": (0, 0, 0, 0)}


def pack(d, size):
    fix = rotate_fix(d["angle"], size) if d["rotate"] else [0] * 6
    return struct.pack("<2i8B5f6i4i", d["top"], d["left"], d["flip_h"], d["flip_v"], d["jitter"], d["rotate"],
                       *d["order"], *d["factors"], d["angle"], *fix, *d["erase"])


def torchvision_chain(row, d, size):
    image = F.crop(Image.fromarray(row), d["top"], d["left"], size, size)
    image = F.hflip(image) if d["flip_h"] else image
    image = F.vflip(image) if d["flip_v"] else image
    jitter = [F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue]
    for k in d["order"] if d["jitter"] else []:
        image = jitter[k](image, d["factors"][k])
    if d["rotate"]:
        image = F.rotate(image, d["angle"], interpolation=InterpolationMode.NEAREST, fill=0)
    x = F.normalize(F.to_tensor(image), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    top, left, h, w = d["erase"]
    return F.erase(x, top, left, h, w, torch.zeros(())) if h else x


def case(name, size, row, draws, pixels=None):
    n = len(draws)
    if pixels is None:
        pixels = random.integers(0, 256, (n, row, row, 3), dtype=np.uint8)
        pixels[: n // 2] = pixels[: n // 2] // 3 + 40 * np.arange(3, dtype=np.uint8)  # muted half
    out = np.stack([torchvision_chain(pixels[k], d, size).numpy() for k, d in enumerate(draws)])
    rows = np.frombuffer(b"".join(pack(d, size) for d in draws), dtype=np.uint8).reshape(n, -1)
    golden.case(f"augment/{name}", "augment", {"crop": size}, {"in0": pixels, "in1": rows, "out0": out})


case("standard", 20, 22, [random_draws(20, 22) for _ in range(24)])
case("odd", 17, 23, [random_draws(17, 23) for _ in range(12)])
case("none", 12, 12, [neutral() for _ in range(2)])
# hue with every shift the draw can give, neutral factors applied all the same
only_hue = [dict(neutral(), jitter=1, order=[3, 2, 1, 0], factors=[1.0, 1.0, 1.0, float32(k / 255.0 + 1e-4)])
            for k in range(-25, 26, 5)]
case("hue", 16, 16, only_hue)
# each effect on its own
alone = []
for k, f in [(0, 0.8), (0, 1.2), (1, 0.8), (1, 1.2), (2, 0.8), (2, 1.2)]:
    factors = [1.0, 1.0, 1.0, 0.0]
    factors[k] = float32(f)
    alone.append(dict(neutral(), jitter=1, order=[k] + [j for j in range(4) if j != k], factors=factors))
alone += [dict(neutral(), rotate=1, angle=float32(a)) for a in (15, -15, 7.25, -0.01, 0)]
alone += [dict(neutral(), flip_h=1), dict(neutral(), flip_v=1), dict(neutral(), top=2, left=1),
          dict(neutral(), erase=(3, 1, 4, 9))]
case("alone", 16, 18, alone)
golden.write(sys.argv[1])
