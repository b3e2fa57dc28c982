"""Restored pixels to images with their alpha, color profile and settings."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from textir_hf._version import __version__
from textir_hf.imaging.files import SETTINGS
from textir_hf.imaging.raster import Raster
from textir_hf.imaging.resample import resize, to_array, to_tensor
from textir_hf.tasks import Task
from textir_hf.tasks.base import Request


def to_result(restored: Tensor, request: Request, task: Task) -> Raster:
    """Joins the restored pixels `[3, H, W]` uint8 with what stays of the source: pixels outside a mask, and alpha."""
    source, mask = request.source, request.mask
    rgb = restored.movedim(0, -1).cpu().contiguous().numpy()
    if mask is not None and rgb.shape == source.rgb.shape:
        rgb = np.where(mask[..., None], rgb, source.rgb)
    alpha = source.alpha
    if alpha is not None and mask is not None and task.degradation == "mask_image":
        alpha = np.where(mask, 255, alpha).astype(np.uint8)  # what is repainted is opaque
    elif alpha is not None and alpha.shape != rgb.shape[:2]:
        alpha = to_array(resize(to_tensor(alpha[..., None]), rgb.shape[:2]))[..., 0]
    return Raster(rgb, None if alpha is None or alpha.min() == 255 else alpha, source.profile)


def settings_of(request: Request, task: Task, model: str, seed: int) -> dict:
    """What made a result: a call with these settings for this image alone makes it again.

    Args:
        request: What was asked.
        task: The checkpoint's.
        model: Name of the checkpoint.
        seed: Of this result's noise.
    """
    settings = {"version": __version__, "model": model, "task": task.name} | request.settings | {"seed": seed}
    return {name: value for name, value in settings.items() if not (value is None or value is False or value == "")}


def to_output(
    rasters: list[Raster], output_type: str, settings: list[dict] | None = None
) -> list[Image.Image] | np.ndarray | Tensor | list[np.ndarray] | list[Tensor]:
    """Images as "pil", or as "np" `[N, H, W, 3]` or "pt" `[N, 3, H, W]` in [0, 1].

    Arrays and tensors of different sizes stay a list. Alpha, profile and settings go with "pil" alone.
    """
    if output_type == "pil":
        return [_to_pil(raster, own) for raster, own in zip(rasters, settings or [None] * len(rasters), strict=True)]
    same = len({raster.size for raster in rasters}) == 1
    if output_type == "np":
        arrays = [raster.rgb.astype(np.float32) / 255 for raster in rasters]
        return np.stack(arrays) if same else arrays
    tensors = [to_tensor(raster.rgb)[0] for raster in rasters]
    return torch.stack(tensors) if same else tensors


def _to_pil(raster: Raster, settings: dict | None) -> Image.Image:
    image = Image.fromarray(raster.rgb)
    if raster.alpha is not None:
        image.putalpha(Image.fromarray(raster.alpha))
    if raster.profile:
        image.info["icc_profile"] = raster.profile
    if settings is not None:
        image.info[SETTINGS] = settings
    return image
