"""Writes tests/golden/images/: small image files of every kind, and images.txt with what they must become.

Run: /opt/oracle/bin/python tests/oracle/images_golden.py (Pillow before 13). Lines of images.txt:
  NAME WINDOW WIDTH HEIGHT CRC CRC_17x23 CRC_64x64 CRC_90x30   (crc32 of the RGB bytes, and after resizing)
  NAME - bad WORDS                                           (refused, the reason holds WORDS)
WINDOW is - or LO,HI.
"""
import pathlib
import struct
import warnings
import zlib

import numpy as np
from PIL import Image

import images_files as f

warnings.simplefilter("ignore")
OUT = pathlib.Path(__file__).resolve().parent.parent / "golden" / "images"
SIZES = [(17, 23), (64, 64), (90, 30)]  # width, height
f.MOST = 34
lines = []


def good(name, data, expected=None, window=None):
    (OUT / name).write_bytes(data)
    a = np.ascontiguousarray(f.expected_of(data, expected))
    crcs = [zlib.crc32(a.tobytes())]
    crcs += [zlib.crc32(np.asarray(Image.fromarray(a).resize(s, Image.BILINEAR)).tobytes()) for s in SIZES]
    shown = "%d,%d" % window if window else "-"
    lines.append("%s %s %d %d %s" % (name, shown, a.shape[1], a.shape[0], " ".join("%08x" % c for c in crcs)))


def bad(name, data, words):
    (OUT / name).write_bytes(data)
    lines.append("%s - bad %s" % (name, words))


def rng_of(name):
    return np.random.default_rng(zlib.crc32(name.encode()))


def several(prefix, case, count=1, **how):
    for i in range(count):
        name = prefix + ("_%d" % i if count > 1 else "")
        rng = rng_of(name)
        while True:
            try:
                ext, data, expected = case(rng, **how)
                break
            except OSError:  # Pillow's encoder gives up on some tiny images: draw another
                continue
        good("%s.%s" % (name, ext), data, expected, how.get("window"))


def make_good():
    for kind in f.PNG_KINDS:
        for interlace in (False, True):
            several("png_c%d_d%d%s" % (*kind, "_i" if interlace else ""), f.png_case, 2, kind=kind, interlace=interlace)
    several("png_window", f.png_case, kind=(0, 16), window=(0, 4095))
    for kind in ("p1", "p4", "p8", "os2", "555", "565", "24", "32", "rgba", "xbgr", "rle8", "rle4", "rle4odd", "os2rgb"):
        several("bmp_" + kind, f.bmp_case, 2, kind=kind)
    for kind in f.TIFF_KINDS:
        several("tiff_" + kind, f.tiff_case, 3, kind=kind)
    for kind in ("grey", "rgb", "ycc"):
        several("tiff_turned_" + kind, f.tiff_case, 2, kind=kind, orientation=True)
    several("tiff_window", f.tiff_case, kind="grey16", window=(1000, 30000))
    for mode in ("L", "RGB", "CMYK"):
        several("jpeg_" + mode, f.jpeg_case, 6, mode=mode)
    several("webp", f.webp_case, 6, animated=False)
    several("webp_animated", f.webp_case, animated=True)
    several("tiff_pillow", f.pillow_tiff_case, 12)
    tall = f.pixels(rng_of("tall"), 501, 4, 3).astype("u1")  # columns first
    good("png_tall.png", f.save(Image.fromarray(tall), "PNG"))


def png_of(body, extra=b""):
    """20 x 20 RGB from filtered rows; extra: bytes behind the compressed stream."""
    head = struct.pack(">IIBBBBB", 20, 20, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + f.png_chunk(b"IHDR", head) + f.png_chunk(b"IDAT", zlib.compress(body) + extra) + \
        f.png_chunk(b"IEND", b"")


def make_odd():
    """Unusual, but nothing of the pixels is damaged."""
    a = f.pixels(rng_of("odd"), 20, 20, 3).astype("u1")
    body = b"".join(b"\0" + row.tobytes() for row in a)
    good("png_extra_bytes.png", png_of(body, b"abcdefgh"))
    good("png_extra_rows.png", png_of(body + body))
    good("png_trailing.png", png_of(body) + b"behind the end")
    jpeg = f.save(Image.fromarray(a), "JPEG")
    good("jpeg_jfif9.jpg", jpeg.replace(b"JFIF\0\1", b"JFIF\0\x09", 1))
    good("jpeg_trailing.jpg", jpeg + b"behind the end")


def damage(data, at):
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1:]


