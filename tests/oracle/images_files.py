"""Image files of every kind the packer reads, written byte by byte or by Pillow.

case(rng) functions return (extension, bytes, expected): expected is an [h,w,3] uint8 array, or None where
Pillow's own reading is the judge. 16-bit grey is scaled by the project on purpose, RLE4 runs of odd length and
planes that Pillow misreads are drawn here: those cases bring their own expectation.
"""
import io
import struct
import zlib

import numpy as np
from PIL import Image


def pixels(rng, h, w, channels, top=256):
    """Noise, blocks or smooth waves."""
    kind = rng.integers(3)
    if kind == 0:
        return rng.integers(0, top, (h, w, channels))
    if kind == 1:
        blocks = rng.integers(0, top, ((h + 7) // 8, (w + 7) // 8, channels))
        return blocks.repeat(8, 0).repeat(8, 1)[:h, :w]
    y, x = np.mgrid[:h, :w]
    fx, fy = rng.random(2) / 3
    waves = np.stack([np.sin(x * fx + c) + np.cos(y * fy - c) for c in range(channels)], -1)
    return np.clip((waves + 2) / 4 * top, 0, top - 1).astype(int)


MOST = 60  # pixels a side


def sides(rng):
    return int(rng.integers(1, MOST)), int(rng.integers(1, MOST))


def grey3(a):
    return np.repeat(a.reshape(a.shape[0], a.shape[1], 1), 3, 2).astype("u1")


def scale16(v, window=None):
    v = v.astype(np.float64)
    if window is None:
        return np.floor(v / 257 + 0.5).astype("u1")
    lo, hi = window
    return np.clip(np.floor((v - lo) / (hi - lo) * 255 + 0.5), 0, 255).astype("u1")


def pack_bits(row, bits):
    """Samples of 1, 2 or 4 bits -> bytes, first sample in the highest bits, rows padded to bytes."""
    per = 8 // bits
    padded = np.zeros((len(row) + per - 1) // per * per, int)
    padded[: len(row)] = row
    out = np.zeros(len(padded) // per, int)
    for i in range(per):
        out |= padded[i::per] << (8 - bits * (i + 1))
    return out.astype("u1").tobytes()


# ---- PNG ---------------------------------------------------------------------------------------------


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_row(row, depth):
    flat = row.reshape(-1)
    if depth == 16:
        return flat.astype(">u2").tobytes()
    return flat.astype("u1").tobytes() if depth == 8 else pack_bits(flat, depth)


def png_filter(rng, rows, bpp):
    out, above = bytearray(), None
    for row in rows:
        a = np.frombuffer(row, "u1").astype(int)
        up = np.zeros_like(a) if above is None else above
        left = np.concatenate([np.zeros(min(bpp, len(a)), int), a[:-bpp]])[: len(a)]
        corner = np.concatenate([np.zeros(min(bpp, len(a)), int), up[:-bpp]])[: len(a)]
        p = left + up - corner
        pa, pb, pc = abs(p - left), abs(p - up), abs(p - corner)
        paeth = np.where((pa <= pb) & (pa <= pc), left, np.where(pb <= pc, up, corner))
        kind = int(rng.integers(5))
        guess = [0 * a, left, up, (left + up) // 2, paeth][kind]
        out += bytes([kind]) + ((a - guess) & 255).astype("u1").tobytes()
        above = a
    return bytes(out)


ADAM7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]


def png(rng, a, colour, depth, interlace=False, palette=None, extra=b""):
    h, w, channels = a.shape
    bpp = max(1, channels * depth // 8)
    passes = [a[y::dy, x::dx] for y, x, dy, dx in ADAM7] if interlace else [a]
    body = b"".join(
        png_filter(rng, [png_row(r, depth) for r in p], bpp) for p in passes if p.shape[0] and p.shape[1])
    data = zlib.compress(body)
    cut = len(data) // 2
    out = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, interlace))
    if palette is not None:
        out += png_chunk(b"PLTE", palette.astype("u1").tobytes())
    out += extra + png_chunk(b"IDAT", data[:cut]) + png_chunk(b"IDAT", data[cut:])
    return out + png_chunk(b"IEND", b"")


PNG_KINDS = [(0, d) for d in (1, 2, 4, 8, 16)] + [(3, d) for d in (1, 2, 4, 8)] + \
            [(c, d) for c in (2, 4, 6) for d in (8, 16)]


def png_case(rng, kind=None, interlace=None, window=None):
    colour, depth = PNG_KINDS[rng.integers(len(PNG_KINDS))] if kind is None else kind
    interlace = bool(rng.integers(2)) if interlace is None else interlace
    h, w = sides(rng)
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    a, palette, expected, extra = pixels(rng, h, w, channels, 1 << depth), None, None, b""
    if colour == 3:
        entries = int(rng.integers(1, (1 << depth) + 1))  # indices may lie beyond
        palette = rng.integers(0, 256, (entries, 3))
        if rng.integers(2):
            extra = png_chunk(b"tRNS", rng.integers(0, 256, entries).astype("u1").tobytes())
    elif colour in (0, 2) and rng.integers(2):
        extra = png_chunk(b"tRNS", struct.pack(">%dH" % channels, *[int(v) for v in a[0, 0]]))
    if rng.integers(3) == 0:
        extra += png_chunk(b"gAMA", struct.pack(">I", 100000))
    if colour == 0 and depth == 16:
        expected = grey3(scale16(a, window))
    return "png", png(rng, a, colour, depth, interlace, palette, extra), expected


# ---- BMP ---------------------------------------------------------------------------------------------


def bmp(header, body, palette=b"", gap=0):
    offset = 14 + len(header) + len(palette) + gap
    size = offset + len(body)
    return b"BM" + struct.pack("<IHHI", size, 0, 0, offset) + header + palette + bytes(gap) + body


def bmp_header(size, w, h, bits, compression=0, colours=0, masks=(0, 0, 0, 0)):
    if size == 12:
        return struct.pack("<IHHHH", 12, w, h, 1, bits)
    out = struct.pack("<IiiHHIIiiII", size, w, h, 1, bits, compression, 0, 2835, 2835, colours, 0)
    if compression == 3 and size == 40:
        return out + struct.pack("<III", *masks[:3])
    out += struct.pack("<IIII", *masks)
    return (out + bytes(124))[:size]


def pad4(row):
    return row + bytes(-len(row) % 4)


def rle(rng, rows, nibbles, odd):
    """Rows of indices, bottom first -> runs, absolute runs and line ends."""
    out = bytearray()
    for row in rows:
        x, n = 0, len(row)
        while x < n:
            left = n - x
            if left >= 3 and rng.integers(2):
                count = int(rng.integers(3, min(left, 20) + 1))
                if nibbles and not odd and count % 2:
                    count -= 1
                if count >= 3:
                    part = row[x:x + count]
                    data = pack_bits(part, 4) if nibbles else part.astype("u1").tobytes()
                    out += bytes([0, count]) + data + bytes(len(data) % 2)
                    x += count
                    continue
            count = 1
            while x + count < n and count < 255 and row[x + count] == row[x]:
                count += 1
            out += bytes([count, int(row[x]) * 17 if nibbles else int(row[x])])
            x += count
        out += b"\0\0"
    return bytes(out + b"\0\1")


def bmp_case(rng, kind=None):
    kind = rng.choice(["p1", "p4", "p8", "os2", "555", "565", "24", "32", "rgba", "xbgr", "rle8", "rle4", "rle4odd",
                       "os2rgb"]) if kind is None else kind
    h, w = sides(rng)
    top_down = bool(rng.integers(2)) and kind not in ("os2", "os2rgb", "rle8", "rle4", "rle4odd")
    high = -h if top_down else h
    order = (lambda a: a) if top_down else (lambda a: a[::-1])
    size = int(rng.choice([40, 108, 124]))
    if kind in ("p1", "p4", "p8", "os2", "rle8", "rle4", "rle4odd"):
        bits = {"p1": 1, "p4": 4, "rle4": 4, "rle4odd": 4}.get(kind, 8)
        colours = 1 << bits if kind in ("os2", "p1", "rle4", "rle4odd") else int(rng.integers(2, (1 << bits) + 1))
        a = pixels(rng, h, w, 1, 1 << bits)[..., 0]
        if kind in ("rle8", "rle4", "rle4odd") or colours <= 2:
            a = a % colours
        table = rng.integers(0, 256, (colours, 3))
        table[0] = (10, 20, 30)  # never the identity, which has a rule of its own
        pad = np.zeros((colours, 1), int)
        palette = (table[:, ::-1] if kind == "os2" else np.hstack([table[:, ::-1], pad])).astype("u1").tobytes()
        if kind in ("rle8", "rle4", "rle4odd"):
            body = rle(rng, a[::-1], bits == 4, kind == "rle4odd")
            header = bmp_header(40, w, h, bits, 1 if bits == 8 else 2, colours)
        else:
            rows = [r.astype("u1").tobytes() if bits == 8 else pack_bits(r, bits) for r in order(a)]
            body = b"".join(pad4(r) for r in rows)
            header = bmp_header(12 if kind == "os2" else size, w, high, bits, 0, 0 if kind == "os2" else colours)
        full = np.zeros((256, 3), int)
        full[:colours] = table
        expected = full[a].astype("u1") if kind == "rle4odd" else None
        return "bmp", bmp(header, body, palette, int(rng.integers(0, 3)) * 2), expected
    if kind in ("555", "565"):
        a = rng.integers(0, 65536, (h, w))
        body = b"".join(pad4(r.astype("<u2").tobytes()) for r in order(a))
        if kind == "565":
            header = bmp_header(size, w, high, 16, 3, 0, (0xF800, 0x7E0, 0x1F, 0))
        else:
            header = bmp_header(size, w, high, 16)
        return "bmp", bmp(header, body), None
    channels = 3 if kind in ("24", "os2rgb") else 4
    a = pixels(rng, h, w, channels)
    body = b"".join(pad4(r.astype("u1").tobytes()) for r in order(a))
    if kind == "rgba":
        header = bmp_header(int(rng.choice([56, 108, 124])), w, high, 32, 3, 0, (0xFF, 0xFF00, 0xFF0000, 0xFF000000))
    elif kind == "xbgr":
        header = bmp_header(40, w, high, 32, 3, 0, (0xFF000000, 0xFF0000, 0xFF00, 0))
    else:
        header = bmp_header(12 if kind == "os2rgb" else size, w, high, 8 * channels)
    return "bmp", bmp(header, body), None


# ---- TIFF --------------------------------------------------------------------------------------------


def tiff(order, tags, blocks, block_tags):
    """tags: {tag: (type, values)}; blocks: strips or tiles; block_tags: tags of their offsets and byte counts."""
    e = "<" if order == "II" else ">"
    form = {1: "B", 3: "H", 4: "I"}
    tags = dict(tags)
    tags[block_tags[0]] = (4, [0] * len(blocks))
    tags[block_tags[1]] = (4, [len(b) for b in blocks])
    at = 8 + 2 + 12 * len(tags) + 4
    places = {}
    for tag in sorted(tags):
        kind, values = tags[tag]
        size = struct.calcsize(form[kind]) * len(values)
        if size > 4:
            places[tag] = at
            at += size + size % 2
    offsets = []
    for b in blocks:
        offsets.append(at)
        at += len(b) + len(b) % 2
    tags[block_tags[0]] = (4, offsets)
    out = order.encode() + struct.pack(e + "HI", 42, 8) + struct.pack(e + "H", len(tags))
    tail = b""
    for tag in sorted(tags):
        kind, values = tags[tag]
        data = struct.pack(e + str(len(values)) + form[kind], *[int(v) for v in values])
        out += struct.pack(e + "HHI", tag, kind, len(values))
        if tag in places:
            out += struct.pack(e + "I", places[tag])
            tail += data + bytes(len(data) % 2)
        else:
            out += data + bytes(4 - len(data))
    out += struct.pack(e + "I", 0) + tail
    return out + b"".join(b + bytes(len(b) % 2) for b in blocks)


def tiff_rows(a, bits, order):
    """[h, w, samples] -> bytes of each row."""
    e = "<" if order == "II" else ">"
    rows = []
    for row in a:
        flat = row.reshape(-1)
        if bits == 16:
            rows.append(flat.astype(e + "u2").tobytes())
        elif bits == 12:
            even = np.concatenate([flat, np.zeros(len(flat) % 2, int)]).reshape(-1, 2)
            three = np.stack([even[:, 0] >> 4, (even[:, 0] & 15) << 4 | even[:, 1] >> 8, even[:, 1] & 255], 1)
            rows.append(three.astype("u1").tobytes()[: (len(flat) * 12 + 7) // 8])
        elif bits == 8:
            rows.append(flat.astype("u1").tobytes())
        else:
            rows.append(pack_bits(flat, bits))
    return rows


TIFF_KINDS = ["grey", "white", "palette", "rgb", "rgba", "premultiplied", "cmyk", "la", "ycc", "grey16", "white16",
              "grey12", "rgb16", "rgba16"]


def tiff_case(rng, kind=None, window=None, orientation=False):
    kind = str(rng.choice(TIFF_KINDS)) if kind is None else kind
    order = str(rng.choice(["II", "MM"]))
    bits = 8
    if kind in ("grey", "white", "palette"):
        bits = int(rng.choice([1, 2, 4, 8]))
    if kind in ("grey16", "white16", "rgb16", "rgba16"):
        bits = 16
    if kind == "grey12":
        bits, order = 12, "II"
    if kind == "white16":
        order = "II"
    samples = {"rgb": 3, "rgba": 4, "premultiplied": 4, "cmyk": 4, "la": 2, "ycc": 3, "rgb16": 3, "rgba16": 4}.get(kind, 1)
    photometric = {"white": 0, "white16": 0, "palette": 3, "cmyk": 5, "ycc": 6}.get(kind, 2 if samples >= 3 else 1)
    h, w = sides(rng)
    if rng.integers(8) == 0:
        w += 60
    a = pixels(rng, h, w, samples, 1 << bits)
    tags = {256: (4, [w]), 257: (4, [h]), 258: (3, [bits] * samples), 262: (3, [photometric]), 277: (3, [samples])}
    expected = None
    if orientation:  # which nobody applies
        tags[274] = (3, [int(rng.integers(2, 9))])
    if kind == "palette":
        tags[320] = (3, rng.integers(0, 65536, 3 << bits))
    if kind in ("rgba", "rgba16", "la"):
        tags[338] = (3, [2])
    if kind == "rgba" and rng.integers(2):
        tags[338] = (3, [0])
    if kind == "premultiplied":
        tags[338] = (3, [1])
    if kind in ("grey16", "white16", "grey12"):
        expected = grey3(scale16(a, window))
    compress = bool(rng.integers(2)) or kind == "ycc"
    tags[259] = (3, [8 if compress else 1])
    if kind == "ycc":
        tags[530] = (3, [1, 1])
    tiled = bool(rng.integers(2)) and bits == 8 and kind != "ycc"
    planar = samples > 1 and rng.integers(3) == 0 and kind not in ("ycc", "la")
    if planar:
        tags[284] = (3, [2])
    if planar and kind in ("rgb16", "rgba16", "premultiplied") or (planar and not compress):
        expected = unplaned(a, kind, bits)
    planes = [a[..., c:c + 1] for c in range(samples)] if planar else [a]
    blocks = []
    if tiled:
        tw, th = 16 * int(rng.integers(1, 3)), 16 * int(rng.integers(1, 3))
        tags[322], tags[323] = (4, [tw]), (4, [th])
        for p in planes:
            full = np.zeros(((h + th - 1) // th * th, (w + tw - 1) // tw * tw, p.shape[2]), int)
            full[:h, :w] = p
            for y in range(0, h, th):
                for x in range(0, w, tw):
                    blocks.append(b"".join(tiff_rows(full[y:y + th, x:x + tw], bits, order)))
    else:
        per = int(rng.integers(1, h + 1))
        tags[278] = (4, [per])
        for p in planes:
            rows = tiff_rows(p, bits, order)
            blocks += [b"".join(rows[y:y + per]) for y in range(0, h, per)]
    if compress:
        blocks = [zlib.compress(b) for b in blocks]
    places = (324, 325) if tiled else (273, 279)
    if orientation and expected is None:
        upright = {t: v for t, v in tags.items() if t != 274}
        expected = expected_of(tiff(order, upright, blocks, places), None)
    return "tif", tiff(order, tags, blocks, places), expected


def unplaned(a, kind, bits):
    """What the interleaved file of the same pixels gives in Pillow."""
    a = (a >> 8 if bits == 16 else a).astype("u1")
    if kind == "premultiplied":
        alpha = a[..., 3:].astype(int)
        return np.where(alpha > 0, np.minimum(a[..., :3].astype(int) * 255 // np.maximum(alpha, 1), 255), 0).astype("u1")
    if kind == "cmyk":
        return np.asarray(Image.fromarray(np.ascontiguousarray(a), "CMYK").convert("RGB"))
    return np.ascontiguousarray(a[..., :3])


# ---- files that Pillow writes ---------------------------------------------------------------------------


def pillow_image(rng, mode):
    h, w = sides(rng)
    channels = {"1": 1, "L": 1, "P": 1, "RGB": 3, "RGBA": 4, "LA": 2, "CMYK": 4}[mode]
    a = pixels(rng, h, w, channels).astype("u1")
    if mode == "1":
        return Image.fromarray(((a[..., 0] > 127) * 255).astype("u1")).convert("1")
    if mode == "P":
        entries = int(rng.choice([2, 4, 16, 100, 256]))
        im = Image.fromarray((a[..., 0].astype(int) % entries).astype("u1"), "P")
        im.putpalette(rng.integers(0, 256, 3 * entries, dtype="u1").tobytes())
        return im
    return Image.fromarray(a[..., 0] if channels == 1 else a, mode)


def save(im, form, **how):
    out = io.BytesIO()
    im.save(out, form, **how)
    return out.getvalue()


def jpeg_case(rng, mode=None):
    mode = str(rng.choice(["L", "RGB", "CMYK"])) if mode is None else mode
    how = dict(quality=int(rng.integers(5, 101)), progressive=bool(rng.integers(2)), optimize=bool(rng.integers(2)))
    if mode == "RGB":
        how["subsampling"] = int(rng.integers(3))
        if rng.integers(6) == 0:
            how["keep_rgb"] = True
    if rng.integers(4) == 0:
        how["restart_marker_rows"] = 1
    if rng.integers(4) == 0:
        exif = Image.Exif()
        exif[0x112] = 6  # orientation, which nobody applies
        how["exif"] = exif
    data = save(pillow_image(rng, mode), "JPEG", **how)
    adobe = data.find(b"\xff\xee\x00\x0eAdobe")
    if mode == "CMYK" and rng.integers(2):  # the same coefficients read as YCCK, or without the marker
        data = data[:adobe + 15] + b"\2" + data[adobe + 16:] if rng.integers(2) else data[:adobe] + data[adobe + 16:]
    return str(rng.choice(["jpg", "jpeg", "JPG"])), data, None


def webp_case(rng, animated=None):
    mode = str(rng.choice(["L", "RGB", "RGBA", "P"]))
    how = dict(lossless=bool(rng.integers(2)), quality=int(rng.integers(101)), method=int(rng.integers(3)),
               exact=bool(rng.integers(2)))
    im = pillow_image(rng, mode)
    if rng.integers(4) == 0 if animated is None else animated:
        im = im.convert("RGBA")
        how.update(save_all=True, append_images=[im.transpose(Image.Transpose.ROTATE_180)] * 2)
    return "webp", save(im, "WEBP", **how), None


def pillow_tiff_case(rng):
    mode = str(rng.choice(["1", "L", "P", "RGB", "RGBA", "LA", "CMYK"]))
    kinds = [None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "tiff_deflate"]
    kinds += ["group3", "group4", "tiff_ccitt"] if mode == "1" else []
    kinds += ["jpeg"] if mode in ("L", "RGB", "CMYK") else []
    kind = kinds[rng.integers(len(kinds))]
    how = dict(compression=kind, big_tiff=bool(rng.integers(2)))
    if kind not in (None, "jpeg") and rng.integers(2):  # Pillow dies of JPEG strips that are no multiple of 8 rows
        how["strip_size"] = int(rng.integers(100, 4000))
    if kind in ("tiff_lzw", "tiff_adobe_deflate") and mode in ("L", "RGB", "RGBA") and rng.integers(2):
        how["tiffinfo"] = {317: 2}  # horizontal predictor
    if rng.integers(6) == 0:
        how.update(save_all=True, append_images=[pillow_image(rng, mode)])
    return str(rng.choice(["tif", "tiff"])), save(pillow_image(rng, mode), "TIFF", **how), None


def turned_tiff_case(rng):
    return tiff_case(rng, orientation=True)


CASES = [turned_tiff_case, png_case, bmp_case, tiff_case, jpeg_case, webp_case, pillow_tiff_case]


def expected_of(data, expected):
    """The RGB bytes the packer must make of a file."""
    if expected is not None:
        return expected
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
