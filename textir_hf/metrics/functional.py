"""The metrics of a single image, or of two sets; the `evaluate` modules and `textir evaluate` call them.

Images are `[H, W, 3]` uint8, masks `[H, W]` bool, True = counted; everything is computed in float64. `detail`, `seam`
and `is_recognized` measure faults that people see first in a restored image: lost detail, seams, another person.
"""

import math

import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

AMONG = 24  # originals among which a result is to be recognized
_LEAST_ENERGY = 1.0  # of an original's Laplacian, levels squared: about what rounding to 8 bits leaves in a flat image
_LEAST_STEP = 0.5  # of an original at a border, levels: the error of rounding to 8 bits
# Slices of all pixels but the last, and of their neighbors, along either axis
_NEIGHBORS = ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:]))


def check_images(restored: np.ndarray, target: np.ndarray, mask: np.ndarray | None = None) -> None:
    """Checks that two 8-bit RGB images have one size, and that a mask has it too and is not empty.

    Raises:
        ValueError: They are not.
    """
    for name, image in (("restored image", restored), ("target", target)):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            got = f"{list(image.shape)} {image.dtype}"
            raise ValueError(f"The {name} must be [H, W, 3] uint8, got {got}. Convert it to RGB.")
    if restored.shape != target.shape:
        wanted, got = (f"{image.shape[1]}x{image.shape[0]}" for image in (target, restored))
        raise ValueError(
            f"The restored image must have the target's size {wanted}, got {got}. Nothing is resized here."
        )
    if mask is not None and (mask.shape != target.shape[:2] or mask.dtype != bool):
        got = f"{list(mask.shape)} {mask.dtype}"
        raise ValueError(f"The mask must be boolean {list(target.shape[:2])}, got {got}.")
    if mask is not None and not mask.any():
        raise ValueError("The mask must hold at least one pixel, got none.")


def psnr(restored: np.ndarray, target: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB, of all pixels or of the mask's; infinite for equal ones."""
    check_images(restored, target, mask)
    error = np.square(restored.astype(np.float64) - target)
    mean = (error if mask is None else error[mask]).mean()
    return 10 * math.log10(255**2 / mean) if mean else math.inf


def ssim(restored: np.ndarray, target: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Structural similarity (Wang et al., 2004): Gaussian window of sigma 1.5, 11 pixels, mean over channels.

    With a mask, the mean over its pixels of the map that the whole image has, borders included.

    Raises:
        ValueError: A side is shorter than the window, besides what `check_images` raises.
    """
    check_images(restored, target, mask)
    if min(target.shape[:2]) < 11:
        raise ValueError(f"SSIM needs images of at least 11x11 pixels, got {target.shape[1]}x{target.shape[0]}.")
    options = {"channel_axis": 2, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    mean, full = structural_similarity(target, restored, data_range=255, full=True, **options)
    return float(mean if mask is None else full[mask].mean())


def colorfulness(image: np.ndarray) -> float:
    """Colorfulness (Hasler & Süsstrunk, 2003, M^(3)): 0 is gray, 109 extremely colorful."""
    red, green, blue = np.moveaxis(image.astype(np.float64), -1, 0)
    rg, yb = red - green, (red + green) / 2 - blue
    return float(np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean()))


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Squared Fréchet distance of two sets of features as Gaussians (Heusel et al., 2017).

    `|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))`; the root through the singular values of the centered features, which
    stays exact where there are fewer images than dimensions. It depends on the number of images: compare only
    values of one number.

    Raises:
        ValueError: The sets are not `[N, D]` and `[M, D]`, or have fewer than two members.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(f"Features must be [N, D] and [M, D], got {list(first.shape)} and {list(second.shape)}.")
    if min(len(first), len(second)) < 2:
        raise ValueError(f"A Fréchet distance needs two images in each set, got {len(first)} and {len(second)}.")
    means = first.mean(0), second.mean(0)
    roots = [(x - m) / math.sqrt(len(x) - 1) for x, m in zip((first, second), means, strict=True)]
    cross = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()  # tr (S1 S2)^(1/2)
    traces = np.square(roots[0]).sum() + np.square(roots[1]).sum()
    return float(max(np.square(means[0] - means[1]).sum() + traces - 2 * cross, 0.0))


def region_crop(image: np.ndarray, mask: np.ndarray, least: float = 0.5) -> np.ndarray:
    """The square around a mask's pixels that is embedded, at least `least` of the shorter side."""
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    extent = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    side = min(max(extent, math.ceil(least * min(height, width))), height, width)
    top = min(max((rows[0] + rows[-1] + 1 - side) // 2, 0), height - side)
    left = min(max((columns[0] + columns[-1] + 1 - side) // 2, 0), width - side)
    return image[top : top + side, left : left + side]


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
