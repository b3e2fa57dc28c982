"""Image files as bytes, also such as no library writes."""

import io
import struct
import zlib

from PIL import Image, ImageOps

FORMATS = {
    "png": ("PNG", {}),
    "jpeg": ("JPEG", {}),
    "progressive": ("JPEG", {"progressive": True}),
    "mpo": ("MPO", {}),
    "webp": ("WEBP", {"lossless": True}),
    "bmp": ("BMP", {}),
    "tiff": ("TIFF", {}),
    "lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "deflate": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "jpeg-tiff": ("TIFF", {"compression": "jpeg"}),
    "avif": ("AVIF", {}),
    "gif": ("GIF", {}),
}


def encode(image: Image.Image, kind: str = "png", **options) -> bytes:
    buffer = io.BytesIO()
    name, own = FORMATS[kind]
    if kind == "mpo":
        own = {"save_all": True, "append_images": [ImageOps.mirror(image)]}
    image.save(buffer, name, **own | options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(mode: int, depth: int, size: tuple[int, int], rows: bytes, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, mode, 0, 0, 0))
    content = header + b"".join(chunks) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def icc(space: bytes, gamma: float, name: str = "", kind: bytes = b"mntr") -> bytes:
    """A profile of sRGB's primaries, or of grays, whose values are powers of light."""

    def fixed(*values: float) -> bytes:
        return struct.pack(f">{len(values)}i", *(round(v * 65536) for v in values))

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", len(name) + 1) + name.encode() + bytes(79 + -len(name) % 4)}
    tags[b"wtpt"] = b"XYZ " + bytes(4) + fixed(0.9642, 1, 0.8249)
    if space == b"RGB ":
        primaries = (0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7139)
        for channel, primary in zip("rgb", primaries, strict=True):
            tags[f"{channel}XYZ".encode()] = b"XYZ " + bytes(4) + fixed(*primary)
            tags[f"{channel}TRC".encode()] = curve
    else:
        tags[b"kTRC"] = curve
    table, data, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for tag, content in tags.items():
        table += tag + struct.pack(">II", start + len(data), len(content))
        data += content
    header = struct.pack(">I", start + len(data)) + bytes(4) + struct.pack(">I", 0x02100000) + kind + space + b"XYZ "
    header += bytes(12) + b"acsp" + bytes(28) + fixed(0.9642, 1, 0.8249) + bytes(48)
    return header + table + data


def exif(*entries: bytes) -> bytes:
    """EXIF with entries of 12 bytes and 8 spare bytes at offset 200."""
    head = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(4)
    return head.ljust(206, b"\0") + struct.pack("<ii", -1, 0)


ORIENTATION = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)


BAD_RATIONAL = struct.pack("<HHII", 0x9204, 10, 1, 200)
