"""Images to and from tensors, and to other sizes. Every filter is antialiased."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

_LARGEST = 16  # factor that a GPU's kernel shrinks by; the CPU's has no limit


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


def resize(images: Tensor, size: Sequence[int], mode: str = "bicubic") -> Tensor:
    """Resizes `[N, C, H, W]` to `size` (height, width); images of this size come back as they are."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    largest = max(side / smaller for side, smaller in zip(images.shape[-2:], size, strict=True))
    if images.device.type != "cpu" and largest > _LARGEST:
        return filter_lines(images, size, mode)
    return F.interpolate(images, tuple(size), mode=mode, antialias=True, align_corners=False)


def filter_lines(images: Tensor, size: Sequence[int], mode: str) -> Tensor:
    """`resize` as two matrix products, for shrinking by factors whose filters do not fit into a GPU's kernel."""
    filters = []
    for side, smaller in zip(images.shape[-2:], size, strict=True):
        places, centers = (torch.arange(n, dtype=torch.float32, device=images.device) + 0.5 for n in (side, smaller))
        d = (places - centers[:, None] * (side / smaller)).abs() / (side / smaller)
        if mode == "bilinear":
            weights = (1 - d).clamp(min=0)
        else:  # Keys' cubic, a = -1/2
            far = (((2.5 - 0.5 * d) * d - 4) * d + 2).where(d < 2, 0 * d)
            weights = ((1.5 * d - 2.5) * d * d + 1).where(d < 1, far)
        filters.append((weights / weights.sum(1, keepdim=True)).to(images.dtype))  # [smaller, side]
    return filters[0] @ images @ filters[1].T


def fit(height: int, width: int, side: int) -> tuple[int, int]:
    """The size with the shorter side at `side`, for an image that is larger than that."""
    ratio = min(1.0, side / min(height, width))
    return round(height * ratio), round(width * ratio)


def shrink(images: Tensor, factor: float) -> Tensor:
    """`downsample` before the rounding, which has no gradient."""
    height, width = (max(1, round(side / factor)) for side in images.shape[-2:])
    return resize(images, (height, width))


def downsample(images: Tensor, factor: float) -> Tensor:
    """Shrinks `[N, C, H, W]` in [0, 1] by `factor` with a bicubic filter and rounds to multiples of 1/255."""
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


def keep_low_resolution(restored: Tensor, degraded: Tensor, factor: float) -> Tensor:
    """Gives a restored image the low frequencies of the degraded one: shrunk again, it is the small image.

    Both are `[N, C, H, W]` in about [0, 1]; the result is not clamped.
    """
    for _ in range(2):  # a step leaves a quarter of the error, at frequencies that the filter half keeps
        restored = restored + resize(shrink(degraded - restored, factor), restored.shape[-2:])
    return restored


def lose_resolution(images: Tensor, factor: float) -> Tensor:
    """Down and up again (TextIR, Sec. 3.3): the degraded input of super-resolution, `[N, C, H, W]` in [0, 1]."""
    return upsample(downsample(images, factor), images.shape[-2:])
