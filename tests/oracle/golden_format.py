"""Writes the file that tests/golden/golden.h reads: an ASCII header, then raw little-endian data.

    superclip-golden 1
    case conv2d/3x3 conv2d
    attr stride 1
    tensor in0 f64 0 4 2 3 8 8        (name, type, offset into the data, dimensions, sizes)
    data                              (the data begins at the next multiple of 64 bytes)
"""
import numpy as np

TYPES = {np.dtype("float64"): "f64", np.dtype("float32"): "f32", np.dtype("int32"): "i32",
         np.dtype("uint8"): "u8"}


class GoldenFile:
    def __init__(self):
        self.lines = ["superclip-golden 1"]
        self.blob = bytearray()

    def case(self, name, op, attrs, tensors):
        self.lines.append(f"case {name} {op}")
        for key, value in attrs.items():
            self.lines.append(f"attr {key} {float(value)!r}")
        for key, value in tensors.items():
            a = np.ascontiguousarray(value.detach().numpy() if hasattr(value, "detach") else value)
            shape = np.shape(value)
            sizes = "".join(f" {d}" for d in shape)
            self.lines.append(f"tensor {key} {TYPES[a.dtype]} {len(self.blob)} {len(shape)}{sizes}")
            self.blob += a.tobytes()
            self.blob += bytes(-len(self.blob) % 8)

    def write(self, path):
        head = ("\n".join(self.lines) + "\ndata\n").encode()
        with open(path, "wb") as f:
            f.write(head + bytes(-len(head) % 64) + bytes(self.blob))
