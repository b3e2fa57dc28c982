"""Image files in and out: decoded whole, upright and in sRGB; written whole, with the settings that made them."""

import io
import json
import os
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from textir_hf.atomic import replacing
from textir_hf.checks import boolean, shown
from textir_hf.imaging.decode import MAX_PIXELS as MAX_PIXELS
from textir_hf.imaging.decode import open_image as open_image

_KEPT = (270, 271, 272, 305, 306, 315, 33432)  # description, make, model, software, date, artist, copyright
_OUTDATED = {  # of the parts: wrong for an image of other pixels, or readable only where it stood
    ExifTags.Base.ExifImageWidth,
    ExifTags.Base.ExifImageHeight,
    ExifTags.Base.MakerNote,
    ExifTags.Base.ExifInteroperabilityOffset,
}
_LONGEST = 65_000  # bytes that a JPEG has room for
_PARTS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
CARRIED = ("exif", "dpi")  # keys of `Image.info`
SETTINGS = "textir"  # key of the settings in an image's `info` and in its PNG text


class Format(NamedTuple):
    """What a file format can hold."""

    longest: int  # side, pixels
    transparent: bool
    options: dict  # of Pillow, for results that lose nothing, or next to nothing


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
_READ_ALONE = (".avif", ".gif", ".heic", ".heif", ".hif", ".jfif", ".jpe", ".mpo")
READABLE = (*SUFFIXES, *_READ_ALONE)  # of images in a folder


def image_names(folder: Path, recursive: bool = True, without: Path | None = None) -> Iterator[Path]:
    """The images below a folder, relative to it, but for hidden ones and those in `without`; links are followed."""

    def stop(error: OSError) -> None:
        raise error

    seen = {_identity(without)} if without is not None and without.exists() else set()
    for place, folders, files in os.walk(folder, onerror=stop, followlinks=True):
        seen.add(_identity(place))
        shown = [
            name for name in folders if not name.startswith(".") and _identity(os.path.join(place, name)) not in seen
        ]
        folders[:] = sorted(shown) if recursive else []
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in READABLE:
                yield (Path(place) / name).relative_to(folder)


def _identity(path: str | Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def check_output(path: Path, size: tuple[int, int] | None = None, transparent: bool = False) -> None:
    """Checks that an image of `size` (height, width) can be written to a path."""
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"The output {path} must end in one of {', '.join(FORMATS)}.")
    if transparent and not kind.transparent:
        raise ValueError(f"The output {path} would lose the image's transparency. Save it as .png, .webp or .tif.")
    if size is not None and max(size) > kind.longest:
        got = f"{size[1]}x{size[0]}"
        raise ValueError(f"The output {path} can have sides of {kind.longest} pixels at most, got {got}. Use .png.")
    with suppress(FileNotFoundError):
        os.lstat(path)  # where the path is too long, questions about it are answered with no
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
    options: dict = {"icc_profile": image.info.get("icc_profile")} | FORMATS[path.suffix.lower()].options
    if boolean("metadata", metadata):
        exif = upright_exif(image.info["exif"]) if "exif" in image.info else None
        options |= {} if exif is None else {"exif": exif}
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
    result.info.update({name: source.info[name] for name in CARRIED if name in source.info})


def upright_exif(content: bytes) -> bytes | None:
    """EXIF with date, camera and place of the given one and the orientation 1; None if nothing of it can be read."""
    exif, kept = Image.Exif(), Image.Exif()
    try:
        exif.load(content)
        parts = {tag: exif.get_ifd(tag) for tag in _PARTS}
    except Exception:  # Pillow's parser raises what it happens to meet
        warnings.warn("The image's EXIF cannot be read and was not carried over.", stacklevel=3)
        return None
    kept.update({tag: exif[tag] for tag in _KEPT if tag in exif and _is_writable({tag: exif[tag]})})
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
