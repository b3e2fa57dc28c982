"""Fine detail for what inpainting filled: a super-resolution checkpoint restores the fills from fewer pixels."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from textir_hf.checks import Box
from textir_hf.imaging.faces import frame_places
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
    made = pipe.restorer.config.sample_size
    options: dict[str, Any] = {"mask": None, "box": None, "frames": (), "face_prompts": None, "regions": ()}
    options |= {"feather": 0.0, "skip_strength": None, "reference": request.reference or request.image}
    for mask, own in fill_order(request) if request.regions else [(request.repainted, request)]:
        plain, outside = replace(own, **options), mask.copy()
        for i, frame in enumerate(request.frames):
            (left, top, right, bottom), _, weights = frame_places(frame, mask.shape)
            outside[top:bottom, left:right] &= weights.numpy() == 0
            prompt = own.prompt if request.face_prompts is None else request.face_prompts[i]
            part = replace(plain, frames=(frame,), factor=frame.side / made / _SEEN, prompt=prompt)
            if frame.side >= _LEAST * made:
                filled = _refine(filled, part, (left, top, right, bottom), mask, seed, call)
        for box, _ in mask_crops(outside, made) if request.box is None else [(request.box, None)]:
            side = min(box[2] - box[0], box[3] - box[1])
            if side >= _LEAST * made:
                filled = _refine(filled, replace(plain, box=box, factor=side / made / _SEEN), box, outside, seed, call)
    return filled


def _refine(filled: Raster, part: Request, box: Box, mask: np.ndarray, seed: int, call) -> Raster:
    """Restores a part of the image and takes it over where a mask is, without a seam."""
    left, top, right, bottom = box
    place = np.s_[top:bottom, left:right]
    if not mask[place].any():
        return filled
    image = replace(filled, alpha=None)
    if part.box is not None:  # the rest of a large photo is not needed
        image, part = Raster(filled.rgb[place]), replace(part, box=(0, 0, right - left, bottom - top))
    (restored,) = call.refiner._restore_requests([replace(part, image=image, source=image)], [seed], call)
    content = restored.rgb if part.box is not None else restored.rgb[place]
    known, where = to_tensor(filled.rgb[place]), torch.from_numpy(mask[place])[None, None].float()
    matched = to_array(match_border(to_tensor(content), known, where))
    rgb = filled.rgb.copy()
    rgb[place] = np.where(mask[place][..., None], matched, rgb[place])
    return replace(filled, rgb=rgb)
