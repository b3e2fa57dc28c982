"""Restored regions that meet their surroundings without a seam."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_SWEEPS, _SLOWEST = 8, 0.05  # of the relaxation on each level, and the slowest of the errors' rates that it damps


def match_border(restored: Tensor, known: Tensor, mask: Tensor) -> Tensor:
    """Shifts a masked region's new content so that it continues what is known, without a step at the border.

    What is restored differs from what is known on the known pixels next to the region, too. Laplace's equation
    continues that difference smoothly into the region, where it is added: the step that remains across the border is
    the one between neighbors in `restored`. This is seamless cloning ("Poisson Image Editing", Perez et al., 2003) as
    a membrane ("Coordinates for Instant Image Cloning", Farbman et al., 2009). Gradients flow to all images.

    Args:
        restored: `[N, C, H, W]`; of its known pixels, those next to the region count.
        known: `[N, C, H, W]`, in the same range; its masked pixels do not count.
        mask: `[N, 1, H, W]` in {0, 1}, 1 = repaint.

    Returns:
        `[N, C, H, W]`: in the region the shifted content; elsewhere no image, for `masks.composite` to replace. Content
        comes back as it is where no known pixel is in sight.
    """
    border = _border(mask)
    return restored + harmonic((known - restored) * border, border)


def harmonic(values: Tensor, given: Tensor) -> Tensor:
    """Continues values to all pixels so that each is the mean of its four neighbors (Laplace's equation).

    Values flow neither in nor out at the image's border. From the coarsest level of a pyramid to the finest, a few
    sweeps of Jacobi's method with Chebyshev's weights relax each level; the result is approximate.

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
    large = F.interpolate(coarse, scale_factor=2)[..., :height, :width]
    guess = F.avg_pool2d(large, 3, 1, 1, count_include_pad=False)  # its gradient is deterministic, unlike bilinear's
    fixed = given > 0
    result = torch.where(fixed, values, guess)
    for step in _steps(_SWEEPS, _SLOWEST):
        result = torch.where(fixed, values, result + step / 4 * _laplacian(result))
    return result


def _steps(count: int, slowest: float) -> list[float]:
    """Step sizes that together damp errors of all rates from `slowest` to 2 evenly: inverse roots of Chebyshev's."""
    middle, radius = (2 + slowest) / 2, (2 - slowest) / 2
    return [1 / (middle - radius * math.cos(math.pi * (i + 0.5) / count)) for i in range(count)]


def _laplacian(images: Tensor) -> Tensor:
    """What four neighbors have more than a pixel, in sum; nothing lies beyond the image's border."""
    down, right = images.diff(dim=-2), images.diff(dim=-1)
    rows = F.pad(down, (0, 0, 0, 1)) - F.pad(down, (0, 0, 1, 0))
    return rows + F.pad(right, (0, 1)) - F.pad(right, (1, 0))


def _border(mask: Tensor) -> Tensor:
    """The known pixels that have a neighbor in the mask, of four: `[N, 1, H, W]` in {0, 1}."""
    inside = (mask > 0.5).to(mask)
    return (_laplacian(inside) > 0).to(mask) * (1 - inside)
