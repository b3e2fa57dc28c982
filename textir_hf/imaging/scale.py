"""How many times an image was upscaled, where nobody knows. Needs no PyTorch."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from textir_hf.imaging.raster import ImageInput, to_raster

_FACTORS = (2, 4, 8, 16, 32, 64)
_DROP = 6.0  # dB lost from the true factor to 1.5 times it; elsewhere 3 to 4


class ScaleEstimate(NamedTuple):
    """Estimate of how many times larger an image is than the detail in it."""

    factor: int  # 1 for an image of full detail, else the nearest of 2, 4, ... 64
    confidence: float  # 0 to 1; below 0.5 the image is too plain, or too noisy, to tell


def estimate_scale(image: ImageInput) -> ScaleEstimate:
    """Estimates the factor that an image was upscaled by, so that it can be restored with `edit(factor=...)`.

    Shrinking an upscaled image by its factor, and upscaling it again, brings it back; by one and a half times its
    factor, it does not. The estimate is the largest power of two where that step is steep, which no ordinary image
    shows.

    Args:
        image: A PIL image, an array or a tensor, as for `TextIRPipeline`.
    """
    target = Image.fromarray(to_raster(image).rgb)
    values = np.asarray(target, np.float32)

    def kept(factor: float) -> float:  # dB, after super-resolution's degradation
        small = target.resize([max(1, round(side / factor)) for side in target.size], Image.Resampling.BICUBIC)
        again = np.asarray(small.resize(target.size, Image.Resampling.BICUBIC), np.float32)
        error = np.square(again - values).mean(dtype=np.float64) / 255**2
        return 10 * np.log10(1 / max(error, 1e-10))

    factors = [f for f in _FACTORS if min(target.size) / (1.5 * f) >= 4]
    drops = [kept(f) - kept(1.5 * f) for f in factors]
    if not factors or kept(1.5 * factors[-1]) > 40:  # too small or too plain to lose anything
        return ScaleEstimate(1, 0.0)
    steep = [i for i, drop in enumerate(drops) if drop > _DROP]
    if not steep:
        return ScaleEstimate(1, float(np.clip((_DROP - max(drops)) / 2, 0, 1)))
    return ScaleEstimate(factors[steep[-1]], float(np.clip((drops[steep[-1]] - 4.5) / 3, 0, 1)))
