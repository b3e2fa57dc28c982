"""Pictures in and out: files, PIL images, arrays and tensors to 8-bit RGB and back."""

import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
Picture = Image.Image | np.ndarray | Tensor


def open_image(path: str | Path) -> Image.Image:
    """Reads a picture file and turns it upright.

    Raises:
        ValueError: The file is missing, is no picture, or cannot be decoded to its end.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is no file. Give the path of a picture.")
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image.copy())
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} is not a picture that Pillow can read. Convert it to PNG or JPEG.") from error
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be decoded ({error}). The file may be damaged or too large.") from error


def save_image(image: Image.Image, path: str | Path) -> None:
    """Writes a picture under a temporary name and renames it, so that no half-written file is ever left.

    Raises:
        ValueError: The suffix names no format, or the folder does not exist.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"The output {path} must end in one of {', '.join(SUFFIXES)}.")
    if not path.parent.is_dir():
        raise ValueError(f"The output folder {path.parent} does not exist. Create it first.")
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".textir-", suffix=path.suffix)
    os.close(handle)
    try:
        image.save(temporary)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def to_rgb(picture: Picture) -> np.ndarray:
    """One picture as 8-bit RGB.

    Args:
        picture: A PIL image; an array `[H, W, 3]` or `[H, W]`, uint8 or float in [0, 1]; or a tensor `[3, H, W]` or
            `[1, H, W]` in [0, 1].

    Returns:
        `[H, W, 3]` uint8.

    Raises:
        ValueError: The picture is transparent, has more than 8 bits, or its shape or range is another.
        TypeError: It is none of these types.
    """
    if isinstance(picture, Image.Image):
        if picture.mode.startswith(("I", "F")):
            raise ValueError(f'image must have 8 bits a channel, got mode "{picture.mode}". Convert it to "RGB" first.')
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            if picture.getextrema()[3] != (255, 255):
                raise ValueError("image must be opaque, got a transparent one. Put it on a background first.")
        return np.array(picture.convert("RGB"))
    if isinstance(picture, Tensor):
        picture = picture.detach().cpu().float().movedim(0, -1).numpy() if picture.ndim == 3 else picture.numpy()
    if not isinstance(picture, np.ndarray):
        raise TypeError(f"image must be a PIL image, an array or a tensor, got {type(picture).__name__}.")
    if picture.ndim == 2:
        picture = picture[..., None]
    if picture.ndim != 3 or picture.shape[-1] not in (1, 3) or 0 in picture.shape:
        raise ValueError(f"image must be [H, W, 3] as an array or [3, H, W] as a tensor, got {list(picture.shape)}.")
    if picture.dtype != np.uint8:
        if not (np.isfinite(picture).all() and picture.min() >= 0 and picture.max() <= 1):
            raise ValueError(f"image must lie in [0, 1], got {picture.min():.3g} to {picture.max():.3g}.")
        picture = (picture * 255).round().astype(np.uint8)
    return np.broadcast_to(picture, (*picture.shape[:2], 3)).copy()


def to_mask(picture: Picture, size: tuple[int, int]) -> np.ndarray:
    """A mask as booleans: True where the picture is at least half white.

    Args:
        picture: As for `to_rgb`.
        size: The image's height and width.

    Returns:
        `[H, W]` bool.

    Raises:
        ValueError: Its size differs from the image's, or nothing in it is white.
    """
    mask = to_rgb(picture).astype(np.uint16).sum(-1) >= 3 * 127.5
    if mask.shape != size:
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


def to_output(arrays: list[np.ndarray], output_type: str) -> list[Image.Image] | np.ndarray | Tensor | list:
    """`[H, W, 3]` uint8 pictures as "pil" images, or as "np" `[N, H, W, 3]` or "pt" `[N, 3, H, W]` in [0, 1].

    Arrays and tensors of different sizes stay a list.
    """
    if output_type == "pil":
        return [Image.fromarray(array) for array in arrays]
    if output_type == "np":
        parts = [array.astype(np.float32) / 255 for array in arrays]
        return np.stack(parts) if len({p.shape for p in parts}) == 1 else parts
    parts = [to_tensor(array)[0] for array in arrays]
    return torch.stack(parts) if len({p.shape for p in parts}) == 1 else parts
