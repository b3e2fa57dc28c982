"""Methods without learning, on `[H, W, 3]` uint8 images and `[H, W]` bool masks, True = repaint."""

from functools import partial

import cv2
import numpy as np
from PIL import Image
from scipy.ndimage import binary_dilation
from skimage.restoration import inpaint_biharmonic
from torch import Tensor

from textir_hf.imaging import color, resample
from textir_hf.imaging.resample import to_array, to_tensor


def _opencv(flag: int, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return cv2.inpaint(np.ascontiguousarray(image), mask.astype(np.uint8), 3, flag)


def biharmonic(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """scikit-image's solution of the biharmonic equation in the mask."""
    filled = inpaint_biharmonic(np.where(mask[..., None], 0, image), mask, channel_axis=-1, split_into_regions=True)
    return np.where(mask[..., None], (255 * filled).round().clip(0, 255), image).astype(np.uint8)


def border_mean(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The mean of the pixels along the mask's border."""
    border = binary_dilation(mask) & ~mask
    mean = (image[border] if border.any() else np.full((1, 3), 128.0)).mean(0)
    return np.where(mask[..., None], mean.round().astype(np.uint8), image)


FILLERS = {
    "OpenCV Telea": partial(_opencv, cv2.INPAINT_TELEA),
    "OpenCV Navier-Stokes": partial(_opencv, cv2.INPAINT_NS),
    "biharmonic": biharmonic,
    "mean of the border": border_mean,
}


def _resized(filter_: Image.Resampling, small: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(small).resize(size[::-1], filter_))


UPSCALERS = {
    "nearest": partial(_resized, Image.Resampling.NEAREST),
    "bicubic": lambda small, size: to_array(resample.upsample(to_tensor(small), size)),
    "Lanczos": partial(_resized, Image.Resampling.LANCZOS),
}


def with_chroma(image: np.ndarray, chroma: Tensor) -> np.ndarray:
    """The image's lightness with one a and b `[2]` everywhere; zeros make it gray."""
    lightness = color.lightness(to_tensor(image))
    return to_array(color.join_lab(lightness, chroma[None, :, None, None].expand(1, 2, *lightness.shape[2:])))
