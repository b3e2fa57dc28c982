"""Metadata of an image file that is written: date, camera, place and resolution, but no orientation or thumbnail."""

import math
import warnings
from typing import Any

from PIL import ExifTags, Image

_STRUCTURE = {  # of a TIFF's pixels
    *range(254, 270),  # kinds and sizes, from NewSubfileType to CellLength
    *range(273, 298),  # strips, and the resolution, which `dpi` has
    *range(317, 348),  # predictor, colors, tiles, sub-images
    *range(512, 533),  # an old JPEG's tables and the thumbnail
    700,  # XMP, which has an orientation of its own
    34377,  # Photoshop's blocks, which have a thumbnail
    34675,  # the color profile
    50341,  # print matching
}
_OUTDATED = {  # wrong for an image of other pixels, or readable only where it stood
    ExifTags.Base.ExifImageWidth,
    ExifTags.Base.ExifImageHeight,
    ExifTags.Base.MakerNote,
    ExifTags.Base.ExifInteroperabilityOffset,
}
_LONGEST = 65_000  # bytes that a JPEG has room for
_PARTS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)


CARRIED = ("exif", "dpi")  # keys of `Image.info`


def carry_over(source: Image.Image, result: Image.Image) -> None:
    """Puts what is known of a source image besides its pixels into a result's `info`, where `save_image` finds it."""
    result.info.update({name: source.info[name] for name in CARRIED if name in source.info})


def metadata_options(info: dict) -> dict:
    """Pillow's options that write the "exif" and "dpi" of an image's `info`; what cannot be written is left out."""
    options: dict[str, Any] = {}
    exif = upright_exif(info["exif"]) if "exif" in info else None
    if exif is not None:
        options["exif"] = exif
    dpi = info.get("dpi")
    if isinstance(dpi, tuple) and len(dpi) == 2 and all(_is_density(value) for value in dpi):
        options["dpi"] = tuple(float(value) for value in dpi)
    return options


def _is_density(value: float) -> bool:
    return math.isfinite(float(value)) and 1 <= value < 2**16


def upright_exif(content: bytes) -> bytes | None:
    """EXIF with date, camera and place of the given one and the orientation 1; None if nothing of it can be read."""
    exif, kept = Image.Exif(), Image.Exif()
    try:
        exif.load(content)
        parts = {tag: exif.get_ifd(tag) for tag in _PARTS}
    except Exception:  # Pillow's parser raises what it happens to meet
        warnings.warn("The image's EXIF cannot be read and was not carried over.", stacklevel=3)
        return None
    for tag, value in exif.items():
        if tag not in _STRUCTURE | _OUTDATED | {ExifTags.Base.Orientation, *_PARTS} and _is_writable({tag: value}):
            kept[tag] = value
    for tag, part in parts.items():
        values = {k: v for k, v in part.items() if k not in _OUTDATED and _is_writable({tag: {k: v}})}
        if values:
            kept[tag] = values
    if not len(kept):
        return None
    kept[ExifTags.Base.Orientation] = 1
    written = kept.tobytes()
    if len(written) > _LONGEST:
        warnings.warn(f"The image's EXIF has more than {_LONGEST} bytes and was not carried over.", stacklevel=3)
        return None
    return written


def _is_writable(tags: dict) -> bool:
    """Whether Pillow can write what it has read: it reads values that the format does not allow."""
    exif = Image.Exif()
    exif.update(tags)
    try:
        exif.tobytes()
    except Exception:
        return False
    return True
