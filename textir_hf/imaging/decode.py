"""The one decoder: an image file, by its content, to upright 8-bit sRGB; every failure is one sentence."""

import io
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageChops, ImageFile, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from textir_hf.checks import number
from textir_hf.imaging.complete import LACKS, check_rows, check_tiles, with_junk
from textir_hf.imaging.containers import (
    UnfitImage,
    check_opened,
    check_parts,
    color_code,
    is_heic,
    jpeg_strips,
    without_text,
)
from textir_hf.imaging.profiles import to_srgb

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "GIF")
MAX_PIXELS = 100_000_000
MAX_SIDE = 100_000
MAX_BYTES = 1_000_000_000

_OPENING = threading.Lock()
_strict, _lenient = 0, False  # how many are being decoded, and what Pillow was told before


def open_image(source: str | os.PathLike | bytes, max_pixels: int = MAX_PIXELS, name: str | None = None) -> Image.Image:
    """Decodes an image file to its end, turns it upright and converts its colors to sRGB.

    The content decides the format, which is one of `FORMATS`, or HEIC where pillow-heif is installed (the extra
    `heif`). Of an MPO or a HEIC, the photo itself is taken. A file that lacks data is refused, also where an end mark
    follows. This cannot be known of JPEGs with arithmetic coding, nor of damage inside a HEIC. Left out with a warning
    are broken EXIF, color profiles that do not fit, colors that a file describes without a profile, and a PNG's text
    of many megabytes.

    Args:
        source: The file's path, or its content.
        max_pixels: Larger images are refused, on their header alone.
        name: What errors call the image; the path if left out.

    Returns:
        An image of mode "RGB", or "RGBA" where the file has transparency. Its `info` holds what can be written again:
        `exif` with orientation 1, `dpi`, the sRGB `icc_profile` if there was a profile, and `textir`.

    Raises:
        ValueError: The file is missing, unreadable, no image, of another format, of several pages, too large, or
            cannot be decoded to its end.
    """
    if not isinstance(source, (str, os.PathLike, bytes)):
        raise ValueError(f"An image file must be given by its path or as bytes, got {type(source).__name__}.")
    if name is None:
        name = "The image" if isinstance(source, bytes) else str(source)
    max_pixels = number("max_pixels", max_pixels)
    content = source if isinstance(source, bytes) else _read(source, name)
    with decoding(name), _strictly():
        check_parts(content)
        try:
            return _decode(content, max_pixels, name)
        except UnfitImage:
            raise
        except ValueError:  # Pillow refuses a PNG whose text is large
            bare = without_text(content)
            if len(bare) == len(content):
                raise
            image = _decode(bare, max_pixels, name)
            warnings.warn(f"{name} has too much text beside its pixels, which was left out.", stacklevel=2)
            return image


def _decode(content: bytes, max_pixels: int, name: str) -> Image.Image:
    with _open_header(content) as image:
        _check_size(image, max_pixels)
        check_opened(image, content)
        image.load()
        _check_complete(image, content)
        _mend_transparency(image, content)
        image.info["cicp"] = color_code(content)
        return to_srgb(image, name)


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
def decoding(name: str) -> Iterator[None]:
    """Turns whatever a codec raises into one kind of error.

    Args:
        name: What the error calls the image.

    Raises:
        ValueError: Anything was raised.
    """
    try:
        yield
    except UnfitImage as error:
        raise ValueError(f"{name} {error}") from error
    except UnidentifiedImageError as error:
        raise ValueError(
            f"{name} is not an image of a known format ({', '.join(FORMATS)}, HEIC), or its header is damaged. "
            "Convert it to PNG."
        ) from error
    except (MemoryError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} needs more memory than there is. Shrink it.") from error
    except Exception as error:  # codecs raise whatever their parsers stumble over
        reason = " ".join(str(error).split()).rstrip(".")[:200] or type(error).__name__
        raise ValueError(f"{name} cannot be decoded ({reason}). It may be damaged: save it anew as PNG.") from error


def _open_header(content: bytes) -> Image.Image:
    """Opens without Pillow's own limit, which only warns up to twice its value; `_check_size` has others."""
    if is_heic(content):
        return _open_heic(content)
    with _OPENING:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(io.BytesIO(content), formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _open_heic(content: bytes) -> Image.Image:
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise UnfitImage('is a HEIC, and reading it needs an extra: pip install "textir-hf[heif]".') from error
    return HeifImageFile(io.BytesIO(content))


@contextmanager
def _strictly() -> Iterator[None]:
    """Keeps Pillow from filling up files that are cut, where another library has told it to."""
    global _strict, _lenient
    with _OPENING:
        if _strict == 0:
            _lenient, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
        _strict += 1
    try:
        yield
    finally:
        with _OPENING:
            _strict -= 1
            if _strict == 0:
                ImageFile.LOAD_TRUNCATED_IMAGES = _lenient


def _check_complete(image: Image.Image, content: bytes) -> None:
    if image.format == "PNG":
        check_rows(content)
    elif image.format == "JPEG2000":
        check_tiles(content)
    elif image.format in ("JPEG", "MPO"):
        _check_jpeg(image, content)
    elif isinstance(image, TiffImageFile):
        for strip in jpeg_strips(image.tag_v2, content):
            with _open_header(strip) as part:
                _check_jpeg(part, strip)


def _check_jpeg(image: Image.Image, content: bytes) -> None:
    changed = with_junk(content)
    if changed is not None:
        with _open_header(changed) as other:
            if ImageChops.difference(image, other).getbbox() is not None:
                raise UnfitImage(LACKS)


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise UnfitImage(
            f"has {width}x{height} pixels, more than {max_pixels / 1e6:g} million. Shrink it, or raise max_pixels."
        )
    if max(width, height) > MAX_SIDE:
        raise UnfitImage(f"has {width}x{height} pixels, and a side may have {MAX_SIDE}. Crop it.")


def _mend_transparency(image: Image.Image, content: bytes) -> None:
    """Brings a PNG's transparent color to the depth that its pixels were decoded to."""
    key = image.info.get("transparency")
    depth = content[24] if image.format == "PNG" else 8
    if image.mode == "L" and isinstance(key, int):
        image.info["transparency"] = key * 255 // (2**depth - 1)
    elif image.mode == "RGB" and depth == 16 and key is not None:
        image.info["transparency"] = tuple(value >> 8 for value in key)
