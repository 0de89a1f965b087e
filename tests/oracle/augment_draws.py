"""Golden epoch orders and augmentation draws: the table of docs/random_numbers.md written a second time.

    python tests/oracle/augment_draws.py      (needs numpy and Pillow)

Philox4x32-10 is written from the paper and checked against its known answers; floats are rounded exactly
from fractions; every rotation is checked against Image.rotate.
"""
import math
import pathlib
from fractions import Fraction

import numpy as np
from PIL import Image

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"
ORDER, AUGMENT, VAL_ORDER = 2, 3, 4
MASK = 0xFFFFFFFF


def philox(key, counter):
    k0, k1 = key
    c = list(counter)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k0, b & MASK, (a >> 32) ^ c[3] ^ k1, a & MASK]
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return c


assert philox((0, 0), (0, 0, 0, 0)) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
assert philox((MASK, MASK), (MASK,) * 4) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]


def words(seed, stream, epoch, position, draw, fold):
    return philox((seed, stream), (epoch, position, draw, fold))


def below(word, n):
    return (word >> 8) * n >> 24


def permutation(items, seed, stream, epoch, fold):
    out = list(items)
    for i in range(len(out) - 1, 0, -1):
        w = words(seed, stream, epoch, i, 0, fold)
        j = below(w[0], i + 1) if i + 1 <= 65536 else (w[0] << 32 | w[1]) * (i + 1) >> 64
        out[i], out[j] = out[j], out[i]
    return out


def weighted(weights, seed, epoch, fold):
    """Indices of len(weights) draws: the first whose running sum exceeds u times the whole."""
    sums = np.cumsum(np.array(weights, float))
    out = []
    for i in range(len(weights)):
        w = words(seed, ORDER, epoch, i, 0, fold)
        u = (w[0] >> 8) / 2**24 if len(weights) <= 65536 else ((w[0] << 32 | w[1]) >> 11) / 2**53
        out.append(int(np.searchsorted(sums, u * sums[-1], side="right")))
    return out


def f32(exact):
    """The float nearest to a fraction, ties to even."""
    x = np.float32(float(exact))
    near = [np.nextafter(x, np.float32(-np.inf)), x, np.nextafter(x, np.float32(np.inf))]
    return min(near, key=lambda v: (abs(Fraction(float(v)) - exact), int(v.view(np.uint32)) & 1))


def bits(v):
    return "%08x" % int(np.float32(v).view(np.uint32))


def of_bits(text):
    return Fraction(float(np.array([int(text, 16)], np.uint32).view(np.float32)[0]))


FACTOR = of_bits("3f4ccccd"), of_bits("3eccccce")
HUE = of_bits("bdcccccd"), of_bits("3e4ccccd")
ANGLE = Fraction(-15), Fraction(30)
AREA = of_bits("3ca3d70a"), of_bits("3e9eb852")
RATIO = of_bits("bf9a1bc8"), of_bits("4019771e")


def uniform(word, bounds):
    return f32(Fraction(word >> 8, 2**24) * bounds[1] + bounds[0])


def rotation(angle, size):
    t = -math.radians(float(angle) % 360.0)
    c, s, d = (float("%.15f" % v) for v in (math.cos(t), math.sin(t), -math.sin(t)))
    m = size / 2.0
    m2, m5 = (c * -m + s * -m) + m, (d * -m + c * -m) + m
    fix = [math.floor(v * 65536 + 0.5)
           for v in (c, s, m2 + c * 0.5 + s * 0.5, d, c, m5 + d * 0.5 + c * 0.5)]
    if size <= 255:
        y, x = np.mgrid[0:size, 0:size]
        image = np.stack([x, y, np.full_like(x, 255)], 2).astype(np.uint8)
        want = np.array(Image.fromarray(image).rotate(float(angle)))
        sx, sy = (fix[2] + x * fix[0] + y * fix[1]) >> 16, (fix[5] + x * fix[3] + y * fix[4]) >> 16
        inside = (sx >= 0) & (sx < size) & (sy >= 0) & (sy < size)
        got = np.where(inside[..., None], np.stack([sx, sy, np.full_like(x, 255)], 2), 0)
        assert np.array_equal(got, want), (angle, size)
    return fix


def erase(seed, epoch, position, fold, size):
    if words(seed, AUGMENT, epoch, position, 3, fold)[0] >> 8 >= Fraction(float(np.float32(0.1))) * 2**24:
        return [0, 0, 0, 0]
    for t in range(10):
        w = words(seed, AUGMENT, epoch, position, 4 + t, fold)
        area = size * size * float(uniform(w[0], AREA))
        ratio = float(np.float32(math.exp(float(uniform(w[1], RATIO)))))
        h, wide = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if h < size and wide < size:
            if h < 1 or wide < 1:
                return [0, 0, 0, 0]
            return [below(w[2], size - h + 1), below(w[3], size - wide + 1), h, wide]
    return [0, 0, 0, 0]


