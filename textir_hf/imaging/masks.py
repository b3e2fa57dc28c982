"""Masks: how an image loses a region, how new content meets its surroundings, and random masks for training."""

import math
import random

import numpy as np
import torch
from PIL import Image, ImageDraw
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from textir_hf.checks import Box

CONTEXT = 3.0  # sides of a crop and of the masked region in it
# Step sizes on each level, inverse roots of Chebyshev's polynomial: together they damp errors of the rates 0.1 to 2.
_STEPS = [1 / (1.05 - 0.95 * math.cos(math.pi * (i + 0.5) / 6)) for i in range(6)]


def mask_out(images: Tensor, mask: Tensor) -> Tensor:
    """Removes the masked region (TextIR, Sec. 3.3; 1 = repaint, as in diffusers and in the release).

    `[N, 3, H, W]` in [0, 1] and `[N, 1, H, W]` to `[N, 4, H, W]`: the image with the region at 0, and the mask.
    """
    return torch.cat([images * (1 - mask), mask], 1)


def composite(known: Tensor, restored: Tensor, mask: Tensor) -> Tensor:
    """The restored pixels where `mask` is 1, the known ones elsewhere, unchanged to the bit."""
    return torch.where(mask > 0.5, restored, known)


def match_border(restored: Tensor, known: Tensor, mask: Tensor) -> Tensor:
    """Shifts a masked region's new content so that it continues what is known, without a seam.

    The new content at the border is the mean of the restored pixels on either side of it. What it lacks to the known
    pixel there is continued smoothly into the region and added. This is seamless cloning ("Poisson Image Editing",
    Perez et al., 2003) in the form of "Coordinates for Instant Image Cloning" (Farbman et al., 2009): fine structure
    stays. All images get gradients.

    `restored` and `known` are `[N, C, H, W]`, `mask` `[N, 1, H, W]` in {0, 1}, 1 = repaint. Of the result, only the
    masked pixels mean anything; without a known pixel, the content comes back as it is.
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
    `values` is `[N, C, H, W]`, 0 where `given` `[N, 1, H, W]` is; the result is 0 for an image without a given value.
    """
    height, width = values.shape[-2:]
    if height == width == 1:
        return values
    even = (0, width % 2, 0, height % 2)
    sums, share = F.avg_pool2d(F.pad(values, even), 2), F.avg_pool2d(F.pad(given, even), 2)
    coarse = harmonic(sums / share.clamp(min=0.25), (share > 0).to(given))
    rate = (1 - given) / _neighbors(torch.ones_like(given))
    source = rate * _neighbors(values)
    result = (1 - given) * F.interpolate(coarse, scale_factor=2)[..., :height, :width]
    for step in _STEPS:
        result = torch.lerp(result, torch.addcmul(source, rate, _neighbors(result)), step)
    return values + result


def _neighbors(images: Tensor) -> Tensor:
    """The sum of each pixel's four neighbors, of those that lie in the image."""
    result = F.pad(images[..., :-1, :], (0, 0, 1, 0))
    result[..., :-1, :] += images[..., 1:, :]
    result[..., 1:] += images[..., :-1]
    result[..., :-1] += images[..., 1:]
    return result


def feather_weights(mask: np.ndarray, feather: float) -> np.ndarray:
    """Weights of the new content in a masked region, `[H, W]` bool to `[H, W]` float32, rising from its border to 1.

    They reach 1 at a depth of `feather` pixels, or at the region's own depth where that is less. The image's border is
    not a border of the region.
    """
    if mask.all():
        return np.ones(mask.shape, np.float32)
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    depth = ndimage.distance_transform_edt(mask)
    deepest = np.concatenate([[1.0], ndimage.maximum(depth, labels, range(1, count + 1))])
    return (depth / np.minimum(feather, deepest)[labels]).clip(0, 1).astype(np.float32)


def mask_crops(mask: np.ndarray, size: int) -> list[tuple[Box, np.ndarray]]:
    """Crops that show every masked region with its surroundings, each with the mask of the regions restored in it.

    A crop is `CONTEXT` times as long as its region, at least `size`, and lies within the image. Regions that a crop
    shows whole share it. The masks are bool, True = repaint.
    """
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    found = ndimage.find_objects(labels)
    spans = np.array([(r.start, c.start, r.stop, c.stop) for r, c in found], int).reshape(-1, 4)  # [R, 4]
    low, high, limit = spans[:, :2], spans[:, 2:], np.array(mask.shape)
    crops, left_over = [], np.ones(len(spans), bool)
    for i in np.argsort(-(high - low).prod(1), kind="stable"):
        if not left_over[i]:
            continue
        side = np.minimum(limit, round(max(size, CONTEXT * (high - low)[i].max())))
        start = ((low[i] + high[i] - side) // 2).clip(0, limit - side)
        inside = left_over & (low >= start).all(1) & (high <= start + side).all(1)
        left_over &= ~inside
        (top, left), (bottom, right) = start.tolist(), (start + side).tolist()
        crops.append(((left, top, right, bottom), np.isin(labels[top:bottom, left:right], np.flatnonzero(inside) + 1)))
    return crops


def free_form_mask(height: int, width: int, rng: random.Random, strokes: tuple[int, int] = (1, 5)) -> Tensor:
    """Brush strokes of random walk and width, `strokes` from least to most: `[1, H, W]` in [0, 1], 1 = repaint."""
    canvas = Image.new("L", (width, height))
    draw = ImageDraw.Draw(canvas)
    side = min(height, width)
    for _ in range(rng.randint(*strokes)):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        angle, brush = rng.uniform(0, 2 * math.pi), rng.uniform(0.06, 0.22) * side
        for _ in range(rng.randint(3, 10)):
            angle += rng.uniform(-1.2, 1.2)
            step = rng.uniform(0.05, 0.2) * side
            end = (x + step * math.cos(angle), y + step * math.sin(angle))
            draw.line((x, y, *end), fill=255, width=round(brush))
            for cx, cy in ((x, y), end):
                draw.ellipse((cx - brush / 2, cy - brush / 2, cx + brush / 2, cy + brush / 2), fill=255)
            x, y = min(max(end[0], 0), width), min(max(end[1], 0), height)
    return torch.from_numpy(np.array(canvas))[None].float() / 255


def box_mask(height: int, width: int, rng: random.Random, share: tuple[float, float] = (0.2, 0.6)) -> Tensor:
    """One box, each side a random `share` of the image's: `[1, H, W]`, 1 = repaint."""
    mask = torch.zeros(1, height, width)
    h, w = (max(1, round(side * rng.uniform(*share))) for side in (height, width))
    top, left = rng.randint(0, height - h), rng.randint(0, width - w)
    mask[:, top : top + h, left : left + w] = 1
    return mask
