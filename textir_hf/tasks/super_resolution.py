"""Super-resolution: 2 to 64 times larger, in overlapping tiles; or faces alone, before a background."""

from functools import partial

import torch

from textir_hf.checks import NUMBERS, Box
from textir_hf.imaging import resample
from textir_hf.imaging.faces import paste_from_frame, warp_to_frame
from textir_hf.imaging.raster import Raster
from textir_hf.imaging.tiles import Tiles
from textir_hf.tasks.base import MAX_RUN, Canvas, Request, Task, Window

FACTORS = (4, 8, 16, 32, 64)  # of training (TextIR, Sec. 3.3)
OPEN_FACTOR = 16  # from which a face may be another person's; below, only its texture can follow another condition
_ROUNDING = 1e-6  # by which a factor may be less
MIN_FACTOR, MAX_FACTOR, *_ = NUMBERS["factor"]


class _Canvas(Canvas):
    """The whole image in tiles; or a box or faces at the trained size, before a background.

    An image that would be smaller than the trained size is restored at that size, too, and shrunk. Without
    `background="restored"`, the background of a box or of faces needs no window.
    """

    def __init__(self, request: Request, sample_size: int, device) -> None:
        if request.tile is not None and request.tile < sample_size:
            raise ValueError(f"tile must be at least the trained size {sample_size}, got {request.tile}.")
        height, width = request.image.size
        size = round(height * (request.scale or 1)), round(width * (request.scale or 1))
        self.request, self.size, self.sample_size, self.device = request, size, sample_size, device
        self.tiles: Tiles | None = None
        self.box_tiles: Tiles | None = None
        if request.background == "restored" or not (request.box or request.frames or request.background):
            ratio = max(1, sample_size / max(size))
            seen = round(size[0] * ratio), round(size[1] * ratio)
            self.tiles = Tiles(seen, request.tile or max(2 * sample_size, 256), as_bytes=seen == size)
        if request.box:
            self._lay_out_box(request.box)
        factors = [sample_size * (request.factor or 1) / frame.side for frame in request.frames]  # of the faces
        restored = [factor >= MIN_FACTOR - _ROUNDING for factor in factors]
        self.frames = [(i, frame) for i, frame in enumerate(request.frames) if restored[i]]
        self.factors = factors
        if not all(restored):
            large = [round(sample_size / factor) for factor, kept in zip(factors, restored, strict=True) if not kept]
            sides = ", ".join(f"{side}x{side}" for side in large)
            request.settings["note"] = f"Faces of {sides} pixels were not restored: the network works at {sample_size}."
        tiles = [tiles for tiles in (self.tiles, self.box_tiles) if tiles]
        self.count = sum(len(tiles.boxes) for tiles in tiles) + len(self.frames)

    def _lay_out_box(self, box: Box) -> None:
        """The box in the result, and the size at which the network sees it."""
        scales = (self.size[1] / self.request.image.size[1], self.size[0] / self.request.image.size[0]) * 2
        left, top, right, bottom = self.large_box = tuple(round(v * s) for v, s in zip(box, scales, strict=True))
        size = resample.fit(bottom - top, right - left, self.sample_size)
        left, top, right, bottom = box
        height, width = (max(1, round(side / (self.request.factor or 1))) for side in (bottom - top, right - left))
        self.box_tiles, self.box_factor = Tiles(size, MAX_RUN * self.sample_size), min(size) / min(height, width)
        if self.box_factor < MIN_FACTOR:
            own = f"this checkpoint restores to {self.sample_size}: it has nothing to add"
            raise ValueError(f"box has {width}x{height} pixels, and {own}. Use a smaller image.")

    def windows(self):
        image = torch.from_numpy(self.request.image.rgb).to(self.device).movedim(-1, 0)[None]  # [1, 3, H, W] uint8
        around = self.request.background
        if isinstance(around, Raster):
            self.background = torch.tensor(around.rgb, device=self.device).movedim(-1, 0)
        elif self.tiles is None:  # what is around a box or faces is not restored: [3, H, W] uint8
            known = torch.tensor((self.request.source or self.request.image).rgb, device=self.device).movedim(-1, 0)
            self.background = known if self.request.factor else resample.upsample_bytes(image, self.size)[0]
        else:
            self.small = self._shrink(image)
            large = resample.upsample_bytes(self.small, self.tiles.size)[0]
            factor = (self.request.scale or self.request.factor or 1) * min(self.tiles.size) / min(self.size)
            paste = partial(self._paste_tile, self.tiles)
            for left, top, right, bottom in self.tiles.boxes:
                yield self._window(large[:, top:bottom, left:right].float() / 255, factor, paste)
        if self.box_tiles is not None and self.request.box is not None:
            left, top, right, bottom = self.request.box
            small = self._shrink(image[..., top:bottom, left:right])
            large = resample.upsample_bytes(small, self.box_tiles.size)[0].float() / 255
            paste = partial(self._paste_box, self.box_tiles)
            for left, top, right, bottom in self.box_tiles.boxes:
                yield self._window(large[:, top:bottom, left:right], self.box_factor, paste)
        if self.frames:
            small = self._shrink(image)[0]
        for i, frame in self.frames:
            warped = warp_to_frame(small, frame, self.sample_size, of=self.request.image.size)
            seen = resample.round_to_8_bits(warped / 255)
            yield self._window(seen, self.factors[i], partial(self._paste_frame, frame), face=i)

    def result(self):
        return self.background if self.tiles is None else self.area

    def _shrink(self, image):  # [1, 3, H, W] uint8 -> the same, smaller if an edit takes resolution away
        factor = self.request.factor
        return image if not factor else resample.to_bytes(resample.shrink(image.float() / 255, factor))

    def _window(self, degraded, factor: float, paste, face: int | None = None) -> Window:
        factor = min(factor, MAX_FACTOR)

        def keep_and_paste(sample) -> None:
            paste(resample.keep_low_resolution(sample[None], degraded[None], factor)[0])

        return Window(degraded, keep_and_paste, factor / MAX_FACTOR, face)

    def _paste_tile(self, tiles: Tiles, sample) -> None:
        tiles.add(sample.clamp(0, 1))
        if tiles.complete:
            self.area = tiles.area
            if tiles.size != self.size:
                restored = resample.resize(self.area[None], self.size)
                degraded = resample.upsample_bytes(self.small, self.size).float() / 255
                factor = self.request.scale or self.request.factor or 1
                self.area = resample.to_bytes(resample.keep_low_resolution(restored, degraded, factor))[0]

    def _paste_box(self, tiles: Tiles, sample) -> None:
        tiles.add(sample)
        if not tiles.complete:
            return
        left, top, right, bottom = self.large_box
        height, width = bottom - top, right - left
        restored = resample.resize(tiles.area[None], (height, width))
        restored = resample.to_bytes(restored)[0].float()
        weights = _edge_weights(height, width).to(restored)
        window = self.result()[:, top:bottom, left:right]
        window.copy_((weights * restored + (1 - weights) * window).round().byte())

    def _paste_frame(self, frame, sample) -> None:
        frames = [other for _, other in self.frames]
        paste_from_frame(self.result(), sample, frame, frames=frames, of=self.request.image.size)