def draws(seed, epoch, position, fold, size, row):
    """The choices of one training sample, under the names of --dump-steps; floats are numpy float32."""
    w = words(seed, AUGMENT, epoch, position, 0, fold)
    d = {"crop_top": below(w[0], row - size + 1), "crop_left": below(w[1], row - size + 1),
         "flip_h": int(w[2] >> 31 == 0), "flip_v": int(w[3] >> 31 == 0), "jitter": 1, "rotate": 1}
    w = words(seed, AUGMENT, epoch, position, 1, fold)
    order = [0, 1, 2, 3]
    for i in (3, 2, 1):
        j = below(w[3 - i], i + 1)
        order[i], order[j] = order[j], order[i]
    d["jitter_order"], d["angle"] = order, uniform(w[3], ANGLE)
    w = words(seed, AUGMENT, epoch, position, 2, fold)
    for i, name in enumerate(("brightness", "contrast", "saturation", "hue")):
        d[name] = uniform(w[i], HUE if name == "hue" else FACTOR)
    d["rotate_fix"] = rotation(d["angle"], size)
    box = erase(seed, epoch, position, fold, size)
    d.update(zip(("erase_top", "erase_left", "erase_h", "erase_w"), box))
    return d


def augment(seed, epoch, position, fold, size, row):
    """The same as a line of the golden file."""
    d = draws(seed, epoch, position, fold, size, row)
    text = [str(d[k]) for k in ("crop_top", "crop_left", "flip_h", "flip_v")]
    text += map(str, d["jitter_order"])
    text += [bits(d[k]) for k in ("brightness", "contrast", "saturation", "hue", "angle")]
    text += map(str, d["rotate_fix"])
    text += [str(d[k]) for k in ("erase_top", "erase_left", "erase_h", "erase_w")]
    return " ".join(text)


def write_draws():
    lines = []
    for seed, fold in ((0, 0), (42, 1), (42, 5), (2**32 - 1, 3)):
        for size in (16, 96, 224):
            row = int(1.1 * size)
            for epoch, position in [(0, p) for p in range(12)] + [(1, 0), (99, 5), (3, 2**32 - 1)]:
                head = "%d %d %d %d %d %d" % (seed, epoch, position, fold, size, row)
                lines.append("%s : %s\n" % (head, augment(seed, epoch, position, fold, size, row)))
    # Every draw of one fold's first 2000 samples that erases: the rarer branch.
    rows = [(p, augment(42, 0, p, 1, 64, 70)) for p in range(2000)]
    lines += ["42 0 %d 1 64 70 : %s\n" % r for r in rows if r[1].split()[-2] != "0"][:120]
    (GOLDEN / "augment_draws.txt").write_text("".join(lines))


def write_orders():
    """Samples are 10, 13, 16, ...; the class of sample s is s mod 4, its weight CLASS_WEIGHTS[class]."""
    class_weights = [1.5, 0.25, 0.0, 3.0]
    lines = []
    for n in (1, 2, 9, 40):
        samples = [10 + 3 * i for i in range(n)]
        for seed, epoch, fold in ((0, 0, 1), (42, 0, 1), (42, 7, 1), (42, 0, 4), (2**32 - 1, 99, 5)):
            head = "%d %d %d %d" % (n, seed, epoch, fold)
            train = permutation(samples, seed, ORDER, epoch, fold)
            lines.append("train %s : %s\n" % (head, " ".join(map(str, train))))
            if epoch == 0:
                val = permutation(samples, seed, VAL_ORDER, 0, fold)
                lines.append("val %s : %s\n" % (head, " ".join(map(str, val))))
            if n > 2:
                drawn = weighted([class_weights[s % 4] for s in samples], seed, epoch, fold)
                lines.append("weighted %s : %s\n" % (head, " ".join(str(samples[i]) for i in drawn)))
    # Above 65,536 choices more bits are used: a polynomial checksum of the whole order.
    n = 70000
    samples = [10 + 3 * i for i in range(n)]
    weights = [class_weights[s % 4] for s in samples]
    for name, order in (("train", permutation(samples, 42, ORDER, 0, 1)),
                        ("weighted", [samples[i] for i in weighted(weights, 42, 0, 1)])):
        total = 0
        for s in order:
            total = (total * 1000003 + s) % 2**64
        lines.append("%s %d 42 0 1 : sum %d\n" % (name, n, total))
    (GOLDEN / "augment_orders.txt").write_text("".join(lines))


if __name__ == "__main__":
    write_draws()
    write_orders()
