"""Inpainting: masked regions are repainted, every other pixel stays bit for bit."""

from __future__ import annotations

from functools import cached_property

from textir_hf import imaging
from textir_hf.tasks.base import AT_ONCE, MAX_RUN, NetworkInput, Plan, Request, Restoration, Task


class Inpainting(Task):
    """`I_d = [I_gt * (1 - M), M]` (TextIR, Sec. 3.3), with M = 1 where the image is repainted."""

    name = "inpainting"
    command = "inpaint"
    summary = "repaint masked regions"
    usage = 'pipe("a smiling woman", image, mask_image=mask)'
    in_channels = 4
    requires = ("mask_image",)
    accepts = ("box", "faces", "feather")
    degradation = "region"
    edit_accepts = ("box", "faces", "feather")
    checkpoint = "textir-mini-inpainting"

    def plan(self, request, sample_size, device):
        return (_FacesPlan if request.frames else _Plan)(request, sample_size, device)

    def degrade(self, target, rng, draw_mask):
        mask = draw_mask(rng)
        return {"degraded": imaging.masks.mask_out(target, mask)[0], "mask": mask[0]}

    def restored(self, sample, target, batch):
        """The known pixels are the target's, and the new ones continue them without a seam."""
        return imaging.masks.composite(target, imaging.blend.match_border(sample, target, batch["mask"]), batch["mask"])

    def reconstruction_error(self, sample, restored, target, batch):
        """Where the image is known, the network's own pixels count: the new ones are fitted to them at the border."""
        known = 0.5 * ((1 - batch["mask"]) * (sample - target).abs()).mean((1, 2, 3))
        return super().reconstruction_error(sample, restored, target, batch) + known

    def example(self, side):
        from PIL import Image

        mask = Image.new("L", (side, side))
        mask.paste(255, (side // 4, side // 4, side // 2, side // 2))
        return {"mask_image": mask}


class _Plan(Plan):
    """Each masked region is looked at with its surroundings, at the trained size, and pasted at full size."""

    def __init__(self, request: Request, sample_size: int, device) -> None:
        from textir_hf.tasks.tiles import Tiles

        crops = self._crops(request, sample_size)
        sizes = [imaging.resample.fit(b[3] - b[1], b[2] - b[0], sample_size) for b, _ in crops]
        tile = MAX_RUN * sample_size
        self.crops = [(*crop, Tiles(size, tile, tile // 4)) for crop, size in zip(crops, sizes, strict=True)]
        self.windows = sum(len(tiles) for *_, tiles in self.crops)
        self.request, self.device = request, device

    def _crops(self, request: Request, sample_size: int):
        mask, box = request.mask, request.box
        return imaging.masks.mask_crops(mask, sample_size) if box is None else [(box, _inside(mask, box))]

    @cached_property
    def image(self):  # [3, H, W] uint8
        return self._to_device(self.request.image.rgb).movedim(-1, 0)

    @cached_property
    def mask(self):  # [H, W] bool
        return self._to_device(self.request.mask)

    def _to_device(self, array):
        import torch

        return torch.from_numpy(array).to(self.device)

    def restore(self) -> Restoration:
        result = self.image.clone()
        yield from self._fill(result)
        return self._feather(result)

    def _fill(self, result):
        for start in range(0, len(self.crops), AT_ONCE):
            crops = self.crops[start : start + AT_ONCE]
            inputs = [self._inputs(box, tiles) for box, _, tiles in crops]
            samples = iter((yield [single for crop in inputs for single in crop]))
            for (box, part, tiles), crop in zip(crops, inputs, strict=True):
                sample = tiles.join([next(samples) for _ in crop])[None]
                self._paste(result, sample, box, part)

    def _paste(self, result, sample, box, part):
        """At full size, where the border is seen; only as much as lies around the regions."""
        left, top, right, bottom = box
        sample = imaging.resample.resize(sample, (bottom - top, right - left))
        rows, columns = imaging.masks.extent(part, margin=1)
        window, mask = result[:, top:bottom, left:right][:, rows, columns], self._to_device(part[rows, columns])
        known, where = window[None].float() / 255, mask[None, None].float()
        blended = imaging.blend.match_border(sample[..., rows, columns], known, where)
        window.copy_(imaging.resample.to_bytes(blended)[0].where(mask, window))

    def _feather(self, result):
        if not self.request.feather:
            return result
        weights = self._to_device(imaging.masks.feather_weights(self.request.mask, self.request.feather))
        blended = (weights * result + (1 - weights) * self.image).round().byte()
        return blended.where(self.mask, self.image)

    def _inputs(self, box, tiles) -> list[NetworkInput]:
        left, top, right, bottom = box
        image = self.image[None, :, top:bottom, left:right].float() / 255
        mask = self.mask[None, None, top:bottom, left:right].float()
        # Bilinear weights are never negative: a pixel whose shrunken mask is 0 holds no content of a masked region.
        small, small_mask = (imaging.resample.resize(x, tiles.size, "bilinear") for x in (image, mask))
        degraded = imaging.masks.mask_out(small, (small_mask > 1e-4).float())[0]
        boxes = [box for row in tiles.rows() for box in row]
        return [NetworkInput(degraded[:, top:bottom, left:right]) for left, top, right, bottom in boxes]


class _FacesPlan(_Plan):
    """A region that touches a face is filled in that face's frame; what lies outside the frames, as elsewhere."""

    def __init__(self, request: Request, sample_size: int, device) -> None:
        super().__init__(request, sample_size, device)
        self.sample_size = sample_size
        self.frames = [(i, f) for i, f in enumerate(request.frames) if _touched(request.mask, f)]
        self.windows += len(self.frames)

    def _crops(self, request, sample_size):
        import numpy as np
        from scipy import ndimage

        covered = np.zeros_like(request.mask)
        for frame in request.frames:
            (left, top, right, bottom), _, weights = imaging.faces.frame_places(frame, request.mask.shape)
            covered[top:bottom, left:right] |= weights.numpy() == 1
        labels, _ = ndimage.label(request.mask, np.ones((3, 3)))
        rest = np.isin(labels, np.unique(labels[request.mask & ~covered])) & request.mask
        return imaging.masks.mask_crops(rest, sample_size)

    def _fill(self, result):
        yield from super()._fill(result)
        samples = yield [NetworkInput(self._seen(frame), face=i) for i, frame in self.frames]
        for (_, frame), sample in zip(self.frames, samples, strict=True):
            imaging.faces.paste_from_frame(result, sample, frame, self.mask)

    def _seen(self, frame):
        image, mask = (
            imaging.faces.warp_to_frame(x, frame, self.sample_size, "bilinear")[None]
            for x in (self.image, self.mask[None])
        )
        return imaging.masks.mask_out(image / 255, (mask > 1e-4).float())[0]


def _touched(mask, frame) -> bool:
    (left, top, right, bottom), _, weights = imaging.faces.frame_places(frame, mask.shape)
    return bool((mask[top:bottom, left:right] & (weights.numpy() > 0)).any())


def _inside(mask, box):
    left, top, right, bottom = box
    part = mask[top:bottom, left:right]
    if part.sum() != mask.sum():
        raise ValueError(f"mask_image reaches out of the box {box}. Use a larger box, or a smaller mask.")
    return part
