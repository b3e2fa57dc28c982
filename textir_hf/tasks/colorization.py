"""Colorization: a and b of CIE Lab from lightness, which stays the image's own."""

import torch
from torch.nn import functional as F

from textir_hf.imaging.color import chroma, join_lab, lab_to_bytes, lightness
from textir_hf.imaging.resample import fit, resize
from textir_hf.imaging.tiles import Tiles
from textir_hf.tasks.base import MAX_RUN, Canvas, Request, Task, Window

_BAND = 1 << 20  # pixels converted at a time


class _Canvas(Canvas):
    """Colors are made at the trained size and joined with the full-size lightness."""

    def __init__(self, request: Request, sample_size: int, device) -> None:
        self.request, self.device, self.size = request, device, request.image.size
        self.tiles = Tiles(fit(*self.size, sample_size), MAX_RUN * sample_size)
        self.count = len(self.tiles.boxes)
        lines = max(1, _BAND // self.size[1])
        self.bands = [slice(start, start + lines) for start in range(0, self.size[0], lines)]

    def windows(self):
        image = torch.from_numpy(self.request.image.rgb).to(self.device).movedim(-1, 0)[None]
        bands = [lightness(image[:, :, band].float() / 255) for band in self.bands]
        self.lightness = torch.cat(bands, 2)  # [1, 1, H, W]
        degraded = resize(self.lightness, self.tiles.size).clamp(0, 100)[0]
        for left, top, right, bottom in self.tiles.boxes:
            yield Window(degraded[:, top:bottom, left:right], self.tiles.add)

    def result(self):
        ab = resize(_ab(self.tiles.area[None]), self.size)
        joined = [lab_to_bytes(self.lightness[:, :, band], ab[:, :, band]) for band in self.bands]
        return torch.cat(joined, 1)


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
    canvas = _Canvas

    def degrade(self, target, rng, draw_mask):
        return {"degraded": lightness(target)[0], "chroma": chroma(target)[0]}

    def restored(self, sample, target, batch):
        """Colors beyond sRGB would meet the clipping's zero gradient, and the root of lab_to_rgb has none at 0."""
        return join_lab(batch["degraded"].clamp(1, 99), _ab(sample))

    def reconstruction_error(self, sample, restored, target, batch):  # of a and b in units of 100
        error = F.smooth_l1_loss(sample / 100, batch["chroma"] / 100, beta=0.03, reduction="none")
        return error.mean((1, 2, 3))


def _ab(sample: torch.Tensor) -> torch.Tensor:
    """The network's output as a and b; a network with a decoder gives an image."""
    return chroma(sample.clamp(0, 1)) if sample.shape[1] == 3 else sample
