"""Super-resolution: 2 to 64 times larger, in overlapping tiles; or faces alone, before a background."""

from __future__ import annotations

from functools import cached_property

from textir_hf import imaging
from textir_hf.checks import NUMBERS
from textir_hf.imaging.geometry import Box
from textir_hf.imaging.raster import Raster
from textir_hf.tasks.base import AT_ONCE, MAX_RUN, NetworkInput, Plan, Request, Restoration, Task

FACTORS = (4, 8, 16, 32, 64)  # of training (TextIR, Sec. 3.3)
MIN_FACTOR, MAX_FACTOR, *_ = NUMBERS["factor"]


class SuperResolution(Task):
    """I_d is the target shrunk by a factor and enlarged again; s is the factor over 64 (TextIR, Sec. 3.3)."""

    name = "super-resolution"
    command = "upscale"
    summary = "upscale images 2 to 64 times"
    usage = 'pipe("a smiling woman", image, scale=8)'
    strength_source = "input"
    requires = ("scale",)
    accepts = ("box", "faces", "background", "tile")
    degradation = "factor"
    edit_accepts = ("region", "box", "faces")
    checkpoint = "textir-mini-super-resolution"

    def check_call(self, **arguments):
        super().check_call(**arguments)
        background, *parts = (arguments.get(name) for name in ("background", "box", "faces"))
        if background is not None and parts == [None, None]:
            raise ValueError("background needs faces or box: what is restored before it.")

    def result_size(self, request):
        height, width = request.image.size
        scale = request.scale or 1
        return round(height * scale), round(width * scale)

    def plan(self, request, sample_size, device):
        if request.tile is not None and request.tile < sample_size:
            raise ValueError(f"tile must be at least the trained size {sample_size}, got {request.tile}.")
        size = self.result_size(request)
        if request.box is not None:
            return _BoxPlan(request, request.box, size, sample_size, device)
        if request.frames or request.background is not None:
            return _FacesPlan(request, size, sample_size, device)
        return _TiledPlan(request, size, sample_size, device)

    def degrade(self, target, rng, draw_mask):
        import torch

        factor = rng.choice(FACTORS)
        degraded = imaging.resample.lose_resolution(target, factor)[0]
        return {"degraded": degraded, "strength": torch.tensor(factor / MAX_FACTOR), "factor": factor}

    def restored(self, sample, target, batch):
        """The image that users get: shrunk again, it is the small image that was given."""
        import torch

        pairs = zip(sample, batch["degraded"], batch["factor"], strict=True)
        return torch.cat([imaging.resample.keep_low_resolution(x[None], d[None], f) for x, d, f in pairs])

    def example(self, side):
        return {"scale": 2}


