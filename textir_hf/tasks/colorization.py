"""Colorization: a and b of CIE Lab from lightness, which stays the image's own."""

from __future__ import annotations

from functools import cached_property

from textir_hf import imaging
from textir_hf.tasks.base import MAX_RUN, NetworkInput, Plan, Request, Restoration, Task

_BAND = 1 << 20  # pixels converted at a time


class Colorization(Task):
    """`I_d` is L, the output a and b, and `I_r = lab_to_rgb([I_d, I_o])` (TextIR, Sec. 3.3)."""

    name = "colorization"
    command = "colorize"
    summary = "colorize gray images"
    usage = 'pipe("a red flower", image)'
    in_channels = 1
    out_channels = 2
    input_scale = 0.01
    output_scale = 50.0
    degradation = "colors"
    checkpoint = "textir-mini-colorization"

    def plan(self, request, sample_size, device):
        return _Plan(request, sample_size, device)

    def degrade(self, target, rng, draw_mask):
        lightness, chroma = imaging.color.split_lab(target)
        return {"degraded": lightness[0], "chroma": chroma[0]}

    def restored(self, sample, target, batch):
        """Colors beyond sRGB would meet the clipping's zero gradient, and the root of lab_to_rgb has none at 0."""
        return imaging.color.join_lab(batch["degraded"].clamp(1, 99), sample)

    def reconstruction_error(self, sample, restored, target, batch):  # of a and b in units of 100
        from torch.nn.functional import smooth_l1_loss

        error = smooth_l1_loss(sample / 100, batch["chroma"] / 100, beta=0.03, reduction="none")
        return error.mean((1, 2, 3))


class _Plan(Plan):
    """Colors are made at the trained size and joined with the full-size lightness."""

    def __init__(self, request: Request, sample_size: int, device) -> None:
        from textir_hf.tasks.tiles import Tiles

        size, tile = imaging.resample.fit(*request.image.size, sample_size), MAX_RUN * sample_size
        self.tiles = lambda: Tiles(size, tile, tile // 4)
        self.windows, self.size = len(self.tiles()), size
        self.request, self.device = request, device
        height, width = request.image.size
        lines = max(1, _BAND // width)
        self.bands = [slice(start, start + lines) for start in range(0, height, lines)]

    @cached_property
    def lightness(self):  # [1, 1, H, W]
        import torch

        image = torch.from_numpy(self.request.image.rgb).to(self.device).movedim(-1, 0)[None]
        return torch.cat([imaging.color.lightness(image[:, :, band].float() / 255) for band in self.bands], 2)

    @cached_property
    def degraded(self):  # [1, h, w]
        return imaging.resample.resize(self.lightness, self.size).clamp(0, 100)[0]

    def restore(self) -> Restoration:
        import torch

        tiles = self.tiles()
        boxes = [box for row in tiles.rows() for box in row]
        samples = yield [NetworkInput(self.degraded[:, top:bottom, left:right]) for left, top, right, bottom in boxes]
        sample = tiles.join(samples)[None]
        if sample.shape[1] == 3:  # a network with a decoder gives an image
            sample = imaging.color.chroma(sample.clamp(0, 1))
        chroma = imaging.resample.resize(sample, self.lightness.shape[-2:])
        joined = [imaging.color.lab_to_bytes(self.lightness[:, :, band], chroma[:, :, band]) for band in self.bands]
        return torch.cat(joined, 1)
