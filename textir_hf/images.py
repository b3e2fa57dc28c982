"""Pictures in and out: files, PIL images, arrays and tensors to 8-bit RGB and back."""

import io
import json
import os
import tempfile
import threading
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
MAX_PIXELS = 100_000_000
SETTINGS = "textir"  # key of the settings in a picture's `info` and in its PNG text
Picture = Image.Image | np.ndarray | Tensor

_OPENING = threading.Lock()


@dataclass
class Raster:
    """A picture as arrays.

    Args:
        rgb: `[H, W, 3]` uint8, sRGB.
        alpha: `[H, W]` uint8, or None for an opaque picture.
        profile: The sRGB profile that the result shall carry, if the source carried one.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None = None
    profile: bytes | None = None


def open_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Reads a picture file whole, turns it upright and converts its colours to sRGB.

    Args:
        path: The file.
        max_pixels: Larger pictures are refused, on their header alone.

    Raises:
        ValueError: The file is missing, is no picture, is animated, too large, or cannot be decoded to its end.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is no file. Give the path of a picture.")
    try:
        with _open_header(path) as image:
            if image.width * image.height > max_pixels:
                raise ValueError(
                    f"{path} has {image.width}x{image.height} pixels, more than {max_pixels / 1e6:g} million. Shrink "
                    "it, or raise max_pixels."
                )
            if getattr(image, "n_frames", 1) > 1:
                raise ValueError(f"{path} is animated ({image.n_frames} frames). Save one frame as PNG.")
            image.load()
            return to_srgb(image.copy())
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} is not a picture that Pillow can read. Convert it to PNG or JPEG.") from error
    except (OSError, SyntaxError, EOFError) as error:
        raise ValueError(f"{path} cannot be decoded ({error}). The file may be damaged.") from error


def _open_header(path: Path) -> Image.Image:
    """Opens without Pillow's own limit, which only warns up to twice its value; `open_image` has its own."""
    with _OPENING:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def to_srgb(image: Image.Image) -> Image.Image:
    """Upright, with the colours of an embedded profile converted to sRGB; the profile is then sRGB's.

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
        warnings.warn("The picture's colour profile is damaged and was left aside.", stacklevel=3)
        del image.info["icc_profile"]
        return image
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    if image.mode in ("P", "PA", "LA", "La", "RGBa", "RGBA", "RGBX"):
        image = image.convert("L" if image.mode in ("LA", "La") else "RGB")
    if image.mode in ("RGB", "L", "CMYK", "LAB"):
        try:
            image = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except ImageCms.PyCMSError as error:
            raise ValueError(f"The picture's colour profile does not fit its mode {image.mode}. Remove it.") from error
    if alpha is not None:
        image = image.convert("RGB")
        image.putalpha(alpha)
    image.info["icc_profile"] = srgb_profile()
    return image


@cache
def srgb_profile() -> bytes:
    """The sRGB profile, as it stands in a file."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def save_image(image: Image.Image, path: str | Path, settings: bool = True) -> None:
    """Writes a picture under a temporary name and renames it, so that no half-written file is ever left.

    Args:
        image: The picture.
        path: Its file.
        settings: Write the settings that made it (`image.info["textir"]`) into a PNG's text.

    Raises:
        ValueError: The suffix names no format, the format has no transparency, or the folder does not exist.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"The output {path} must end in one of {', '.join(SUFFIXES)}.")
    if path.suffix.lower() in (".jpg", ".jpeg") and image.has_transparency_data:
        raise ValueError(f"The output {path} is a JPEG, which has no transparency. Save the picture as PNG.")
    if not path.parent.is_dir():
        raise ValueError(f"The output folder {path.parent} does not exist. Create it first.")
    options = {"icc_profile": image.info.get("icc_profile")}
    if path.suffix.lower() == ".png" and settings and SETTINGS in image.info:
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt(SETTINGS, json.dumps(image.info[SETTINGS], ensure_ascii=False))
    if path.suffix.lower() in (".jpg", ".jpeg", ".webp"):
        options["quality"] = 95
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".textir-", suffix=path.suffix)
    os.close(handle)
    try:
        image.save(temporary, **options)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read_settings(image: Image.Image) -> dict:
    """The settings that `save_image` wrote into a PNG; empty if there are none."""
    value = image.info.get(SETTINGS)
    try:
        value = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {}


def to_raster(picture: Picture) -> Raster:
    """One picture as 8-bit RGB and, if it is transparent anywhere, its alpha.

    Args:
        picture: A PIL image of any mode with 8 or 16 bits; an array `[H, W]`, `[H, W, 1]`, `[H, W, 3]` or
            `[H, W, 4]`, uint8, uint16 or float in [0, 1]; or a tensor `[C, H, W]` with the same channels, uint8 or
            float in [0, 1].

    Raises:
        ValueError: The shape, range or mode is another.
        TypeError: It is none of these types.
    """
    if isinstance(picture, Image.Image):
        picture = to_srgb(picture)
        return _split(_pil_array(picture), picture.info.get("icc_profile"))
    if isinstance(picture, Tensor):
        picture = picture.detach().cpu()
        picture = (picture.float() if picture.is_floating_point() else picture).numpy()
        picture = np.moveaxis(picture, 0, -1) if picture.ndim == 3 else picture
    if not isinstance(picture, np.ndarray):
        raise TypeError(f"image must be a PIL image, an array or a tensor, got {type(picture).__name__}.")
    if picture.ndim == 2:
        picture = picture[..., None]
    if picture.ndim != 3 or picture.shape[-1] not in (1, 3, 4) or 0 in picture.shape:
        raise ValueError(f"image must be [H, W, 3] as an array or [3, H, W] as a tensor, got {list(picture.shape)}.")
    if picture.dtype == np.uint16:
        picture = ((picture.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif picture.dtype != np.uint8:
        if not (np.isfinite(picture).all() and picture.min() >= 0 and picture.max() <= 1):
            raise ValueError(f"image must lie in [0, 1], got {picture.min():.3g} to {picture.max():.3g}.")
        picture = (picture * 255).round().astype(np.uint8)
    return _split(picture, None)


def _pil_array(image: Image.Image) -> np.ndarray:
    """`[H, W, C]` uint8 of a PIL image of any mode."""
    if image.mode.startswith("I"):
        array = np.asarray(image)
        if array.min() < 0 or array.max() > 65535:
            raise ValueError(f"image must have 8 or 16 bits a channel, got values of {array.min()} to {array.max()}.")
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)[..., None]
    if image.mode == "F":
        raise ValueError('image must have 8 or 16 bits a channel, got mode "F". Convert it to "RGB" first.')
    return np.array(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def _split(array: np.ndarray, profile: bytes | None) -> Raster:
    rgb = np.ascontiguousarray(np.broadcast_to(array[..., :3], (*array.shape[:2], 3)))
    rgb = rgb if rgb.flags.writeable else rgb.copy()
    alpha = array[..., 3] if array.shape[-1] == 4 else None
    return Raster(rgb, None if alpha is None or alpha.min() == 255 else alpha.copy(), profile)


def to_rgb(picture: Picture) -> np.ndarray:
    """The `[H, W, 3]` uint8 colours of a picture; arguments and errors as for `to_raster`."""
    return to_raster(picture).rgb


def to_mask(picture: Picture, size: tuple[int, int]) -> np.ndarray:
    """A mask as booleans: True where the picture is at least half white and not transparent.

    Args:
        picture: As for `to_raster`.
        size: The image's height and width.

    Returns:
        `[H, W]` bool.

    Raises:
        ValueError: Its size differs from the image's, or nothing in it is white.
    """
    raster = to_raster(picture)
    white = raster.rgb.sum(-1, dtype=np.uint16)
    if raster.alpha is not None:
        white = white * (raster.alpha / 255)
    mask = white >= 3 * 127.5
    if mask.shape != tuple(size):
        raise ValueError(
            f"mask_image must have the image's size {size[1]}x{size[0]}, got {mask.shape[1]}x{mask.shape[0]}. "
            "Resize it with NEAREST first."
        )
    if not mask.any():
        raise ValueError("mask_image marks nothing: paint white what is to be restored.")
    return mask


def to_tensor(array: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """`[H, W, C]` uint8 to `[1, C, H, W]` in [0, 1]."""
    return torch.tensor(array, device=device).movedim(-1, 0)[None].float() / 255


def to_array(images: Tensor) -> np.ndarray:
    """`[1, C, H, W]` in [0, 1], values outside clipped, to `[H, W, C]` uint8."""
    return (images[0].float().clamp(0, 1) * 255).round().byte().movedim(0, -1).cpu().numpy()


def to_output(
    rasters: list[Raster], output_type: str, settings: list[dict] | None = None
) -> list[Image.Image] | np.ndarray | Tensor | list:
    """Pictures as "pil" images, or as "np" `[N, H, W, 3]` or "pt" `[N, 3, H, W]` in [0, 1].

    Arrays and tensors of different sizes stay a list. Alpha, profile and settings go with "pil" alone.
    """
    if output_type == "pil":
        return [_to_pil(r, s) for r, s in zip(rasters, settings or [None] * len(rasters), strict=True)]
    if output_type == "np":
        parts = [r.rgb.astype(np.float32) / 255 for r in rasters]
        return np.stack(parts) if len({p.shape for p in parts}) == 1 else parts
    parts = [to_tensor(r.rgb)[0] for r in rasters]
    return torch.stack(parts) if len({p.shape for p in parts}) == 1 else parts


def _to_pil(raster: Raster, settings: dict | None) -> Image.Image:
    image = Image.fromarray(raster.rgb)
    if raster.alpha is not None:
        image.putalpha(Image.fromarray(raster.alpha))
    if raster.profile:
        image.info["icc_profile"] = raster.profile
    if settings is not None:
        image.info[SETTINGS] = settings
    return image
