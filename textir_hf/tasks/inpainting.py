"""Inpainting: masked regions are repainted, every other pixel stays bit for bit."""

from functools import partial

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from textir_hf.imaging.faces import frame_places, paste_from_frame, warp_to_frame
from textir_hf.imaging.masks import composite, mask_crops, mask_out, match_border
from textir_hf.imaging.resample import fit, resize, to_bytes
from textir_hf.imaging.tiles import Tiles
from textir_hf.tasks.base import MAX_RUN, Canvas, Request, Task, Window


class _Canvas(Canvas):
    """Each masked region is looked at with its surroundings, at the trained size, and pasted at full size.

    A region that touches a face's frame is filled in that frame afterwards, as far as it is in the frame.
    """

    def __init__(self, request: Request, sample_size: int, device) -> None:
        mask, box = request.mask, request.box
        assert mask is not None  # the task requires it
        if box is not None:
            left, top, right, bottom = box
            crops = [(box, mask[top:bottom, left:right])]
            if crops[0][1].sum() != mask.sum():
                raise ValueError(f"mask_image reaches out of the box {box}. Use a larger box, or a smaller mask.")
        else:
            crops = mask_crops(_outside_frames(mask, request.frames) if request.frames else mask, sample_size)
        self.crops, self.count = [], 0
        for (left, top, right, bottom), part in crops:
            tiles = Tiles(fit(bottom - top, right - left, sample_size), MAX_RUN * sample_size)
            self.crops.append(((left, top, right, bottom), part, tiles))
            self.count += len(tiles.boxes)
        self.frames = []
        for i, frame in enumerate(request.frames):
            (left, top, right, bottom), _, weights = frame_places(frame, mask.shape, request.frames)
            if (mask[top:bottom, left:right] & (weights.numpy() > 0)).any():
                self.frames.append((i, frame))
        self.count += len(self.frames)
        self.request, self.masked, self.sample_size, self.device = request, mask, sample_size, device

    def windows(self):
        self.image = torch.from_numpy(self.request.image.rgb).to(self.device).movedim(-1, 0)  # [3, H, W] uint8
        self.mask = torch.from_numpy(self.masked).to(self.device)  # [H, W] bool
        self.filled = self.image.clone()
        for crop in self.crops:
            (left, top, right, bottom), _, tiles = crop
            image = self.image[None, :, top:bottom, left:right].float() / 255
            mask = self.mask[None, None, top:bottom, left:right].float()
            # Bilinear weights are never negative: a pixel whose shrunken mask is 0 holds no content of a region.
            image, mask = resize(image, tiles.size, "bilinear"), resize(mask, tiles.size, "bilinear")
            degraded = mask_out(image, (mask > 0).float())[0]
            for left, top, right, bottom in tiles.boxes:
                yield Window(degraded[:, top:bottom, left:right], partial(self._paste_tile, crop))
        for i, frame in self.frames:
            image = warp_to_frame(self.image, frame, self.sample_size, "bilinear")[None]
            mask = warp_to_frame(self.mask[None], frame, self.sample_size, "bilinear")[None]
            degraded = mask_out(image / 255, (mask > 0).float())[0]
            yield Window(degraded, partial(self._paste_frame, frame), face=i)

    def result(self):
        return self.filled

    def _paste_tile(self, crop, sample) -> None:
        """At full size, where the border is seen; only as much as lies around the regions."""
        (left, top, right, bottom), part, tiles = crop
        tiles.add(sample)
        if not tiles.complete:
            return
        content = resize(tiles.area[None], (bottom - top, right - left))
        region = ndimage.find_objects(part.astype(np.uint8))[0]
        rows, columns = (slice(max(span.start - 1, 0), span.stop + 1) for span in region)
        window = self.filled[:, top:bottom, left:right][:, rows, columns]
        mask = torch.from_numpy(part[rows, columns]).to(self.device)
        known, where = window[None].float() / 255, mask[None, None].float()
        blended = match_border(content[..., rows, columns], known, where)
        window.copy_(to_bytes(blended)[0].where(mask, window))

    def _paste_frame(self, frame, sample) -> None:
        paste_from_frame(self.filled, sample, frame, self.mask, self.request.frames)


class Inpainting(Task):
    """`I_d = [I_gt * (1 - M), M]` (TextIR, Sec. 3.3), with M = 1 where the image is repainted."""

    name = "inpainting"
    command = "inpaint"
    summary = "repaint masked regions"
    usage = 'pipe("a smiling woman", image, mask_image=mask)'
    in_channels = 4
    requires = ("mask_image",)
    accepts = ("box", "faces", "feather", "refiner")
    degradation = "mask_image"
    edit_accepts = ("box", "faces", "feather", "refiner")
    checkpoint = "textir-mini-inpainting"
    canvas = _Canvas

    def degrade(self, target, rng, draw_mask):
        mask = draw_mask(rng)
        return {"degraded": mask_out(target, mask)[0], "mask": mask[0]}

    def restored(self, sample, target, batch):
        """The known pixels are the target's, and the new ones continue them without a seam."""
        return composite(target, match_border(sample, target, batch["mask"]), batch["mask"])

    def reconstruction_error(self, sample, restored, target, batch):
        """Where the image is known, the network's own pixels count: the new ones are fitted to them at the border."""
        known = 0.5 * ((1 - batch["mask"]) * (sample - target).abs()).mean((1, 2, 3))
        return super().reconstruction_error(sample, restored, target, batch) + known

    def example(self, side):
        mask = Image.new("L", (side, side))
        mask.paste(255, (side // 4, side // 4, side // 2, side // 2))
        return {"mask_image": mask}


def _outside_frames(mask, frames):
    """The regions of a mask that are not wholly in the middle of frames, `[H, W]` bool."""
    covered = np.zeros_like(mask)
    for frame in frames:
        (left, top, right, bottom), _, weights = frame_places(frame, mask.shape, frames)
        covered[top:bottom, left:right] |= weights.numpy() == 1
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    return np.isin(labels, np.unique(labels[mask & ~covered])) & mask
