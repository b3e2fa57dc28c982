"""Peak signal-to-noise ratio in dB.

>>> import numpy as np
>>> from textir_hf import metrics
>>> black, half = np.zeros((2, 16, 16, 3), np.uint8)
>>> half[:8] = 255
>>> result = metrics.load("psnr").compute(predictions=[half], references=[black])
>>> round(result["psnr"], 4)
3.0103
>>> mask = np.arange(16)[:, None].repeat(16, 1) < 8
>>> metrics.load("psnr").compute(predictions=[half], references=[black], masks=[mask])
{'psnr': 0.0, 'values': [0.0]}
"""

from textir_hf.metrics import functional, images


class PSNR(images.ImageMetric):
    """Peak signal-to-noise ratio of 8-bit images in dB, infinite for equal ones."""

    value = staticmethod(functional.psnr)
