"""The one decoder: an image file, by its content, to upright 8-bit sRGB; every failure is one sentence."""

import io
import os
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageFile

from textir_hf.checks import number
from textir_hf.imaging.complete import check_complete, png_chunks
from textir_hf.imaging.profiles import FORMATS, UnfitImage, decoding, to_srgb

MAX_PIXELS = 100_000_000
MAX_SIDE = 100_000
MAX_BYTES = 1_000_000_000  # of a file, which is read at once
MAX_SCAN_PIXELS = 2_000_000_000  # a progressive JPEG's scans times its pixels; each scan passes over all of them

_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
_TEXT = (b"tEXt", b"zTXt", b"iTXt")
_MOST_TEXT = 1 << 20  # bytes
_USED = (b"textir\0", b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")  # texts with settings or an orientation

_LOCK = threading.Lock()
_users = 0  # of Pillow's settings as we need them
_before: tuple[bool, int | None] = False, None  # the settings of the others


def open_image(source: str | os.PathLike | bytes, max_pixels: int = MAX_PIXELS, name: str | None = None) -> Image.Image:
    """Decodes an image file to its end, turns it upright and converts its colors to sRGB.

    The content decides the format, which is one of `FORMATS`, or HEIC where pillow-heif is installed (the extra
    `heif`). Of an MPO or a HEIC, the photo itself is taken. A file that lacks data is refused, also where an end mark
    follows. This cannot be known of JPEGs with arithmetic coding, nor of damage inside a HEIC. Left out with a warning
    are broken EXIF, color profiles that do not fit, other color codes, and a PNG's text of many megabytes.

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
    bare = _without_text(content)  # Pillow refuses a PNG whose text is large
    if len(content) - len(bare) > _MOST_TEXT:
        warnings.warn(f"{name} has too much text beside its pixels, which was left out.", stacklevel=2)
    with decoding(name), _strict_pillow():
        return _decode(bare, max_pixels, name)


def _read(source: str | os.PathLike, name: str) -> bytes:
    if is_url(source):
        raise ValueError(f"{name} is an address, and images are read from files. Download it first.")
    path = Path(source)
    try:
        if not path.is_file():
            raise ValueError(f"{path} is not a file. Give the path of an image.")
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{name} has more than {MAX_BYTES // 10**6} MB. Compress or shrink it.")
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
        check_complete(image, content)
        _mend_transparency(image, content)
        image.info["cicp"] = _color_code(content)
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


def _without_text(content: bytes) -> bytes:
    """A PNG without its text, except what `open_image` uses; other files as they are."""
    kept, position = [], 0
    for kind, start, size in png_chunks(content):
        if kind in _TEXT and not (content.startswith(_USED, start) and size < _MOST_TEXT):
            kept.append(content[position : start - 8])
            position = start + size + 4
    return b"".join([*kept, content[position:]])


def _color_code(content: bytes) -> tuple[int, int] | None:
    """The numbers of ITU-T H.273 for an image's primaries and transfer function, if a PNG, AVIF or HEIC has them."""
    if content[4:8] == b"ftyp" and (box := content.find(b"colrnclx", 0, 1 << 20)) >= 0:
        return struct.unpack_from(">HH", content, box + 8)
    codes = [struct.unpack_from(">BB", content, start) for kind, start, _ in png_chunks(content) if kind == b"cICP"]
    return codes[0] if codes else None


def _mend_transparency(image: Image.Image, content: bytes) -> None:
    """Brings a PNG's transparent color to the depth that its pixels were decoded to."""
    key = image.info.get("transparency")
    depth = content[24] if image.format == "PNG" else 8
    if image.mode == "L" and isinstance(key, int):
        image.info["transparency"] = key * 255 // (2**depth - 1)
    elif image.mode == "RGB" and depth == 16 and key is not None:
        image.info["transparency"] = tuple(value >> 8 for value in key)
