"""A prompt for each region: what the results under several prompts become as one image."""

import base64
import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from kornia.filters import guided_blur
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from textir_hf.imaging.color import chroma, lab_to_bytes, lightness
from textir_hf.imaging.raster import Raster
from textir_hf.imaging.resample import to_tensor
from textir_hf.tasks.base import Request

_PNG = "data:image/png;base64,"
_SOFT = 1e-3  # of the guided filter: the weights follow edges of more than about 3 % of the lightness
_BAND = 1 << 20  # pixels blended at a time


def restore_regions(pipe, requests: list[Request], seeds: list[int], call) -> list[Raster]:
    """One result for each request, of which each region has its own prompt."""
    restore = _fill_regions if pipe.task.degradation == "mask_image" else _blend_regions
    return [restore(pipe, request, seed, call) for request, seed in zip(requests, seeds, strict=True)]


def _blend_regions(pipe, request: Request, seed: int, call) -> Raster:
    parts = [request, *(own for _, own in request.regions)]
    around, *others = pipe._restore_requests(parts, [seed] * len(parts), call)
    masks = visible_parts([mask for mask, _ in request.regions])
    images = [around.rgb, *(other.rgb for other in others)]
    rgb = blend(images, masks, request.image.rgb if pipe.task.degradation == "colors" else None)
    if request.mask is not None:
        rgb = np.where(request.mask[..., None], rgb, around.rgb)
    return replace(around, rgb=rgb)


def _fill_regions(pipe, request: Request, seed: int, call) -> Raster:
    """Fills the regions of a mask one after the other from the left, so that later ones see earlier ones."""
    order, image, raster = fill_order(request), request.image, request.source or request.image
    for step, (part, own) in enumerate(order):
        remaining = np.any([mask for mask, _ in order[step:]], 0)
        fill = replace(own, image=image, source=raster, original=request.image, mask=remaining)
        (filled,) = pipe._restore_requests([fill], [seed], call)
        raster = replace(filled, rgb=np.where(part[..., None], filled.rgb, raster.rgb))
        image = replace(image, rgb=np.where(part[..., None], filled.rgb, image.rgb))
    return raster


def visible_parts(masks: list[np.ndarray]) -> list[np.ndarray]:
    """What later regions leave of each, `[H, W]` bool."""
    covered, parts = np.zeros_like(masks[0]), []
    for mask in reversed(masks):
        parts.append(mask & ~covered)
        covered = covered | mask
    return parts[::-1]


def fill_order(request: Request) -> list[tuple[np.ndarray, Request]]:
    """The parts of an inpainting mask, `[H, W]` bool, from the left, each with the request under its prompt."""
    assert request.mask is not None  # inpainting requires it
    parts = visible_parts([request.mask & mask for mask, _ in request.regions])
    rest = request.mask & ~np.any(parts, 0)
    filled = [(part, own) for part, (_, own) in zip(parts, request.regions, strict=True)] + [(rest, request)]
    return sorted([pair for pair in filled if pair[0].any()], key=lambda pair: pair[0].any(0).argmax())


def border_of(size: Sequence[int]) -> int:
    """How far from a region's edge its result may blend into what is around it, pixels on either side."""
    return max(4, round(min(size) / 32))


def soft_weights(parts: list[np.ndarray], guide: Tensor) -> Tensor:
    """Weights of the result around the regions and of each region's, `[1 + R, H, W]`; they sum to 1.

    Along an edge of the regions' parts, `[H, W]` bool, they follow the edges of the guide, lightness `[1, 1, H, W]` in
    [0, 1] (He et al., "Guided Image Filtering", 2010), so a rough stroke over an object is enough. Beyond `border_of`
    pixels from the edge they are exactly 0 or 1.
    """
    border = border_of(guide.shape[-2:])
    size = 2 * border + 1
    weights = []
    for part in parts:
        hard = torch.tensor(part).to(guide)[None, None]
        soft = guided_blur(guide, hard, size, _SOFT).clamp(0, 1) if min(guide.shape[-2:]) > border else hard
        near = F.max_pool2d(hard, size, stride=1, padding=border)
        deep = 1 - F.max_pool2d(1 - hard, size, stride=1, padding=border)
        weights.append(torch.where(deep == 1, 1.0, torch.where(near == 0, 0.0, soft))[0])
    regions = torch.cat(weights)
    regions = regions / regions.sum(0).clamp(min=1)
    return torch.cat([(1 - regions.sum(0, keepdim=True)).clamp(min=0), regions])


def blend(results: list[np.ndarray], parts: list[np.ndarray], colors_of: np.ndarray | None = None) -> np.ndarray:
    """Joins results `[H, W, 3]` uint8 under several prompts: that around the regions, and each region's.

    `parts` are bool, of the small image. For colorization, `colors_of` is the image that was colorized: a and b are
    blended, and its lightness stays.
    """
    height, width = results[0].shape[:2]
    parts = [np.asarray(Image.fromarray(part).resize((width, height), Image.Resampling.NEAREST)) for part in parts]
    guide = to_tensor(results[0] if colors_of is None else colors_of)
    weights = soft_weights(parts, lightness(guide) / 100)
    joined = results[0].copy()
    lines = max(1, _BAND // width)
    for band in (slice(start, start + lines) for start in range(0, height, lines)):
        share = weights[:, None, band].double()  # in double precision, the order of the regions does not matter
        pixels = torch.cat([to_tensor(result[band]) for result in results])
        if colors_of is None:
            mixed = ((share * pixels).sum(0) * 255).round().byte()
        else:
            ab = (share * chroma(pixels)).sum(0, keepdim=True).float()
            mixed = lab_to_bytes(lightness(to_tensor(colors_of[band])), ab)
        joined[band] = mixed.movedim(0, -1).numpy()
        for weight, result in zip(weights[:, band], results, strict=True):
            only = (weight == 1).numpy()
            joined[band][only] = result[band][only]
    return joined


def pack_mask(mask: np.ndarray) -> str:
    """A mask `[H, W]` bool as text: a black and white PNG in base64."""
    content = io.BytesIO()
    Image.fromarray(mask).save(content, "PNG", optimize=True)
    return _PNG + base64.b64encode(content.getvalue()).decode()


def unpack_mask(text: str) -> Image.Image:
    """The mask that `pack_mask` wrote."""
    try:
        return Image.open(io.BytesIO(base64.b64decode(text.removeprefix(_PNG), validate=True)), formats=["PNG"])
    except (ValueError, OSError) as error:
        raise ValueError(f"A region's mask must be an image, got the text {text[:40]!r}.") from error
