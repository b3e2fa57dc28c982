"""Masks: how an image loses a region, how the region's border is softened, and random masks for training."""

import math
import random

import numpy as np
import torch
from PIL import Image, ImageDraw
from scipy import ndimage
from torch import Tensor

from textir_hf.imaging.geometry import Box

CONTEXT = 3.0  # sides of a crop and of the masked region in it


def mask_out(images: Tensor, mask: Tensor) -> Tensor:
    """Removes the masked region (TextIR, Sec. 3.3; the mask's polarity is that of diffusers and of the release).

    Args:
        images: `[N, 3, H, W]` in [0, 1].
        mask: `[N, 1, H, W]`, 1 = repaint, 0 = known.

    Returns:
        `[N, 4, H, W]`: the image with the region at 0, and the mask.
    """
    return torch.cat([images * (1 - mask), mask], 1)


def composite(known: Tensor, restored: Tensor, mask: Tensor) -> Tensor:
    """The restored pixels where `mask` is 1, the known ones elsewhere, unchanged to the bit."""
    return torch.where(mask > 0.5, restored, known)


def feather_weights(mask: np.ndarray, feather: float) -> np.ndarray:
    """Weights of the new content in a masked region, rising from its border to 1.

    They reach 1 at a depth of `feather` pixels, or at the region's own depth where that is less. The image's border is
    no border of the region.

    Args:
        mask: `[H, W]` bool, True = repaint.
        feather: Pixels.

    Returns:
        `[H, W]` float32, 0 outside the mask.
    """
    if mask.all():
        return np.ones(mask.shape, np.float32)
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    depth = ndimage.distance_transform_edt(mask)
    deepest = np.concatenate([[1.0], ndimage.maximum(depth, labels, range(1, count + 1))])
    return (depth / np.minimum(feather, deepest)[labels]).clip(0, 1).astype(np.float32)


def mask_crops(mask: np.ndarray, size: int, context: float = CONTEXT) -> list[tuple[Box, np.ndarray]]:
    """Crops that show every masked region with its surroundings.

    A crop is `context` times as long as its region, at least `size`, and lies within the image. Regions that a crop
    shows whole share it.

    Args:
        mask: `[H, W]` bool, True = repaint.
        size: Side that the network was trained at, pixels.
        context: Sides of crop and region.

    Returns:
        Boxes, each with a `[bottom - top, right - left]` bool mask of the regions that are restored in it.
    """
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    slices = ndimage.find_objects(labels)
    areas = [(s[0].stop - s[0].start) * (s[1].stop - s[1].start) for s in slices]
    crops, taken = [], set()
    for i in sorted(range(count), key=lambda i: (-areas[i], i)):
        if i in taken:
            continue
        box = _around(slices[i], mask.shape, size, context)
        inside = [j for j in range(count) if j not in taken and _within(slices[j], box)]
        taken.update(inside)
        left, top, right, bottom = box
        crops.append((box, np.isin(labels[top:bottom, left:right], np.array(inside) + 1)))
    return crops


def _around(region: tuple[slice, slice], shape: tuple[int, ...], size: int, context: float) -> Box:
    length = round(max(size, context * max(s.stop - s.start for s in region)))
    spans = []
    for part, total in zip(region, shape, strict=True):
        side = min(total, length)
        start = min(max((part.start + part.stop - side) // 2, 0), total - side)
        spans.append((start, start + side))
    (top, bottom), (left, right) = spans
    return left, top, right, bottom


def _within(region: tuple[slice, slice], box: Box) -> bool:
    left, top, right, bottom = box
    return region[0].start >= top and region[0].stop <= bottom and region[1].start >= left and region[1].stop <= right


def extent(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Rows and columns of a mask `[H, W]` bool that holds a pixel, and `margin` pixels around them."""
    region = ndimage.find_objects(mask.astype(np.uint8))[0]
    rows, columns = (slice(max(part.start - margin, 0), part.stop + margin) for part in region)
    return rows, columns


def free_form_mask(height: int, width: int, rng: random.Random, strokes: tuple[int, int] = (1, 5)) -> Tensor:
    """Brush strokes of random walk and width.

    Args:
        height: Of the mask, pixels.
        width: Of the mask, pixels.
        rng: Source of all choices.
        strokes: Least and largest number of strokes.

    Returns:
        `[1, H, W]` in [0, 1], 1 = repaint.
    """
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
