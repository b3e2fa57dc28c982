"""Images to and from tensors, and to other sizes. Every filter is antialiased."""

from collections.abc import Sequence

import numpy as np
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F


def to_tensor(array: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """`[H, W, C]` uint8 to `[1, C, H, W]` in [0, 1]."""
    return torch.tensor(array, device=device).movedim(-1, 0)[None].float() / 255


def to_array(images: Tensor) -> np.ndarray:
    """`[1, C, H, W]` in [0, 1], values outside clipped, to `[H, W, C]` uint8."""
    return to_bytes(images)[0].movedim(0, -1).cpu().numpy()


def to_bytes(images: Tensor) -> Tensor:
    """Values in [0, 1], those outside clipped, to uint8 of the same shape."""
    return (images.float().clamp(0, 1) * 255).round().byte()


def round_to_8_bits(images: Tensor) -> Tensor:
    """Clamps to [0, 1] and rounds to multiples of 1/255, as an image file does."""
    return (images.clamp(0, 1) * 255).round() / 255


def resize(images: Tensor, size: tuple[int, int], mode: str = "bicubic") -> Tensor:
    """Resizes `[N, C, H, W]` to `size` (height, width); images of this size come back as they are."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    return F.interpolate(images, tuple(size), mode=mode, antialias=True, align_corners=False)


def fit(height: int, width: int, side: int) -> tuple[int, int]:
    """The size with the shorter side at `side`, for an image that is larger than that."""
    ratio = min(1.0, side / min(height, width))
    return round(height * ratio), round(width * ratio)


def shrink(images: Tensor, factor: float) -> Tensor:
    """`downsample` before the rounding, which has no gradient."""
    size = [max(1, round(side / factor)) for side in images.shape[-2:]]
    if images.device.type == "cpu":
        return F.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False)
    rows, columns = (_filters(*sides, images.device, images.dtype) for sides in zip(images.shape[-2:], size, strict=True))
    return rows @ images @ columns.T  # CUDA's own kernel has no room for the filters of large factors


@lru_cache(maxsize=256)
def _filters(side: int, smaller: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """What each of the pixels of a shrunken line takes of the line's, `[smaller, side]`."""
    line = F.interpolate(torch.eye(side)[None, None], (smaller, side), mode="bicubic", antialias=True)
    return line[0, 0].to(device, dtype)


def downsample(images: Tensor, factor: float) -> Tensor:
    """Shrinks by `factor` with a bicubic filter and rounds to 8 bits.

    Args:
        images: `[N, C, H, W]` in [0, 1].
        factor: How many times smaller; sides are rounded, and never fall under one pixel.

    Returns:
        `[N, C, H / factor, W / factor]` in [0, 1], multiples of 1/255.
    """
    return round_to_8_bits(shrink(images, factor))


def upsample(images: Tensor, size: Sequence[int]) -> Tensor:
    """Enlarges `[N, C, H, W]` in [0, 1] to `size` (height, width) by bicubic interpolation and rounds to 8 bits."""
    large = F.interpolate(images, tuple(size), mode="bicubic", antialias=True, align_corners=False)
    return round_to_8_bits(large)


def upsample_bytes(images: Tensor, size: tuple[int, int]) -> Tensor:
    """`upsample` for `[N, C, H, W]` uint8, which needs a quarter of the memory where the device can do it."""
    if images.device.type != "cpu":
        return to_bytes(resize(images.float() / 255, size))
    return F.interpolate(images, tuple(size), mode="bicubic", antialias=True, align_corners=False)


def lose_resolution(images: Tensor, factor: float) -> Tensor:
    """Down and up again (TextIR, Sec. 3.3): the degraded input of super-resolution, `[N, C, H, W]` in [0, 1]."""
    return upsample(downsample(images, factor), images.shape[-2:])
