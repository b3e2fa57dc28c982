"""Learned perceptual image patch similarity v0.1 (Zhang et al., 2018) on AlexNet."""

import torch

from textir_hf.imaging.resample import to_tensor
from textir_hf.metrics import images, perceptual


class LPIPS(images.ImageMetric):
    """Perceptual distance v0.1 on AlexNet; 0 is equal. Option: weights, a safetensors file, else fetched once."""

    citation = "Zhang et al.: The unreasonable effectiveness of deep features as a perceptual metric. CVPR 2018."

    def prepare(self, weights=None):
        self.network = perceptual.LPIPS(weights or perceptual.fetch())

    def value(self, restored, target, mask):
        mask = None if mask is None else torch.from_numpy(mask)[None, None]
        return self.network(to_tensor(restored), to_tensor(target), mask).item()
