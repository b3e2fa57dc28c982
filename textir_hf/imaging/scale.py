"""How many times an image was enlarged, where nobody knows."""

from typing import NamedTuple

import numpy as np
import torch

from textir_hf.imaging.raster import ImageInput, to_raster
from textir_hf.imaging.resample import lose_resolution, to_tensor

_FACTORS = (2, 4, 8, 16, 32, 64)
_DROP = 6.0  # dB lost from the true factor to 1.5 times it; elsewhere 3 to 4


class ScaleEstimate(NamedTuple):
    """Estimate of how many times larger an image is than the detail in it.

    Args:
        factor: 1 for an image of full detail, else the nearest of 2, 4, ... 64.
        confidence: 0 to 1; below 0.5 the image is too plain, or too noisy, to tell.
    """

    factor: int
    confidence: float


@torch.no_grad()
def estimate_scale(image: ImageInput) -> ScaleEstimate:
    """Estimates the factor that an image was enlarged by, so that it can be restored with `edit(factor=...)`.

    Shrinking an enlarged image by its factor, and enlarging it again, brings it back; by one and a half times its
    factor, it does not. The estimate is the largest power of two where that step is steep, which no ordinary image
    shows.

    Args:
        image: A PIL image, an array or a tensor, as for `TextIRPipeline`.
    """
    target = to_tensor(to_raster(image).rgb)

    def kept(factor: float) -> float:  # dB
        error = (lose_resolution(target, factor) - target).square().mean().item()
        return 10 * np.log10(1 / max(error, 1e-10))

    factors = [f for f in _FACTORS if min(target.shape[-2:]) / (1.5 * f) >= 4]
    drops = [kept(f) - kept(1.5 * f) for f in factors]
    if not factors or kept(1.5 * factors[-1]) > 40:  # too small or too plain to lose anything
        return ScaleEstimate(1, 0.0)
    steep = [i for i, drop in enumerate(drops) if drop > _DROP]
    if not steep:
        return ScaleEstimate(1, float(np.clip((_DROP - max(drops)) / 2, 0, 1)))
    return ScaleEstimate(factors[steep[-1]], float(np.clip((drops[steep[-1]] - 4.5) / 3, 0, 1)))
