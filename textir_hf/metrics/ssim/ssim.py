"""Structural similarity (Wang et al., 2004).

>>> import numpy as np
>>> from textir_hf import metrics
>>> ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)[..., None].repeat(3, 2)
>>> round(metrics.load("ssim").compute(predictions=[ramp], references=[ramp])["ssim"], 6)
1.0
>>> round(metrics.load("ssim").compute(predictions=[255 - ramp], references=[ramp])["ssim"], 4)
-0.8262
"""

from textir_hf.metrics import functional, images


class SSIM(images.ImageMetric):
    """Structural similarity: Gaussian window of sigma 1.5, mean over the three channels; 1 is equal."""

    citation = "Wang et al.: Image quality assessment: from error visibility to structural similarity. TIP 2004."
    value = staticmethod(functional.ssim)
