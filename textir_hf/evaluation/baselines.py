"""What everybody can do without our networks, on `[H, W, 3]` uint8 pictures."""

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

Filler = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _opencv(flag: int, picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    return cv2.inpaint(np.ascontiguousarray(picture), hole.astype(np.uint8), 3, flag)


def biharmonic(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """scikit-image's solution of the biharmonic equation in the hole."""
    filled = inpaint_biharmonic(np.where(hole[..., None], 0, picture), hole, channel_axis=-1, split_into_regions=True)
    return np.where(hole[..., None], (255 * filled).round().clip(0, 255), picture).astype(np.uint8)


def border_mean(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """The mean of the pixels along the hole's border."""
    border = binary_dilation(hole) & ~hole
    mean = (picture[border] if border.any() else np.full((1, 3), 128.0)).mean(0)
    return np.where(hole[..., None], mean.round().astype(np.uint8), picture)


INPAINTING: dict[str, Filler] = {
    "OpenCV Telea": partial(_opencv, cv2.INPAINT_TELEA),
    "OpenCV Navier-Stokes": partial(_opencv, cv2.INPAINT_NS),
    "biharmonic": biharmonic,
    "mean of the border": border_mean,
}


def _resized(filter_: Image.Resampling, small: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(small).resize(size[::-1], filter_))


SUPER_RESOLUTION: dict[str, Callable[[np.ndarray, tuple[int, int]], np.ndarray]] = {
    "nearest": partial(_resized, Image.NEAREST),
    "bicubic": lambda small, size: to_array(resample.upsample(to_tensor(small), size)),
    "Lanczos": partial(_resized, Image.LANCZOS),
}


def with_chroma(picture: np.ndarray, chroma: Tensor) -> np.ndarray:
    """The picture's lightness with one a and b `[2]` everywhere; zeros make it gray."""
    lightness = color.lightness(to_tensor(picture))
    return to_array(color.join_lab(lightness, chroma[None, :, None, None].expand(1, 2, *lightness.shape[2:])))


def diffusers_filler(name: str, prompts: list[str], steps: int = 20) -> tuple[str, Callable]:
    """Any inpainting pipeline of diffusers, as a baseline.

    It works at its own size, to which picture and mask are enlarged; the result is shrunk again and pasted into the
    hole.

    Args:
        name: Folder or Hub id.
        prompts: A sentence for every picture.
        steps: Of the sampler.

    Returns:
        What to call it, and a function of (picture, hole, index).

    Raises:
        ValueError: It does not inpaint.
    """
    pipe = DiffusionPipeline.from_pretrained(name, use_safetensors=True)
    if "mask_image" not in inspect.signature(pipe.__call__).parameters:
        raise ValueError(f"{name} is a {type(pipe).__name__}, which takes no mask. Give an inpainting pipeline.")
    pipe.set_progress_bar_config(disable=True)
    side = pipe.unet.config.sample_size * pipe.vae_scale_factor

    def fill(picture: np.ndarray, hole: np.ndarray, index: int) -> np.ndarray:
        image = Image.fromarray(picture).resize((side, side), Image.LANCZOS)
        mask = Image.fromarray(hole).convert("L").resize((side, side), Image.NEAREST)
        made = pipe(
            prompt=prompts[index],
            image=image,
            mask_image=mask,
            width=side,
            height=side,
            num_inference_steps=steps,
            generator=torch.Generator().manual_seed(index),
        ).images[0]
        small = np.asarray(made.resize(picture.shape[1::-1], Image.LANCZOS))
        return np.where(hole[..., None], small, picture)

    return f"{name} at {side} px", fill
