"""Inpainting: masked regions are repainted, every other pixel stays bit for bit."""

from __future__ import annotations

from functools import cached_property

from textir_hf import imaging
from textir_hf.tasks.base import MAX_RUN, NetworkInput, Plan, Request, Restoration, Task

_AT_ONCE = 32  # crops prepared at a time


class Inpainting(Task):
    """`I_d = [I_gt * (1 - M), M]` (TextIR, Sec. 3.3), with M = 1 where the image is repainted."""

    name = "inpainting"
    command = "inpaint"
    summary = "repaint masked regions"
    usage = 'pipe("a smiling woman", image, mask_image=mask)'
    in_channels = 4
    requires = ("mask_image",)
    accepts = ("box", "feather")
    degradation = "region"
    edit_accepts = ("box", "feather")
    checkpoint = "textir-mini-inpainting"

    def plan(self, request, sample_size, device):
        return _Plan(request, sample_size, device)

    def degrade(self, target, rng, draw_mask):
        mask = draw_mask(rng)
        return {"degraded": imaging.masks.mask_out(target, mask)[0], "mask": mask[0]}

    def restored(self, sample, target, batch):
        """The known pixels are the target's."""
        return imaging.masks.composite(target, sample, batch["mask"])

    def preserved_error(self, sample, restored, target, batch):
        """The border of the region has to fit what is known."""
        return (2 * imaging.masks.rim(batch["mask"]) * (restored - target).abs()).mean((1, 2, 3))

    def example(self, side):
        from PIL import Image

        mask = Image.new("L", (side, side))
        mask.paste(255, (side // 4, side // 4, side // 2, side // 2))
        return {"mask_image": mask}


class _Plan(Plan):
    """Each masked region is looked at with its surroundings, at the trained size, and pasted at full size."""

    def __init__(self, request: Request, sample_size: int, device) -> None:
        from textir_hf.tasks.tiles import Tiles

        mask, box = request.mask, request.box
        crops = imaging.masks.mask_crops(mask, sample_size) if box is None else [(box, _inside(mask, box))]
        sizes = [imaging.resample.fit(b[3] - b[1], b[2] - b[0], sample_size) for b, _ in crops]
        tile = MAX_RUN * sample_size
        self.crops = [(*crop, Tiles(size, tile, tile // 4)) for crop, size in zip(crops, sizes, strict=True)]
        self.windows = sum(len(tiles) for *_, tiles in self.crops)
        self.request, self.device = request, device

    @cached_property
    def image(self):  # [3, H, W] uint8
        return self._to_device(self.request.image.rgb).movedim(-1, 0)

    @cached_property
    def mask(self):  # [H, W] bool
        return self._to_device(self.request.mask)

    @cached_property
    def weights(self):  # [H, W] of the new content
        return self._to_device(imaging.masks.feather_weights(self.request.mask, self.request.feather))

    def _to_device(self, array):
        import torch

        return torch.from_numpy(array).to(self.device)

    def restore(self) -> Restoration:
        result = self.image.clone()
        for start in range(0, len(self.crops), _AT_ONCE):
            crops = self.crops[start : start + _AT_ONCE]
            inputs = [self._inputs(box, tiles) for box, _, tiles in crops]
            samples = iter((yield [single for crop in inputs for single in crop]))
            for (box, part, tiles), crop in zip(crops, inputs, strict=True):
                self._paste(result, box, part, tiles.join([next(samples) for _ in crop]))
        return result

    def _inputs(self, box, tiles) -> list[NetworkInput]:
        left, top, right, bottom = box
        image = self.image[None, :, top:bottom, left:right].float() / 255
        mask = self.mask[None, None, top:bottom, left:right].float()
        # Bilinear weights are never negative: a pixel whose shrunken mask is 0 holds no content of a masked region.
        small, small_mask = (imaging.resample.resize(x, tiles.size, "bilinear") for x in (image, mask))
        degraded = imaging.masks.mask_out(small, (small_mask > 1e-4).float())[0]
        boxes = [box for row in tiles.rows() for box in row]
        return [NetworkInput(degraded[:, top:bottom, left:right]) for left, top, right, bottom in boxes]

    def _paste(self, result, box, part, sample) -> None:
        left, top, right, bottom = box
        window = (slice(None), slice(top, bottom), slice(left, right))
        restored = imaging.resample.to_bytes(imaging.resample.resize(sample[None], (bottom - top, right - left)))[0]
        if self.request.feather:
            weights = self.weights[top:bottom, left:right]
            restored = (weights * restored + (1 - weights) * self.image[window]).round().byte()
        result[window] = restored.where(self._to_device(part), result[window])


def _inside(mask, box):
    left, top, right, bottom = box
    part = mask[top:bottom, left:right]
    if part.sum() != mask.sum():
        raise ValueError(f"mask_image reaches out of the box {box}. Use a larger box, or a smaller mask.")
    return part
