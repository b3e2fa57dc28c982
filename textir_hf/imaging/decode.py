"""The one decoder: an image file, by its content, to upright 8-bit sRGB; every failure is one sentence."""

import io
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageChops, ImageFile, PngImagePlugin

from textir_hf.checks import number
from textir_hf.imaging.profiles import FORMATS, UnfitImage, decoding, to_srgb

MAX_PIXELS = 100_000_000
MAX_SIDE = 100_000
MAX_BYTES = 1_000_000_000  # of a file, which is read at once
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
_MARKER = re.compile(rb"\xff+[^\x00\xff]")  # of a JPEG
_RESTARTS, _END, _ARITHMETIC = range(0xD0, 0xD8), 0xD9, range(0xC9, 0xD0)
_JUNK = bytes.fromhex("5a932ce147b81d76") * 2  # entropy-coded data without a marker
_LOCK = threading.RLock()


def open_image(source: str | os.PathLike | bytes, max_pixels: int = MAX_PIXELS, name: str | None = None) -> Image.Image:
    """Decodes an image file to its end, turns it upright and converts its colors to sRGB.

    The content decides the format, which is one of `FORMATS`, or HEIC where pillow-heif is installed (the extra
    `heif`). Of an MPO or a HEIC, the photo itself is taken. A file that lacks data is refused, also a JPEG with an end
    mark. Left out with a warning are broken EXIF, color profiles that do not fit, and a PNG's other color codes.

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
    path = Path(source)
    try:
        if not path.is_file():
            raise ValueError(f"{source} is not a file. Give the path of an image.")
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
    """Keeps Pillow from filling up truncated files, and from limits of its own, whatever other libraries have set."""
    with _LOCK:
        before = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK
        ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = False, None
        PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = before


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
        width, height = image.size
        if width * height > max_pixels or max(width, height) > MAX_SIDE:
            limit = f"{max_pixels / 1e6:g} million or {MAX_SIDE} a side"
            raise UnfitImage(f"has {width}x{height} pixels, more than {limit}. Shrink it, or raise max_pixels.")
        if image.format not in ("MPO", "HEIF") and getattr(image, "n_frames", 1) > 1:  # the first is the photo itself
            raise UnfitImage("has several pages or frames, and one image is expected. Save one of them as PNG.")
        image.load()
        if image.format in ("JPEG", "MPO"):
            _check_jpeg(image, content)
        if image.format == "PNG" and (place := content.find(b"cICP", 0, content.find(b"IDAT"))) > 0:
            image.info["cicp"] = tuple(content[place + 4 : place + 6])  # ITU-T H.273: primaries, transfer function
        return to_srgb(image, name)


def _check_jpeg(image: Image.Image, content: bytes) -> None:
    """Checks that a JPEG has data for all of its pixels: a decoder that meets the end mark early fills up with gray.

    It skips junk before that mark where the data are complete, and decodes it to pixels where they are not. The junk
    holds a restart marker, in case whole intervals are missing.
    """
    position, restart = 2, 0
    while match := _MARKER.search(content, position):
        kind, position = content[match.end() - 1], match.end()
        if kind in _ARITHMETIC:  # a coding that ends without a trace
            return
        if kind == _END:
            break
        if kind in _RESTARTS:
            restart = (kind - _RESTARTS.start + 1) % 8
        else:  # a segment, such as a scan's header
            restart = 0
            position += int.from_bytes(content[position : position + 2], "big")
    place = match.start() if match else len(content)
    junk = _JUNK + bytes((0xFF, _RESTARTS.start + restart)) + _JUNK
    with Image.open(io.BytesIO(content[:place] + junk + content[place:]), formats=["JPEG"]) as other:
        if ImageChops.difference(image, other).getbbox() is not None:
            raise UnfitImage("lacks the data of some of its pixels. It may be damaged: save it again as PNG.")
