"""What users give as an image, as 8-bit RGB; and masks, as booleans. Needs no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Union

import numpy as np
from PIL import Image

from textir_hf.imaging.files import to_srgb

if TYPE_CHECKING:
    from torch import Tensor

ImageInput = Union[Image.Image, np.ndarray, "Tensor"]


@dataclass(frozen=True, eq=False)
class Raster:
    """An image as arrays.

    Args:
        rgb: `[H, W, 3]` uint8, sRGB.
        alpha: `[H, W]` uint8, or None for an opaque image.
        profile: The sRGB profile that the result shall carry, if the source carried one.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None = None
    profile: bytes | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.rgb.shape[0], self.rgb.shape[1]


def to_raster(image: ImageInput, name: str = "image") -> Raster:
    """One image as 8-bit RGB and, if it is transparent anywhere, its alpha.

    Args:
        image: A PIL image of any mode with 8 or 16 bits; an array `[H, W]`, `[H, W, 1]`, `[H, W, 3]` or
            `[H, W, 4]`, uint8, uint16 or float in [0, 1]; or a tensor `[C, H, W]` with the same channels, uint8 or
            float in [0, 1].
        name: What errors call it.

    Raises:
        ValueError: The shape, range or mode is another.
        TypeError: It is none of these types.
    """
    if isinstance(image, Image.Image):
        image = to_srgb(image)
        return _split(_from_pil(image, name), image.info.get("icc_profile"))
    array = _from_tensor(image) if hasattr(image, "detach") else image
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} must be a PIL image, an array or a tensor, got {type(image).__name__}.")
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4) or 0 in array.shape:
        raise ValueError(f"{name} must be [H, W, 3] as an array or [3, H, W] as a tensor, got {list(image.shape)}.")
    if array.dtype == np.uint16:
        array = _to_8_bits(array)
    elif array.dtype != np.uint8:
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise ValueError(f"{name} must lie in [0, 1], got {array.min():.3g} to {array.max():.3g}.")
        array = (array * 255).round().astype(np.uint8)
    return _split(array, None)


def _from_tensor(tensor: Tensor) -> np.ndarray:  # [C, H, W] -> [H, W, C]
    tensor = tensor.detach().cpu()
    array = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return np.moveaxis(array, 0, -1) if array.ndim == 3 else array


def _from_pil(image: Image.Image, name: str) -> np.ndarray:  # -> [H, W, C] uint8
    if image.mode.startswith("I"):
        array = np.asarray(image)
        if array.min() < 0 or array.max() > 65535:
            raise ValueError(f"{name} must have 8 or 16 bits a channel, got values of {array.min()} to {array.max()}.")
        return _to_8_bits(array)[..., None]
    if image.mode == "F":
        raise ValueError(f'{name} must have 8 or 16 bits a channel, got mode "F". Convert it to "RGB" first.')
    return np.array(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def _to_8_bits(array: np.ndarray) -> np.ndarray:  # 0..65535 -> 0..255
    return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _split(array: np.ndarray, profile: bytes | None) -> Raster:
    rgb = np.ascontiguousarray(np.broadcast_to(array[..., :3], (*array.shape[:2], 3)))
    rgb = rgb if rgb.flags.writeable else rgb.copy()
    alpha = array[..., 3] if array.shape[-1] == 4 else None
    return Raster(rgb, None if alpha is None or alpha.min() == 255 else alpha.copy(), profile)


def to_mask(image: ImageInput, size: tuple[int, int], name: str = "mask_image") -> np.ndarray:
    """A mask as booleans: True where the image is at least half white and not transparent.

    Args:
        image: As for `to_raster`.
        size: The height and width of the image that it belongs to.
        name: What errors call it.

    Returns:
        `[H, W]` bool.

    Raises:
        ValueError: Its size is another, or nothing in it is white.
    """
    raster = to_raster(image, name)
    white = raster.rgb.sum(-1, dtype=np.uint16)
    if raster.alpha is not None:
        white = white * (raster.alpha / 255)
    mask = white >= 3 * 127.5
    if mask.shape != tuple(size):
        raise ValueError(
            f"{name} must have the image's size {size[1]}x{size[0]}, got {mask.shape[1]}x{mask.shape[0]}. "
            "Resize it with NEAREST first."
        )
    if not mask.any():
        raise ValueError(f"{name} marks nothing: paint white what is to be restored.")
    return mask
