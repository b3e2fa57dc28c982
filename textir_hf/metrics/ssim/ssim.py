"""Structural similarity (Wang et al., 2004)."""

from textir_hf.metrics import functional, images


class SSIM(images.ImageMetric):
    """Structural similarity: Gaussian window of sigma 1.5, mean over the three channels; 1 is equal."""

    citation = "Wang et al.: Image quality assessment: from error visibility to structural similarity. TIP 2004."
    value = staticmethod(functional.ssim)