class _TiledPlan(Plan):
    """The whole image, a row of tiles at a time."""

    def __init__(self, request: Request, size: tuple[int, int], sample_size: int, device) -> None:
        from textir_hf.tasks.tiles import Tiles

        tile = request.tile or max(2 * sample_size, 256)
        self.tiles = lambda: Tiles(size, tile, tile // 4)
        self.windows, self.size = len(self.tiles()), size
        self.strength = (request.scale or request.factor or 1) / MAX_FACTOR
        self.request, self.device = request, device

    @cached_property
    def degraded(self):  # [3, H, W] uint8
        small = _to_device(self.request.image, self.device)
        if self.request.factor:
            small = _shrink(small, self.request.factor)
        return imaging.resample.upsample_bytes(small, self.size)[0]

    def restore(self) -> Restoration:
        tiles, result = self.tiles(), self.degraded.new_empty(3, *self.size)
        for i, row in enumerate(tiles.rows()):
            for start in range(0, len(row), AT_ONCE):
                boxes = row[start : start + AT_ONCE]
                parts = [self.degraded[:, top:bottom, left:right].float() / 255 for left, top, right, bottom in boxes]
                samples = yield [NetworkInput(part, self.strength) for part in parts]
                for j, (sample, part) in enumerate(zip(samples, parts, strict=True), start):
                    tiles.add(i, j, _keep_low_resolution(sample, part, self.strength).clamp(0, 1))
            lines, band = tiles.finish(i)
            result[:, lines] = imaging.resample.to_bytes(band)
        return result


class _Background(Plan):
    """The image that parts are pasted into: restored as a whole, the caller's, an edit's original, or bicubic."""

    def __init__(self, request: Request, size: tuple[int, int], sample_size: int, device) -> None:
        self.request, self.size, self.device = request, size, device
        restored = isinstance(request.background, str)
        self.whole = _TiledPlan(request, size, sample_size, device) if restored else None
        self.windows = self.whole.windows if self.whole else 0

    def restore(self) -> Restoration:
        if self.whole:
            return (yield from self.whole.restore())
        given = self.request.background
        if given is not None and not isinstance(given, str):
            return _to_device(given, self.device)[0].clone()
        image = _to_device(self.request.image, self.device)
        return image[0].clone() if self.request.factor else imaging.resample.upsample_bytes(image, self.size)[0]


class _BoxPlan(Plan):
    """A box at the network's trained size, a long one in tiles; around it is the background."""

    def __init__(self, request: Request, box: Box, size: tuple[int, int], sample_size: int, device) -> None:
        from textir_hf.tasks.tiles import Tiles

        self.request, self.small_box, self.device = request, box, device
        self.background = _Background(request, size, sample_size, device)
        scales = (size[1] / request.image.size[1], size[0] / request.image.size[0]) * 2
        self.box = tuple(round(v * s) for v, s in zip(box, scales, strict=True))  # in the result
        left, top, right, bottom = box
        height, width = (max(1, round(side / (request.factor or 1))) for side in (bottom - top, right - left))
        left, top, right, bottom = self.box
        self.inner = imaging.resample.fit(bottom - top, right - left, sample_size)
        self.tiles = lambda: Tiles(self.inner, MAX_RUN * sample_size, MAX_RUN * sample_size // 4)
        self.windows = len(self.tiles()) + self.background.windows
        self.factor = min(self.inner) / min(height, width)
        if self.factor < MIN_FACTOR:
            raise ValueError(
                f"box has {width}x{height} pixels, and this checkpoint restores to {sample_size}: it has "
                "nothing to add. Use a smaller image, or a checkpoint of larger size."
            )

    @cached_property
    def inputs(self) -> list[NetworkInput]:
        left, top, right, bottom = self.small_box
        small = _to_device(self.request.image, self.device)[..., top:bottom, left:right]
        if self.request.factor:
            small = _shrink(small, self.request.factor)
        degraded = imaging.resample.upsample_bytes(small, self.inner)[0].float() / 255
        boxes, strength = [box for row in self.tiles().rows() for box in row], min(self.factor / MAX_FACTOR, 1.0)
        return [NetworkInput(degraded[:, top:bottom, left:right], strength) for left, top, right, bottom in boxes]

    def restore(self) -> Restoration:
        result = yield from self.background.restore()
        samples = zip((yield self.inputs), self.inputs, strict=True)
        sample = self.tiles().join([_keep_low_resolution(x, seen.degraded, seen.strength) for x, seen in samples])
        left, top, right, bottom = self.box
        height, width = bottom - top, right - left
        restored = imaging.resample.to_bytes(imaging.resample.resize(sample[None], (height, width)))[0].float()
        weights = _edge_weights(height, width).to(restored)
        window = (slice(None), slice(top, bottom), slice(left, right))
        result[window] = (weights * restored + (1 - weights) * result[window]).round().byte()
        return result


class _FacesPlan(Plan):
    """Each face in its own frame; around them lies the background."""

    def __init__(self, request: Request, size: tuple[int, int], sample_size: int, device) -> None:
        self.request, self.sample_size, self.device = request, sample_size, device
        self.background = _Background(request, size, sample_size, device)
        small = [frame.enlarged(1 / (request.factor or 1)) for frame in request.frames]  # in the small image
        self.frames = [(i, f) for i, f in enumerate(small) if sample_size / f.side >= MIN_FACTOR]
        self.windows = len(self.frames) + self.background.windows
        if small and not self.frames:
            sides = ", ".join(f"{f.side:.0f}x{f.side:.0f}" for f in small)
            raise ValueError(
                f"The faces have {sides} pixels, and this checkpoint restores to {sample_size}: it has nothing to "
                "add. Use a smaller image, or a checkpoint of larger size."
            )

    def restore(self) -> Restoration:
        result = yield from self.background.restore()
        small = _to_device(self.request.image, self.device)
        if self.request.factor:
            small = _shrink(small, self.request.factor)
        inputs = [self._seen(small[0], frame, i) for i, frame in self.frames]
        samples = yield inputs
        for (i, _), seen, sample in zip(self.frames, inputs, samples, strict=True):
            sample = _keep_low_resolution(sample, seen.degraded, seen.strength)
            imaging.faces.paste_from_frame(result, sample, self.request.frames[i].enlarged(self.request.scale or 1))
        return result

    def _seen(self, small, frame, face: int) -> NetworkInput:
        warped = imaging.faces.warp_to_frame(small, frame, self.sample_size)
        strength = min(self.sample_size / frame.side / MAX_FACTOR, 1.0)
        return NetworkInput(imaging.resample.round_to_8_bits(warped / 255), strength, face)


def _keep_low_resolution(sample, degraded, strength: float):  # [3, h, w] each
    return imaging.resample.keep_low_resolution(sample[None], degraded[None], strength * MAX_FACTOR)[0]


def _to_device(image: Raster, device):  # -> [1, 3, H, W] uint8
    import torch

    return torch.from_numpy(image.rgb).to(device).movedim(-1, 0)[None]


def _shrink(image, factor: float):  # [1, 3, H, W] uint8 -> the same, smaller
    return imaging.resample.to_bytes(imaging.resample.shrink(image.float() / 255, factor))


def _edge_weights(height: int, width: int):
    """1 in the middle of a box, falling to 0 over 8 % of its shorter side at its border: `[H, W]`."""
    import torch

    def to_edge(length: int):
        places = torch.arange(length, dtype=torch.float32, device="cpu") + 0.5
        return torch.minimum(places, length - places)

    edge = torch.minimum(to_edge(height)[:, None], to_edge(width)[None])
    return (edge / (0.08 * min(height, width))).clamp(0, 1)