class SuperResolution(Task):
    """I_d is the target shrunk by a factor and enlarged again; s is the factor over 64 (TextIR, Sec. 3.3)."""

    name = "super-resolution"
    command = "upscale"
    summary = "upscale images 2 to 64 times"
    usage = 'pipe("a smiling woman", image, scale=8)'
    skip_strength_source = "input"
    requires = ("scale",)
    accepts = ("box", "faces", "background", "tile")
    degradation = "factor"
    edit_accepts = ("mask_image", "box", "faces")
    checkpoint = "textir-mini-super-resolution"
    canvas = _Canvas

    def degrade(self, target, rng, draw_mask):
        factor = rng.choice(FACTORS)
        degraded = resample.lose_resolution(target, factor)[0]
        return {"degraded": degraded, "skip_strength": torch.tensor(factor / MAX_FACTOR), "factor": factor}

    def leaves_open(self, degraded):
        return degraded["factor"] >= OPEN_FACTOR

    def restored(self, sample, target, batch):
        """The image that users get: shrunk again, it is the small image that was given."""
        pairs = zip(sample, batch["degraded"], batch["factor"], strict=True)
        return torch.cat([resample.keep_low_resolution(x[None], d[None], f) for x, d, f in pairs])

    def example(self, side):
        return {"scale": 2}


def _edge_weights(height: int, width: int):
    """1 in the middle of a box, falling to 0 over 8 % of its shorter side at its border: `[H, W]`."""
    rows, columns = (torch.arange(side, dtype=torch.float32, device="cpu") + 0.5 for side in (height, width))
    edge = torch.minimum(torch.minimum(rows, height - rows)[:, None], torch.minimum(columns, width - columns))
    return (edge / (0.08 * min(height, width))).clamp(0, 1)
