"""Faults that people see first in a restored image: lost detail, seams, another person.

Images are `[H, W, 3]` uint8, masks `[H, W]` bool.
"""

import numpy as np
import torch
from torch import Tensor

from textir_hf.metrics.functional import check_images

AMONG = 24  # originals among which a result is to be recognized
_LEAST_ENERGY = 1.0  # of an original's Laplacian, levels squared: about what rounding to 8 bits leaves in a flat image
_LEAST_STEP = 0.5  # of an original at a border, levels: the error of rounding to 8 bits


# Slices of all pixels but the last, and of their neighbors, along either axis
_NEIGHBORS = ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:]))


def detail(restored: np.ndarray, target: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Energy of the fine structure relative to the original's: 1 is as much, 0 none, 0.25 half the contrast.

    The energy is the mean square of the luminance's Laplacian. Inside a mask, the Laplacian of a pixel takes only
    neighbors inside the mask, so that a seam adds no detail. A flat original counts as energy 1.
    """
    check_images(restored, target, mask)
    counted = np.ones(target.shape[:2], bool) if mask is None else mask
    ours, original = (np.square(_laplacian(image, counted))[counted].mean() for image in (restored, target))
    return float(ours / max(original, _LEAST_ENERGY))


def _laplacian(image: np.ndarray, mask: np.ndarray) -> np.ndarray:  # [H, W, 3], [H, W] -> [H, W], 0 outside the mask
    luminance = image @ np.array([0.299, 0.587, 0.114])  # Rec. 601
    result = np.zeros_like(luminance)
    for first, second in _NEIGHBORS:
        step = (luminance[second] - luminance[first]) * (mask[first] & mask[second])
        result[first] += step
        result[second] -= step
    return result


def seam(restored: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Mean absolute step across the mask's border relative to the original's at the same place: 1 means no seam.

    A step is the difference of two neighbors, horizontal or vertical, exactly one of which is in the mask; it is
    averaged over the channels. The original's mean step counts as at least half a level of 255.
    """
    check_images(restored, target, mask)
    if mask.all():
        raise ValueError("A seam needs known pixels: the mask covers the whole image. Use a smaller one.")
    images = np.stack([restored, target], 2).astype(np.float64)  # [H, W, 2, 3]
    steps = [np.abs(images[a] - images[b])[mask[a] != mask[b]] for a, b in _NEIGHBORS]
    ours, original = np.concatenate(steps).mean((0, 2))
    return float(ours / max(original, _LEAST_STEP))


def is_recognized(restored: Tensor, originals: Tensor, index: int, among: int = AMONG) -> bool:
    """Whether a result's nearest original is its own, among others that are evenly spread over the set."""
    count = len(originals)
    if count < among:
        raise ValueError(f"A result is recognized among {among} originals, got {count}. Measure more images.")
    chosen = [(index + i * count // among) % count for i in range(among)]
    return int(torch.argmax(originals[chosen].float() @ restored.float())) == 0
