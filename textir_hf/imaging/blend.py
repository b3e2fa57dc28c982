"""Restored regions that meet their surroundings without a seam."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_SWEEPS, _SLOWEST = 6, 0.1  # of the relaxation on each level, and the slowest of the errors' rates that it damps


def match_border(restored: Tensor, known: Tensor, mask: Tensor) -> Tensor:
    """Shifts a masked region's new content so that it continues what is known, without a seam.

    The new content at the border is the mean of the restored pixels on either side of it. What it lacks to the known
    pixel there is continued smoothly into the region and added. This is seamless cloning ("Poisson Image Editing",
    Perez et al., 2003) in the form of "Coordinates for Instant Image Cloning" (Farbman et al., 2009): fine structure
    stays. All images get gradients.

    Args:
        restored: `[N, C, H, W]`; of its known pixels, those next to the region count.
        known: `[N, C, H, W]` in the same range; its masked pixels do not count.
        mask: `[N, 1, H, W]` in {0, 1}, 1 = repaint.

    Returns:
        `[N, C, H, W]`, for `masks.composite`: only its masked pixels mean anything. Without a known pixel, the content
        comes back as it is.
    """
    inside = (mask > 0.5).to(restored)
    count = _neighbors(inside)
    border = (count > 0).to(restored) * (1 - inside)
    across = _neighbors(restored * inside) / count.clamp(min=1)
    return restored + harmonic((known - (restored + across) / 2) * border, border)


def harmonic(values: Tensor, given: Tensor) -> Tensor:
    """Continues values to all pixels, each of which becomes the mean of its four neighbors (Laplace's equation).

    From the coarsest level of a pyramid to the finest, a few sweeps of Jacobi's method with Chebyshev's steps relax
    what the level before says. Far from given values, it is off by about 2 % of their range; near them, by less.

    Args:
        values: `[N, C, H, W]`, 0 where none is given.
        given: `[N, 1, H, W]` in {0, 1}, 1 where a value is given, which stays.

    Returns:
        `[N, C, H, W]`; 0 for an image in which no value is given.
    """
    height, width = values.shape[-2:]
    if height == width == 1:
        return values
    even = (0, width % 2, 0, height % 2)
    sums, share = (F.avg_pool2d(F.pad(x, even), 2) for x in (values, given))
    coarse = harmonic(sums / share.clamp(min=0.25), (share > 0).to(given))
    rate = (1 - given) / _neighbors(torch.ones_like(given))
    source = rate * _neighbors(values)
    result = (1 - given) * F.interpolate(coarse, scale_factor=2)[..., :height, :width]
    for step in _steps(_SWEEPS, _SLOWEST):
        result = torch.lerp(result, torch.addcmul(source, rate, _neighbors(result)), step)
    return values + result


def _steps(count: int, slowest: float) -> list[float]:
    """Step sizes that together damp errors of all rates from `slowest` to 2 evenly: inverse roots of Chebyshev's."""
    middle, radius = (2 + slowest) / 2, (2 - slowest) / 2
    return [1 / (middle - radius * math.cos(math.pi * (i + 0.5) / count)) for i in range(count)]


def _neighbors(images: Tensor) -> Tensor:
    """The sum of each pixel's four neighbors, of those that lie in the image."""
    result = F.pad(images[..., :-1, :], (0, 0, 1, 0))
    result[..., :-1, :] += images[..., 1:, :]
    result[..., 1:] += images[..., :-1]
    result[..., :-1] += images[..., 1:]
    return result
