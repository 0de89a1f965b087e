"""pack_pillow.py make FOLDER: 24 seeded JPEG files of 1000 px.
pack_pillow.py run FOLDER [SECONDS]: Pillow's decode + the two resizes of packing, ms an image (medians)."""
import io
import pathlib
import statistics
import sys
import time

import numpy as np
from PIL import Image


def make(folder):
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:1000, :1000] / 1000
    for i in range(24):
        f = rng.random(4) * 12 + 1
        base = 120 + 60 * np.sin(x * f[0] + i) + 50 * np.cos(y * f[1]) * np.sin(x * y * f[2] * 9)
        noise = rng.normal(0, 7, (1000, 1000, 1)) + rng.normal(0, 2, (1000, 1000, 3))
        im = Image.fromarray(np.clip(base[..., None] + noise, 0, 255).astype("u1"))
        im.save(folder / ("%02d.jpg" % i), quality=90)


def run(folder, seconds):
    files = [p.read_bytes() for p in sorted(folder.iterdir())]
    decode, resize, both = [], [], []
    start = time.perf_counter()
    while len(both) < 3 or time.perf_counter() - start < seconds:
        d = r = 0.0
        for data in files:
            t0 = time.perf_counter()
            im = Image.open(io.BytesIO(data)).convert("RGB")
            t1 = time.perf_counter()
            im.resize((224, 224), Image.BILINEAR)
            im.resize((246, 246), Image.BILINEAR)
            t2 = time.perf_counter()
            d, r = d + t1 - t0, r + t2 - t1
        n = len(files) / 1e3
        decode.append(d / n)
        resize.append(r / n)
        both.append((d + r) / n)
    print("decode %.3f resize %.3f decode+resize %.3f ms" % tuple(map(statistics.median, (decode, resize, both))))


if __name__ == "__main__":
    where = pathlib.Path(sys.argv[2])
    if sys.argv[1] == "make":
        where.mkdir(parents=True, exist_ok=True)
        make(where)
    else:
        run(where, float(sys.argv[3]) if len(sys.argv) > 3 else 5)
