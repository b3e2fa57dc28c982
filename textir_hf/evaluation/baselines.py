"""What everybody can do without our networks, on `[H, W, 3]` uint8 images and `[H, W]` bool masks, True = repaint."""

import inspect
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from scipy.ndimage import binary_dilation
from skimage.restoration import inpaint_biharmonic
from torch import Tensor

from textir_hf.imaging import color, resample
from textir_hf.imaging.resample import to_array, to_tensor

Filler = Callable[[np.ndarray, np.ndarray], np.ndarray]  # image, mask
PromptedFiller = Callable[[np.ndarray, np.ndarray, int], np.ndarray]  # image, mask, number of the image
Upscaler = Callable[[np.ndarray, tuple[int, int]], np.ndarray]  # small image, size of the result


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


FILLERS: dict[str, Filler] = {
    "OpenCV Telea": partial(_opencv, cv2.INPAINT_TELEA),
    "OpenCV Navier-Stokes": partial(_opencv, cv2.INPAINT_NS),
    "biharmonic": biharmonic,
    "mean of the border": border_mean,
}


def _resized(filter_: Image.Resampling, small: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(small).resize(size[::-1], filter_))


UPSCALERS: dict[str, Upscaler] = {
    "nearest": partial(_resized, Image.Resampling.NEAREST),
    "bicubic": lambda small, size: to_array(resample.upsample(to_tensor(small), size)),
    "Lanczos": partial(_resized, Image.Resampling.LANCZOS),
}


def with_chroma(image: np.ndarray, chroma: Tensor) -> np.ndarray:
    """The image's lightness with one a and b `[2]` everywhere; zeros make it gray."""
    lightness = color.lightness(to_tensor(image))
    return to_array(color.join_lab(lightness, chroma[None, :, None, None].expand(1, 2, *lightness.shape[2:])))


def diffusers_filler(name: str, prompts: list[str], steps: int = 20) -> tuple[str, PromptedFiller]:
    """Any inpainting pipeline of diffusers, as a baseline.

    It works at its own size: image and mask are resized to it, and its result is resized back and pasted into the mask.

    Args:
        name: Folder or Hub id.
        prompts: A sentence for every image.
        steps: Of the sampler.

    Returns:
        What to call it, and the filler.

    Raises:
        ValueError: It does not inpaint.
    """
    pipe = DiffusionPipeline.from_pretrained(name, use_safetensors=True)
    if "mask_image" not in inspect.signature(pipe.__call__).parameters:
        raise ValueError(f"{name} is a {type(pipe).__name__}, which takes no mask. Give an inpainting pipeline.")
    pipe.set_progress_bar_config(disable=True)
    side = pipe.unet.config.sample_size * pipe.vae_scale_factor

    def fill(image: np.ndarray, mask: np.ndarray, index: int) -> np.ndarray:
        result = pipe(
            prompt=prompts[index],
            image=Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS),
            mask_image=Image.fromarray(mask).convert("L").resize((side, side), Image.Resampling.NEAREST),
            width=side,
            height=side,
            num_inference_steps=steps,
            generator=torch.Generator().manual_seed(index),
        ).images[0]
        resized = np.asarray(result.resize(image.shape[1::-1], Image.Resampling.LANCZOS))
        return np.where(mask[..., None], resized, image)

    return f"{name} at {side} px", fill
