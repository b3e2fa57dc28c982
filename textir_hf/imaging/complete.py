"""Whether a file holds data for all of its pixels: decoders fill what is missing with gray or black and say nothing."""

import re
import struct
import zlib
from math import ceil

from textir_hf.imaging.containers import UnfitImage, png_chunks

LACKS = "lacks the data of some of its pixels. It may be damaged: save it anew as PNG."
MOST_MARKERS = 2_000_000  # restart intervals of a JPEG, segments of a JPEG 2000; more would take seconds to pass
_MARKER = re.compile(rb"\xff+[^\x00\xff]")
_JUNK = bytes.fromhex("5a932ce147b81d76") * 2  # entropy-coded data without a marker
_HUFFMAN = (0xC0, 0xC1, 0xC2)  # frames of baseline, extended and progressive JPEGs
_SCAN, _END, _RESTARTS = 0xDA, 0xD9, range(0xD0, 0xD8)
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a PNG's color types
_ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def with_junk(content: bytes) -> bytes | None:
    """A JPEG with bytes that a decoder skips where its data is complete, and decodes to other pixels where it is not.

    They are put before each marker that ends entropy-coded data: libjpeg reads on where a scan or an interval between
    restart markers lacks blocks, and otherwise skips to the marker. At a scan's end, they hold a restart marker, in
    case whole intervals are missing.

    Args:
        content: The file, or a strip of a TIFF.

    Returns:
        The changed file; None for arithmetic coding, which ends without a trace.

    Raises:
        UnfitImage: Scans are missing, or there are more than `MOST_MARKERS`.
    """
    parts, start, position, lacking, progressive = [], 0, 2, set(), False
    while (match := _MARKER.search(content, position)) and content[match.end() - 1] != _END:
        kind, position = content[match.end() - 1], match.end()
        if kind in _RESTARTS:
            continue
        header = content[position : position + struct.unpack_from(">H", content, position)[0]]
        position += len(header)
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            if kind not in _HUFFMAN:
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
                _check_count(len(parts) // 2)
                if ends:
                    break
    if lacking:
        raise UnfitImage(LACKS)
    return b"".join([*parts, content[start:]])


def check_rows(content: bytes) -> None:
    """Checks that a PNG's data are as long as its rows.

    Raises:
        UnfitImage: They are shorter.
    """
    width, height, depth, color, _, _, interlaced = struct.unpack_from(">2I5B", content, 16)
    bits = depth * _SAMPLES[color]
    steps = _ADAM7 if interlaced else [(0, 0, 1, 1)]
    sizes = [(len(range(x, width, dx)), len(range(y, height, dy))) for x, y, dx, dy in steps]
    left = sum((1 + ceil(w * bits / 8)) * h for w, h in sizes if w)
    stream = zlib.decompressobj()
    for place in png_chunks(content):
        (size,) = struct.unpack_from(">I", content, place)
        data = content[place + 8 : place + 8 + size] if content[place + 4 : place + 8] == b"IDAT" else b""
        while data and left > 0:
            left -= len(stream.decompress(data, 1 << 20))
            data = stream.unconsumed_tail
    if left > 0:
        raise UnfitImage(LACKS)


def check_tiles(content: bytes) -> None:
    """Checks that a JPEG 2000 has all of its tiles, and all parts of each; its decoder sees what a part lacks.

    Raises:
        UnfitImage: One is missing, or there are more than `MOST_MARKERS`.
    """
    start = content.find(b"\xff\x4f\xff\x51")  # the code stream, with the sizes first
    if start < 0:
        return
    right, bottom, _, _, width, height, left, top = struct.unpack_from(">8I", content, start + 8)
    parts: dict[int, int] = {}
    missing: dict[int, int] = dict.fromkeys(range(ceil((right - left) / width) * ceil((bottom - top) / height)), 1)
    position, segments = start + 2, 0
    while position + 12 <= len(content) and (marker := content[position : position + 2]) != b"\xff\xd9":
        size = struct.unpack_from(">H", content, position + 2)[0] + 2
        if marker == b"\xff\x90":  # a tile's part
            tile, size, _, count = struct.unpack_from(">HIBB", content, position + 4)
            parts[tile] = parts.get(tile, 0) + 1
            missing[tile] = max(missing.get(tile, 1), count)
        if size == 0:  # up to the end
            break
        position, segments = position + size, segments + 1
        _check_count(segments)
    if any(parts.get(tile, 0) < count for tile, count in missing.items()):
        raise UnfitImage(LACKS)


def _check_count(markers: int) -> None:
    if markers > MOST_MARKERS:
        raise UnfitImage(f"has more than {MOST_MARKERS} markers. Save it as PNG.")
