"""Peak signal-to-noise ratio in dB."""

from textir_hf.metrics import functional, images


class PSNR(images.ImageMetric):
    """Peak signal-to-noise ratio of 8-bit images in dB, infinite for equal ones."""

    value = staticmethod(functional.psnr)
