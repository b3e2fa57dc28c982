"""Whether a file has data for all of its pixels: decoders fill what is missing with gray or black and say nothing."""

import io
import re
import struct
import zlib
from math import ceil

from PIL import Image, ImageChops
from PIL.TiffImagePlugin import TiffImageFile

from textir_hf.imaging.profiles import UnfitImage

PNG = b"\x89PNG\r\n\x1a\n"
_TIFF_JPEG, _TIFF_COMPRESSIONS = 7, (1, 5, 7, 8, 32773, 32946, 50000)  # none, LZW, JPEG, Deflate, PackBits, Zstandard
_LACKS = "lacks the data of some of its pixels. It may be damaged: save it again as PNG."
_JUNK = bytes.fromhex("5a932ce147b81d76") * 2  # entropy-coded data without a marker
_MARKER = re.compile(rb"\xff+[^\x00\xff]")
_SCAN, _END, _RESTARTS = 0xDA, 0xD9, range(0xD0, 0xD8)  # markers of a JPEG
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a PNG's color types
_ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def check_complete(image: Image.Image, content: bytes) -> None:
    """Checks that a file, opened and loaded, has all of its data."""
    if image.format == "PNG":
        _check_rows(content)
    elif isinstance(image, TiffImageFile):
        _check_strips(image.tag_v2, content)
    elif image.format in ("JPEG", "MPO"):
        _check_jpeg(image, content)


def png_chunks(content: bytes) -> list[tuple[bytes, int, int]]:
    """Type, start and size of the data of a PNG's chunks; none of other files."""
    found, position = [], len(PNG)
    while content.startswith(PNG) and position + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, position)
        found.append((kind, position + 8, size))
        position += 12 + size
    return found


def _check_strips(tags, content: bytes) -> None:
    """Checks a TIFF's strips: decoders leave undefined what none covers, or lacks where its code has no end mark."""
    compression, tiled = tags.get(259, 1), 324 in tags
    if compression not in _TIFF_COMPRESSIONS:
        raise UnfitImage(f"is a TIFF of compression {compression}, in which damage goes unnoticed. Save it with LZW.")
    width, height = tags[256], tags[257]
    columns, rows = (tags[322], tags[323]) if tiled else (width, min(tags.get(278, height), height))
    offsets, sizes = (tags.get(tag) or () for tag in ((324, 325) if tiled else (273, 279)))
    plane = ceil(width / columns) * ceil(height / rows)
    expected = plane * (tags.get(277, 1) if tags.get(284) == 2 else 1)
    found = sum(offset > 0 for offset in offsets)
    if found < expected:
        raise UnfitImage(f"holds {found} of its {expected} strips of pixels. The file is damaged.")
    tables = tags.get(347) or b"\xff\xd8\xff\xd9"  # that all JPEGs of a TIFF share
    for i in range(expected if compression == _TIFF_JPEG else 0):
        strip = tables[:-2] + content[offsets[i] + 2 : offsets[i] + sizes[i]]
        with Image.open(io.BytesIO(strip), formats=["JPEG"]) as part:
            part.load()
            if part.width < columns or part.height < (rows if tiled else min(rows, height - i % plane * rows)):
                raise UnfitImage(_LACKS)
            _check_jpeg(part, strip)


def _check_jpeg(image: Image.Image, content: bytes) -> None:
    changed = _with_junk(content)
    if changed is not None:
        with Image.open(io.BytesIO(changed), formats=["JPEG"]) as other:
            if ImageChops.difference(image, other).getbbox() is not None:
                raise UnfitImage(_LACKS)


def _with_junk(content: bytes) -> bytes | None:
    """A JPEG with bytes that a decoder skips where its data is complete, and decodes to other pixels where it is not.

    They are put before each marker that ends entropy-coded data: libjpeg reads on where a scan or an interval between
    restart markers lacks blocks, and otherwise skips to the marker. At a scan's end, they hold a restart marker, in
    case whole intervals are missing. None for arithmetic coding, which ends without a trace.
    """
    parts, start, position, lacking, progressive = [], 0, 2, set(), False
    while (match := _MARKER.search(content, position)) and content[match.end() - 1] != _END:
        kind, position = content[match.end() - 1], match.end()
        if kind in _RESTARTS:
            continue
        header = content[position : position + struct.unpack_from(">H", content, position)[0]]
        position += len(header)
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):  # a frame: baseline, extended, progressive, ...
            if kind > 0xC2:
                return None
            progressive = kind == 0xC2
            lacking = {(component, k) for component in header[8::3] for k in range(64 if progressive else 1)}
        if kind == _SCAN:
            first, last, low = (header[-3], header[-2], header[-1] & 15) if progressive else (0, 0, 0)
            if low == 0:  # no bits of these coefficients are still to come
                lacking -= {(component, k) for component in header[3:-3:2] for k in range(first, last + 1)}
            restart = _RESTARTS.start
            for match in _MARKER.finditer(content, position):
                ends = content[match.end() - 1] not in _RESTARTS
                junk = _JUNK + bytes((0xFF, restart)) + _JUNK if ends else _JUNK
                parts += [content[start : match.start()], junk]
                start = position = match.start()
                restart = _RESTARTS.start + (content[match.end() - 1] - _RESTARTS.start + 1) % 8
                if ends:
                    break
    if lacking:
        raise UnfitImage(_LACKS)
    return b"".join([*parts, content[start:]])


def _check_rows(content: bytes) -> None:
    """Checks that a PNG's data are as long as its rows."""
    width, height, depth, color, _, _, interlaced = struct.unpack_from(">2I5B", content, 16)
    steps = _ADAM7 if interlaced else [(0, 0, 1, 1)]
    sizes = [(len(range(x, width, dx)), len(range(y, height, dy))) for x, y, dx, dy in steps]
    left = sum((1 + ceil(w * depth * _SAMPLES[color] / 8)) * h for w, h in sizes if w)
    stream = zlib.decompressobj()
    for kind, start, size in png_chunks(content):
        data = content[start : start + size] if kind == b"IDAT" else b""
        while data and left > 0:
            left -= len(stream.decompress(data, 1 << 20))
            data = stream.unconsumed_tail
    if left > 0:
        raise UnfitImage(_LACKS)
