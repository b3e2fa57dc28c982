"""Any PIL image to upright 8-bit sRGB: its EXIF orientation, its transparency, its bits, its color profile."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache

import numpy as np
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "AVIF", "GIF")
_KEPT = ("dpi", "icc_profile", "textir")  # of `Image.info`: what a result can carry on
_EXIF = (270, 271, 272, 305, 306, 315, 33432, 36867)  # description, make, model, software, dates, artist, copyright
_OUTDATED = {  # of its parts: wrong for an image of other pixels, or readable only where it stood
    ExifTags.Base.ExifImageWidth,
    ExifTags.Base.ExifImageHeight,
    ExifTags.Base.MakerNote,
    ExifTags.Base.ExifInteroperabilityOffset,
}
_SPACES = {"RGB": "RGB", "L": "GRAY", "I;16": "GRAY", "CMYK": "CMYK"}  # color space of a mode's profile
_CLASSES = ("scnr", "mntr", "prtr", "spac")  # profiles of devices and of color spaces
_TOLERANCE = 2  # 8-bit levels by which a profile's conversion may differ from none
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnfitImage(ValueError):
    """Why an image is refused: a sentence that continues the image's name."""


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turns whatever a codec raises into a ValueError about the image `name`."""
    try:
        yield
    except UnfitImage as error:
        raise ValueError(f"{name} {error}") from error
    except UnidentifiedImageError as error:
        formats = ", ".join((*FORMATS, "HEIC"))
        raise ValueError(f"{name} is not an image of a known format ({formats}), or is damaged.") from error
    except (MemoryError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} needs more memory than there is. Shrink it.") from error
    except Exception as error:  # codecs raise whatever their parsers stumble over
        reason = " ".join(str(error).split()).rstrip(".")[:200] or type(error).__name__
        raise ValueError(f"{name} cannot be decoded ({reason}). It may be damaged: save it again as PNG.") from error


def to_srgb(image: Image.Image, name: str = "The image") -> Image.Image:
    """Upright, 8 bits a channel, with the colors of an embedded profile converted to sRGB; the profile is then sRGB's.

    Colors under a profile that means sRGB, whatever its name, stay as they are. Mode "I" has 8 bits where no value is
    above 255, else 16. The result is a new image of mode "RGB" or "RGBA".
    """
    if 0 in image.size:
        raise UnfitImage(f"has {image.width}x{image.height} pixels, so there is nothing to see.")
    image, exif = _upright(image, name)
    info = {key: image.info[key] for key in _KEPT if image.info.get(key)} | {"exif": exif}
    alpha, color = _alpha(image), _without_alpha(image)
    if "icc_profile" in image.info:
        try:
            transform = _transform(image.info["icc_profile"] or b"", color.mode)
            color = color if transform is None else transform.apply(color)
            info["icc_profile"] = srgb_profile().tobytes()
        except ValueError as error:
            warnings.warn(f"{name} has a color profile that {error}. It was ignored.", stacklevel=2)
            info["icc_profile"] = None
    if color.mode == "I;16":
        color = Image.fromarray(to_8_bits(np.asarray(color)))
    color = color.convert("RGB")  # a new image, whatever the mode
    if alpha is not None:
        color.putalpha(alpha)
    color.info = {key: value for key, value in info.items() if value}
    return color


def _upright(image: Image.Image, name: str) -> tuple[Image.Image, bytes | None]:
    """An image turned as its EXIF says; and date, camera, author and place of its EXIF, with the orientation 1."""
    turn, written, kept = None, None, Image.Exif()
    try:
        exif = image.getexif()  # a TIFF's, XMP's and a PNG's text too
        turn = _TURNS.get(exif.get(ExifTags.Base.Orientation, 1))
        if "exif" in image.info:
            exif.tobytes()  # raises where values are damaged
        kept.update({tag: exif[tag] for tag in _EXIF if tag in exif} if len(exif) else {})
        for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo) if len(exif) else ():
            values = {tag: value for tag, value in exif.get_ifd(part).items() if tag not in _OUTDATED}
            if values:
                kept[part] = values
        if len(kept):
            kept[ExifTags.Base.Orientation] = 1
            written = kept.tobytes()
            if len(written) > 65_000:
                raise ValueError("more than a JPEG has room for")
    except Exception as error:  # its parser raises whatever it stumbles over
        written, reason = None, " ".join(str(error).split())[:100]
        warnings.warn(f"{name} has damaged EXIF data, which were left out ({reason}).", stacklevel=2)
    return image if turn is None else image.transpose(turn), written


def _alpha(image: Image.Image) -> Image.Image | None:
    if not image.has_transparency_data:
        return None
    if image.mode == "I;16":  # Pillow would compare 8 of its bits with the one color that is transparent
        return Image.fromarray(np.where(np.asarray(image) == image.info["transparency"], 0, 255).astype(np.uint8))
    return image.convert("RGBA").getchannel("A")


def _without_alpha(image: Image.Image) -> Image.Image:
    """In one of the modes that color profiles know: "L", "I;16", "RGB" or "CMYK"."""
    if image.mode == "F":
        raise UnfitImage('must have 8 or 16 bits a channel, got mode "F". Convert it to "RGB" first.')
    if image.mode.startswith("I"):
        array = np.asarray(image)
        if array.min() < 0 or array.max() > 65535:
            raise UnfitImage(f"must have 8 or 16 bits a channel, got values {array.min()}..{array.max()}. Convert it.")
        eight = image.mode == "I" and array.max() <= 255  # as 16 bits, all of it would be black
        return Image.fromarray(array.astype(np.uint8 if eight else np.uint16))
    if image.mode in ("1", "LA", "La"):
        return image.convert("L")
    if image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
        image = image.convert("RGBA")  # Pillow warns of the step without it
    return image if image.mode in _SPACES else image.convert("RGB")


def to_8_bits(array: np.ndarray) -> np.ndarray:
    """0..65535 to 0..255, uint8, rounded."""
    return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From a profile to sRGB; None if that changes nothing: all grays, and 512 colors, come out as they were."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space, kind = source.profile.xcolor_space.strip(), source.profile.device_class.strip()
        if space != _SPACES[mode] or kind not in _CLASSES:
            raise ValueError(f"is of class {kind} for {space} colors and does not fit the image's mode {mode}")
        transform = ImageCms.buildTransform(source, srgb_profile(), mode, "RGB")
    except (OSError, ImageCms.PyCMSError) as error:
        raise ValueError("is damaged") from error
    if mode not in ("RGB", "L"):
        return transform
    levels = np.arange(256, dtype=np.uint8)
    colors = np.stack(np.meshgrid(*[levels[::32]] * 3), -1).reshape(-1, 3)
    probe = Image.fromarray(np.concatenate([levels[:, None].repeat(3, 1), colors])[None]).convert(mode)
    converted = np.asarray(transform.apply(probe)).astype(int)
    return None if np.abs(converted - np.asarray(probe.convert("RGB"))).max() <= _TOLERANCE else transform


@cache
def srgb_profile() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
