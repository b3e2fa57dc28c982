"""Image files in and out: decoded whole, upright and in sRGB; written whole, with the settings that made them."""

import io
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from textir_hf.atomic import replacing
from textir_hf.checks import boolean, shown
from textir_hf.imaging.decode import MAX_PIXELS as MAX_PIXELS
from textir_hf.imaging.decode import open_image as open_image

SETTINGS = "textir"  # key of the settings in an image's `info` and in its PNG text
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")  # of results
LONGEST = {".jpg": 65_500, ".jpeg": 65_500, ".webp": 16_383}  # side, pixels
OPAQUE = (".jpg", ".jpeg", ".bmp")
_JPEG = {"quality": 95, "subsampling": "4:4:4"}
OPTIONS: dict[str, dict] = {".jpg": _JPEG, ".jpeg": _JPEG, ".webp": {"lossless": True, "exact": True}}  # of Pillow
_READ_ALONE = (".avif", ".gif", ".heic", ".heif", ".hif", ".jfif", ".jpe", ".mpo")
READABLE = (*SUFFIXES, *_READ_ALONE)  # of images in a folder


def image_names(folder: Path, recursive: bool = True, without: Path | None = None) -> Iterator[Path]:
    """The images below a folder, relative to it, but for hidden ones and those in `without`; links are followed."""

    def stop(error: OSError) -> None:
        raise error

    seen = {os.path.realpath(without)} if without is not None else set()
    for place, folders, files in os.walk(folder, onerror=stop, followlinks=True):
        seen.add(os.path.realpath(place))
        shown = [n for n in folders if n[0] != "." and os.path.realpath(os.path.join(place, n)) not in seen]
        folders[:] = sorted(shown) if recursive else []
        for name in files:
            if name[0] != "." and Path(name).suffix.lower() in READABLE:
                yield (Path(place) / name).relative_to(folder)


def check_output(path: Path, size: tuple[int, int] | None = None, transparent: bool = False) -> None:
    """Checks that an image of `size` (height, width) can be written to a path."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"The output {path} must end in one of {', '.join(SUFFIXES)}.")
    if transparent and suffix in OPAQUE:
        raise ValueError(f"The output {path} would lose the image's transparency. Save it as .png, .webp or .tif.")
    if size is not None and max(size) > LONGEST.get(suffix, math.inf):
        got = f"{size[1]}x{size[0]}"
        raise ValueError(f"The output {path} can have sides of {LONGEST[suffix]} pixels at most, got {got}. Use .png.")
    if path.exists() and not path.is_file():
        raise ValueError(f"The output {path} exists and is not a file. Choose another name.")
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
        ValueError: As in `check_output`, it is not a PIL image with pixels, or the format cannot hold it.
        OSError: The file cannot be written.
    """
    if not isinstance(image, Image.Image) or 0 in image.size:
        raise ValueError(f"Only a PIL image with pixels can be saved to {path}, got {shown(image)}.")
    path = Path(path)
    check_output(path, (image.height, image.width), image.has_transparency_data)
    options: dict = {"icc_profile": image.info.get("icc_profile")} | OPTIONS.get(path.suffix.lower(), {})
    if boolean("metadata", metadata):
        options |= {"exif": image.info["exif"]} if "exif" in image.info else {}
        dpi = image.info.get("dpi")
        if isinstance(dpi, tuple) and len(dpi) == 2 and all(1 <= float(value) < 2**16 for value in dpi):
            options["dpi"] = tuple(map(float, dpi))
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
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {}


def carry_over(source: Image.Image, result: Image.Image) -> None:
    """Puts what is known of a source image besides its pixels into a result's `info`, where `save_image` finds it."""
    result.info.update({name: source.info[name] for name in ("exif", "dpi") if name in source.info})