def make_bad():
    rng = rng_of("bad")
    a = f.pixels(rng, 20, 20, 3)
    png = f.png(rng, a, 2, 8, extra=f.png_chunk(b"tEXt", b"Comment\0hello"))
    jpeg = f.save(Image.fromarray(a.astype("u1")), "JPEG")
    bad("empty.png", b"", "empty")
    bad("text.jpg", b"<html>not found</html>", "not an image")
    bad("jpeg_inside.png", jpeg, "content is JPEG")
    bad("png_inside.jpg", png, "content is PNG")
    bad("png_crc_idat.png", damage(png, png.index(b"IDAT") + 9), "damaged PNG")
    bad("png_crc_text.png", damage(png, png.index(b"hello")), "damaged PNG")
    bad("png_cut.png", png[: len(png) // 2], "damaged PNG")
    whole = png_of(b"".join(b"\0" + row.astype("u1").tobytes() for row in a))
    cut = whole.index(b"IDAT") + 4
    idat = bytearray(whole[cut:-16])
    idat[-1] ^= 1  # zlib's own checksum, under a right CRC
    bad("png_adler.png", whole[:cut - 8] + f.png_chunk(b"IDAT", bytes(idat)) + whole[-12:], "damaged PNG")
    bad("png_no_end.png", png[:-12], "damaged PNG")
    huge = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    bad("png_huge.png", png[:8] + f.png_chunk(b"IHDR", huge) + png[33:], "limit")
    bad("jpeg_cut.jpg", jpeg[: len(jpeg) * 2 // 3], "damaged JPEG")
    bad("jpeg_garbage.jpg", jpeg[:-20] + bytes(200) + jpeg[-2:], "damaged JPEG")
    sof = jpeg.index(b"\xff\xc0")
    bad("jpeg_huge.jpg", jpeg[: sof + 5] + struct.pack(">HH", 60000, 60000) + jpeg[sof + 9:], "limit")
    bad("jpeg_header_only.jpg", b"\xff\xd8\xff", "damaged JPEG")
    _, bmp, _ = f.bmp_case(rng, "24")
    bad("bmp_cut.bmp", bmp[:-10], "damaged BMP")
    bad("bmp_huge.bmp", bmp[:18] + struct.pack("<ii", 30000, 30000) + bmp[26:], "limit")
    bad("bmp_64bit.bmp", bmp[:28] + struct.pack("<H", 64) + bmp[30:], "64 bits")
    tags = {256: (4, [4]), 257: (4, [4]), 258: (3, [32]), 259: (3, [1]), 262: (3, [1]), 277: (3, [1]), 278: (4, [4])}
    real = {**tags, 339: (3, [3])}
    bad("tiff_float.tif", f.tiff("II", real, [np.zeros(16, "<f4").tobytes()], (273, 279)), "floating-point")
    signed = {**tags, 258: (3, [16]), 339: (3, [2])}
    bad("tiff_signed.tif", f.tiff("II", signed, [bytes(32)], (273, 279)), "signed")
    bad("tiff_32bit.tif", f.tiff("II", tags, [bytes(64)], (273, 279)), "kind that is not read")
    cut = f.tiff("II", {**tags, 258: (3, [8]), 257: (4, [400]), 278: (4, [400])}, [bytes(16)], (273, 279))
    bad("tiff_cut.tif", cut, "damaged TIFF")
    webp = f.save(Image.fromarray(a.astype("u1")), "WEBP")
    bad("webp_cut.webp", webp[:-30], "damaged WebP")


OUT.mkdir(parents=True, exist_ok=True)
for old in OUT.iterdir():
    old.unlink()
make_good()
make_odd()
make_bad()
(OUT / "images.txt").write_text("\n".join(lines) + "\n")
print(len(lines), "files,", sum(p.stat().st_size for p in OUT.iterdir()), "bytes")
