"""The one decoder: an image file, by its content, to upright 8-bit sRGB; every failure is one sentence."""

import io
import os
import re
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path

from PIL import Image, ImageChops, ImageFile

from textir_hf.checks import number
from textir_hf.imaging.profiles import FORMATS, UnfitImage, decoding, to_srgb

MAX_PIXELS = 100_000_000
MAX_SIDE = 100_000
MAX_SCAN_PIXELS = 2_000_000_000  # a progressive JPEG's scans times its pixels; each scan passes over all of them

_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
_LACKS = "lacks the data of some of its pixels. It may be damaged: save it again as PNG."
_JUNK = bytes.fromhex("5a932ce147b81d76") * 2  # entropy-coded data without a marker
_ARITHMETIC = re.compile(rb"\xff[\xc9-\xcb]\x00[\x0b\x11\x14]\x08")  # frames of a JPEG
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a PNG's color types
_ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]

_LOCK = threading.Lock()
_users = 0  # of Pillow's settings as we need them
_before: tuple[bool, int | None] = False, None  # the settings of the others


def open_image(source: str | os.PathLike | bytes, max_pixels: int = MAX_PIXELS, name: str | None = None) -> Image.Image:
    """Decodes an image file to its end, turns it upright and converts its colors to sRGB.

    The content decides the format, which is one of `FORMATS`, or HEIC where pillow-heif is installed (the extra
    `heif`). Of an MPO or a HEIC, the photo itself is taken. A file that lacks data is refused, a PNG or JPEG also where
    an end mark follows. Left out with a warning are broken EXIF and color profiles that do not fit.

    Args:
        source: The file's path, or its content.
        max_pixels: Larger images are refused, on their header alone.
        name: What errors call the image; the path if left out.

    Returns:
        An image of mode "RGB", or "RGBA" where the file has transparency. Its `info` holds what can be written again:
        `exif` with orientation 1, `dpi`, the sRGB `icc_profile` if there was a profile, and `textir`.

    Raises:
        ValueError: The file is missing, unreadable, not an image, of another format, of several pages, too large, or
            cannot be decoded to its end.
    """
    if not isinstance(source, (str, os.PathLike, bytes)):
        raise ValueError(f"An image file must be given by its path or as bytes, got {type(source).__name__}.")
    name = name or ("The image" if isinstance(source, bytes) else str(source))
    max_pixels = number("max_pixels", max_pixels)
    content = source if isinstance(source, bytes) else _read(source, name)
    with decoding(name), _strict_pillow():
        return _decode(content, max_pixels, name)


def _read(source: str | os.PathLike, name: str) -> bytes:
    if is_url(source):
        raise ValueError(f"{name} is an address, and images are read from files. Download it first.")
    path = Path(source)
    try:
        if not path.is_file():
            raise ValueError(f"{path} is not a file. Give the path of an image.")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {(error.strerror or str(error)).lower()}.") from error


def is_url(path: str | os.PathLike) -> bool:
    """Whether a path is an address on the web."""
    return "://" in os.fspath(path)


@contextmanager
def _strict_pillow() -> Iterator[None]:
    """Keeps Pillow from filling up truncated files, and from its own limit, which only warns up to twice its value."""
    global _users, _before
    with _LOCK:
        if _users == 0:
            _before = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
            ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = False, None
        _users += 1
    try:
        yield
    finally:
        with _LOCK:
            _users -= 1
            if _users == 0:
                ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = _before


def _decode(content: bytes, max_pixels: int, name: str) -> Image.Image:
    brands = content[8 : min(int.from_bytes(content[:4], "big"), 256)] if content[4:8] == b"ftyp" else b""
    if any(brand in brands for brand in _HEIC):
        try:
            from pillow_heif import HeifImageFile
        except ImportError as error:
            raise UnfitImage('is a HEIC, and reading it needs an extra: pip install "textir-hf[heif]".') from error
        opened = HeifImageFile(io.BytesIO(content))
    else:
        opened = Image.open(io.BytesIO(content), formats=FORMATS)
    with opened as image:
        _check_header(image, content, max_pixels)
        image.load()
        if image.format == "PNG":
            _check_rows(content)
            _mend_transparency(image, content[24])
        elif image.format in ("JPEG", "MPO") and not _ARITHMETIC.search(content):  # that coding ends without a trace
            _check_last_scan(image, content)
        return to_srgb(image, name)


def _check_header(image: Image.Image, content: bytes, max_pixels: int) -> None:
    """Checks what can be known before any codec runs."""
    width, height = image.size
    if width * height > max_pixels or max(width, height) > MAX_SIDE:
        limit = f"{max_pixels / 1e6:g} million or {MAX_SIDE} a side"
        raise UnfitImage(f"has {width}x{height} pixels, more than {limit}. Shrink it, or raise max_pixels.")
    scans = content.count(b"\xff\xda") if content.startswith(b"\xff\xd8") else 1
    if scans * width * height > MAX_SCAN_PIXELS:
        raise UnfitImage(f"has {scans} scans, too many for {width}x{height} pixels. Save it as PNG.")
    if image.format not in ("MPO", "HEIF"):  # whose first frame is the photo itself
        try:
            image.seek(1)
        except EOFError:
            image.seek(0)
        else:
            raise UnfitImage("has several pages or frames, and one image is expected. Save one of them as PNG.")


def _check_rows(content: bytes) -> None:
    """Checks that a PNG's data are as long as its rows; Pillow would leave the rest black."""
    width, height, depth, color, _, _, interlaced = struct.unpack_from(">2I5B", content, 16)
    steps = _ADAM7 if interlaced else [(0, 0, 1, 1)]
    sizes = [(len(range(x, width, dx)), len(range(y, height, dy))) for x, y, dx, dy in steps]
    left = sum((1 + ceil(w * depth * _SAMPLES[color] / 8)) * h for w, h in sizes if w)
    stream, position = zlib.decompressobj(), 8
    while left > 0 and position + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, position)
        data = content[position + 8 : position + 8 + size] if kind == b"IDAT" else b""
        while data and left > 0:
            left -= len(stream.decompress(data, 1 << 20))
            data = stream.unconsumed_tail
        position += 12 + size
    if left > 0:
        raise UnfitImage(_LACKS)


def _check_last_scan(image: Image.Image, content: bytes) -> None:
    """Checks that a JPEG's data reach to its end mark; libjpeg would leave the rest gray.

    It skips what is put before the mark where the data are complete, and reads on into it where they are not.
    """
    end = content.rfind(b"\xff\xd9")
    junk = _JUNK + b"".join(bytes((0xFF, restart)) + _JUNK for restart in range(0xD0, 0xD8))
    with Image.open(io.BytesIO(content[:end] + junk + content[end:]), formats=["JPEG"]) as other:
        if ImageChops.difference(image, other).getbbox() is not None:
            raise UnfitImage(_LACKS)


def _mend_transparency(image: Image.Image, depth: int) -> None:
    """Brings a PNG's transparent color to the depth that its pixels were decoded to."""
    key = image.info.get("transparency")
    if image.mode == "L" and isinstance(key, int):
        image.info["transparency"] = key * 255 // (2**depth - 1)
    elif image.mode == "RGB" and depth == 16 and key is not None:
        image.info["transparency"] = tuple(value >> 8 for value in key)
