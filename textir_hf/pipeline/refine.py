"""Fine detail for what inpainting filled: a super-resolution checkpoint restores the fills from fewer pixels."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from textir_hf.checks import Box
from textir_hf.imaging.faces import Frame, frame_places
from textir_hf.imaging.masks import mask_crops, match_border
from textir_hf.imaging.raster import Raster
from textir_hf.imaging.resample import to_array, to_tensor
from textir_hf.pipeline.regions import fill_order
from textir_hf.tasks.base import Request

_SEEN = 0.5  # share of the network's trained size from which a fill and its surroundings are restored
_LEAST = 1.5  # how many times larger than it was made a fill has to be shown, so that there is detail to add


def refine_fills(pipe, filled: Raster, request: Request, seed: int, call) -> Raster:
    """Restores the fills that `pipe` made smaller than they are shown, by `call.refiner`; faces in their frames.

    Pixels outside the mask stay bit for bit.
    """
    made, size, masked = pipe.restorer.config.sample_size, request.image.size, request.mask
    assert masked is not None  # inpainting requires it
    image = Raster(np.where(masked[..., None], filled.rgb, request.image.rgb))  # without hidden colors
    options: dict[str, Any] = {"mask": None, "box": None, "frames": (), "face_prompts": None, "regions": ()}
    options |= {"source": None, "skip_strength": None, "original": request.image}
    for mask, own in fill_order(request) if request.regions else [(masked, request)]:
        plain, outside = replace(own, **options), mask.copy()
        if plain.prompt_embeds is not None:
            plain = replace(plain, prompt_embeds=_moved(plain.prompt_embeds, pipe, call.refiner))
        for i, frame in enumerate(request.frames):
            (left, top, right, bottom), _, weights = frame_places(frame, size, request.frames)
            inside = np.zeros_like(mask)
            inside[top:bottom, left:right] = weights.numpy() > 0
            within, outside = mask & inside, outside & ~inside
            left, top, right, bottom = box = frame.bounds(size, margin=round(frame.side / 8))
            moved = Frame(frame.scale, frame.offset - complex(left, top))
            part = replace(plain, frames=(moved,), factor=frame.side / made / _SEEN)
            part = replace(part, original=Raster(request.image.rgb[top:bottom, left:right]))
            if own.face_prompts is not None:
                part = replace(part, prompt=own.face_prompts[i], prompt_embeds=None)
            if frame.side >= _LEAST * made:
                image = _refine(image, part, box, within[top:bottom, left:right], seed, call)
        left, top, right, bottom = request.box or (0, 0, 0, 0)
        crops = mask_crops(outside, made) if request.box is None else [(request.box, outside[top:bottom, left:right])]
        for box, within in crops:
            height, width = within.shape
            part = replace(plain, box=(0, 0, width, height), factor=min(height, width) / made / _SEEN)
            if min(height, width) >= _LEAST * made:
                image = _refine(image, part, box, within, seed, call)
    return replace(filled, rgb=np.where(masked[..., None], image.rgb, filled.rgb))


def _moved(embedding: Tensor, pipe, refiner) -> Tensor:
    """A prompt's embedding `[D]` from where the pipeline's network knows it to where the refiner's does."""
    moved = embedding[None].float()
    for recentering, back in ((pipe.recentering, True), (refiner.recentering, False)):
        if recentering is not None:
            moved = recentering(moved.to(pipe._execution_device), back).float()
    return moved[0]


def _refine(image: Raster, part: Request, box: Box, within: np.ndarray, seed: int, call) -> Raster:
    """Restores a box of the image alone, and takes it over where a mask of the box's size is, without a seam."""
    left, top, right, bottom = box
    place = np.s_[top:bottom, left:right]
    if not within.any():
        return image
    (restored,) = call.refiner._restore_requests([replace(part, image=Raster(image.rgb[place]))], [seed], call)
    known, where = to_tensor(image.rgb[place]), torch.from_numpy(within)[None, None].float()
    matched = to_array(match_border(to_tensor(restored.rgb), known, where))
    rgb = image.rgb.copy()
    rgb[place] = np.where(within[..., None], matched, rgb[place])
    return Raster(rgb)
