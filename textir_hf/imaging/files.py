"""Image files in and out: decoded whole, upright and in sRGB; written whole, with the settings that made them."""

import io
import json
import os
import threading
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from textir_hf.atomic import replacing
from textir_hf.imaging.metadata import metadata_options

MAX_PIXELS = 100_000_000
SETTINGS = "textir"  # key of the settings in an image's `info` and in its PNG text


class Format(NamedTuple):
    """What a file format can hold.

    Args:
        longest: Its longest side, pixels.
        transparent: Whether it has an alpha channel.
        options: Of Pillow, for results that lose nothing, or next to nothing.
    """

    longest: int
    transparent: bool
    options: dict


_ANY = 2**31 - 1
_JPEG = Format(65_500, False, {"quality": 95, "subsampling": "4:4:4"})
FORMATS = {
    ".png": Format(_ANY, True, {}),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": Format(16_383, True, {"lossless": True, "exact": True}),
    ".bmp": Format(_ANY, False, {}),
    ".tif": Format(_ANY, True, {}),
    ".tiff": Format(_ANY, True, {}),
}
SUFFIXES = tuple(FORMATS)  # of results
READABLE = (*SUFFIXES, ".avif", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".mpo")  # of images in a folder

_OPENING = threading.Lock()


def open_image(
    source: str | Path | bytes | io.BytesIO, max_pixels: int = MAX_PIXELS, name: str | None = None
) -> Image.Image:
    """Decodes an image file to its end, turns it upright and converts its colors to sRGB.

    Args:
        source: The file's path, or its content.
        max_pixels: Larger images are refused, on their header alone.
        name: What errors call the image; the path if left out.

    Raises:
        ValueError: The file is missing, is no image, is animated, too large, or cannot be decoded to its end.
    """
    if isinstance(source, (str, Path)) and not Path(source).is_file():
        raise ValueError(f"{source} is no file. Give the path of an image.")
    name = name or (str(source) if isinstance(source, (str, Path)) else "The image")
    try:
        with _open_header(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            if image.width * image.height > max_pixels:
                raise ValueError(
                    f"{name} has {image.width}x{image.height} pixels, more than {max_pixels / 1e6:g} million. Shrink "
                    "it, or raise max_pixels."
                )
            if getattr(image, "n_frames", 1) > 1:
                raise ValueError(f"{name} is animated ({image.n_frames} frames). Save one frame as PNG.")
            image.load()
            return to_srgb(image.copy())
    except UnidentifiedImageError as error:
        raise ValueError(f"{name} is not an image that Pillow can read. Convert it to PNG or JPEG.") from error
    except (OSError, SyntaxError, EOFError) as error:
        raise ValueError(f"{name} cannot be decoded ({error}). The file may be damaged.") from error


def _open_header(source: str | Path | io.BytesIO) -> Image.Image:
    """Opens without Pillow's own limit, which only warns up to twice its value; `open_image` has its own."""
    with _OPENING:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(source)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def to_srgb(image: Image.Image) -> Image.Image:
    """Upright, with the colors of an embedded profile converted to sRGB; the profile is then sRGB's.

    Pixels under a profile that calls itself sRGB stay as they are.
    """
    image = ImageOps.exif_transpose(image)
    profile = image.info.get("icc_profile")
    if not profile:
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower() and image.mode != "CMYK":
            return image
    except (ImageCms.PyCMSError, OSError):
        warnings.warn("The image's color profile is damaged and was ignored.", stacklevel=3)
        del image.info["icc_profile"]
        return image
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    if image.mode in ("P", "PA", "LA", "La", "RGBa", "RGBA", "RGBX"):
        image = image.convert("L" if image.mode in ("LA", "La") else "RGB")
    if image.mode in ("RGB", "L", "CMYK", "LAB"):
        try:
            image = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except ImageCms.PyCMSError as error:
            raise ValueError(f"The image's color profile does not fit its mode {image.mode}. Remove it.") from error
    if alpha is not None:
        image = image.convert("RGB")
        image.putalpha(alpha)
    image.info["icc_profile"] = srgb_profile()
    return image


@cache
def srgb_profile() -> bytes:
    """The sRGB profile, as it stands in a file."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def check_output(path: Path, size: tuple[int, int] | None = None, transparent: bool = False) -> None:
    """Checks that an image can be written to a path.

    Args:
        path: The file to write.
        size: Height and width of the image, if they are known.
        transparent: Whether the image has an alpha channel.

    Raises:
        ValueError: The suffix names no format; the format has no transparency, or is too small; or the path is a
            folder, in none, or in one that cannot be written to.
        OSError: The path is too long for the file system.
    """
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"The output {path} must end in one of {', '.join(FORMATS)}.")
    if transparent and not kind.transparent:
        raise ValueError(f"The output {path} would lose the image's transparency. Save it as .png, .webp or .tif.")
    if size is not None and max(size) > kind.longest:
        raise ValueError(
            f"The output {path} can have sides of {kind.longest} pixels at most, got {size[1]}x{size[0]}. Save it as "
            ".png."
        )
    with suppress(FileNotFoundError):
        os.lstat(path)  # where the path is too long, questions about it are answered with no
    if path.exists() and not path.is_file():
        raise ValueError(f"The output {path} exists and is no file. Choose another name.")
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise ValueError(f"The output folder {path.parent} does not exist. Create it first.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"No permission to write into the output folder {path.parent}. Choose another.")


def save_image(image: Image.Image, path: str | Path, metadata: bool = True) -> None:
    """Writes an image; if that fails, no half-written file is left and an older one stays.

    JPEGs get the quality 95 and full color resolution, WebPs are lossless.

    Args:
        image: The image.
        path: Its file.
        metadata: Write the "exif" and "dpi" of `image.info` and, into a PNG's text, the settings that made the image,
            "textir".

    Raises:
        ValueError: As in `check_output`, or the format cannot hold the image.
        OSError: The file cannot be written.
    """
    path = Path(path)
    check_output(path, (image.height, image.width), image.has_transparency_data)
    options = {"icc_profile": image.info.get("icc_profile")} | FORMATS[path.suffix.lower()].options
    if metadata:
        options |= metadata_options(image.info)
        if SETTINGS in image.info:
            text = json.dumps(image.info[SETTINGS], ensure_ascii=False)
            options["pnginfo"] = PngInfo()
            options["pnginfo"].add_itxt(SETTINGS, text.encode("utf-8", "backslashreplace").decode())
    content = io.BytesIO()  # encoders that write to a file themselves do not say why they could not
    try:
        image.save(content, Image.registered_extensions()[path.suffix.lower()], **options)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot hold the image: {error}") from error
    with replacing(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def read_settings(image: Image.Image) -> dict:
    """The settings that `save_image` wrote into a PNG; empty if there are none."""
    value = image.info.get(SETTINGS)
    try:
        value = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {}
