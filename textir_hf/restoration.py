"""The three tasks on a picture of any size, around a network that sees one size.

`run` stands for the network: `[1, C, h, w]` degraded and a strength to `[1, C', h, w]`, on the CPU in float32. It is
told beforehand how often it will be called.
"""

from typing import Protocol

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from textir_hf import degradations
from textir_hf.images import to_array, to_tensor
from textir_hf.regions import Box

_BAND = 1 << 20  # pixels handled at a time where a picture's every pixel counts


class Run(Protocol):
    """The network under one condition."""

    def expect(self, runs: int) -> None: ...

    def __call__(self, degraded: Tensor, strength: float | None = None) -> Tensor: ...


def resize(image: Tensor, size: tuple[int, int], mode: str = "bicubic") -> Tensor:
    """Antialiased resize of `[1, C, H, W]`; an image of this size comes back as it is."""
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    return F.interpolate(image, tuple(size), mode=mode, antialias=True, align_corners=False)


def trained_size(height: int, width: int, sample_size: int) -> tuple[int, int]:
    """The size with the shorter side at `sample_size`, for a picture that is larger than that."""
    ratio = min(1.0, sample_size / min(height, width))
    return round(height * ratio), round(width * ratio)


def fill_holes(
    rgb: np.ndarray, mask: np.ndarray, crops: list[tuple[Box, np.ndarray]], sample_size: int, feather: float, run: Run
) -> np.ndarray:
    """Restores every hole in its crop, at the trained size, and pastes it at full size.

    Args:
        rgb: `[H, W, 3]` uint8.
        mask: `[H, W]` bool, all holes: the network is shown none of their content.
        crops: Boxes with the part of the mask that each restores, as from `regions.hole_crops`.
        sample_size: Side that the network was trained at, pixels.
        feather: Width in pixels, inside the mask, over which the old content turns into the new one; 0 for none.
        run: The network.

    Returns:
        `[H, W, 3]` uint8, the pixels outside the mask those of `rgb`.
    """
    result = rgb.copy()
    run.expect(len(crops))
    for (left, top, right, bottom), part in crops:
        window = np.s_[top:bottom, left:right]
        image, hole = to_tensor(rgb[window]), torch.from_numpy(mask[window]).float()[None, None]
        size = trained_size(bottom - top, right - left, sample_size)
        # Bilinear weights are never negative: a pixel whose shrunken mask is 0 holds nothing of a hole's old content.
        small, small_hole = (resize(x, size, "bilinear") for x in (image, hole))
        sample = run(degradations.mask_out(small, (small_hole > 1e-4).float()))
        restored = to_array(resize(sample, image.shape[-2:]))
        if feather:
            depth = ndimage.distance_transform_edt(np.pad(part, 1, mode="edge"))[1:-1, 1:-1]
            weight = np.clip(depth / feather, 0, 1)[..., None]
            restored = np.rint(weight * restored + (1 - weight) * rgb[window]).astype(np.uint8)
        result[window] = np.where(part[..., None], restored, result[window])
    return result


def tile_spans(length: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """Spans of length `tile` that cover `length`, evenly spread, neighbours sharing `overlap` or more."""
    if length <= tile:
        return [(0, length)]
    count = -(-(length - overlap) // (tile - overlap))
    starts = [round(i * (length - tile) / (count - 1)) for i in range(count)]
    return [(start, start + tile) for start in starts]


def _ramps(spans: list[tuple[int, int]], i: int) -> np.ndarray:
    """Weights of span i: 1 where it is alone; towards a neighbour, 0 over a quarter of what they share, then rising."""
    start, stop = spans[i]
    weight = np.ones(stop - start, np.float32)
    for other, reverse in ((i - 1, False), (i + 1, True)):
        if 0 <= other < len(spans):
            shared = spans[other][1] - start if not reverse else stop - spans[other][0]
            quarter = shared / 4
            ramp = np.clip((np.arange(shared) + 0.5 - quarter) / (shared - 2 * quarter), 0, 1).astype(np.float32)
            view = weight[::-1] if reverse else weight
            view[:shared] = np.minimum(view[:shared], ramp)
    return weight


def enlarge(rgb: np.ndarray, size: tuple[int, int], strength: float, tile: int, overlap: int, run: Run) -> np.ndarray:
    """Super-resolution to `size` (height, width), in overlapping tiles where that exceeds `tile` pixels.

    Only a row of tiles is held at a time besides the result. Of what neighbours share, each tile's outermost quarter is
    left aside, since there the network lacked context; between the quarters the seams are blended.
    """
    degraded = _upsample(rgb, size)
    result = np.empty((*size, 3), np.uint8)
    rows, columns = (tile_spans(length, tile, overlap) for length in size)
    run.expect(len(rows) * len(columns))
    carried = np.zeros((0, size[1], 3), np.float32)  # weighted sums of the rows that the next tiles share
    for i, (top, bottom) in enumerate(rows):
        band = np.zeros((bottom - top, size[1], 3), np.float32)
        for j, (left, right) in enumerate(columns):
            sample = run(to_tensor(degraded[top:bottom, left:right]), strength)[0].clamp(0, 1).movedim(0, -1).numpy()
            band[:, left:right] += _ramps(columns, j)[None, :, None] * sample
        band *= _ramps(rows, i)[:, None, None]
        band[: len(carried)] += carried
        done = rows[i + 1][0] - top if i + 1 < len(rows) else bottom - top
        result[top : top + done] = np.rint(band[:done] * 255)
        carried = band[done:]
    return result


def _upsample(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bicubic enlargement `[H, W, 3]` uint8 to `[*size, 3]` uint8, as in training."""
    image = torch.from_numpy(rgb).movedim(-1, 0)[None]
    large = F.interpolate(image, size, mode="bicubic", antialias=True, align_corners=False)
    return large[0].movedim(0, -1).contiguous().numpy()


def enlarge_box(
    rgb: np.ndarray, size: tuple[int, int], box: Box, sample_size: int, run: Run, base: np.ndarray | None = None
) -> np.ndarray:
    """Restores a box at the network's trained size; around it lies `base`, or the bicubic enlargement.

    Raises:
        ValueError: The box has already half the trained size or more.
    """
    left, top, right, bottom = box
    result = _upsample(rgb, size) if base is None else base.copy()
    scales = size[0] / rgb.shape[0], size[1] / rgb.shape[1]
    target = [round(v * s) for v, s in ((top, scales[0]), (bottom, scales[0]), (left, scales[1]), (right, scales[1]))]
    height, width = target[1] - target[0], target[3] - target[2]
    inner = trained_size(height, width, sample_size)
    factor = min(inner) / min(bottom - top, right - left)
    if factor < 2:
        raise ValueError(
            f"box has {right - left}x{bottom - top} pixels, and this checkpoint restores to {sample_size}: it has "
            "nothing to add. Use a smaller picture, or a checkpoint of larger size."
        )
    small = _upsample(rgb[top:bottom, left:right], inner)
    run.expect(1)
    sample = run(to_tensor(small), factor / degradations.MAX_FACTOR)
    restored = to_array(resize(sample, (height, width))).astype(np.float32)
    edge = np.minimum(np.arange(height) + 0.5, height - np.arange(height) - 0.5)[:, None]
    edge = np.minimum(edge, np.minimum(np.arange(width) + 0.5, width - np.arange(width) - 0.5)[None])
    weight = np.clip(edge / (0.08 * min(height, width)), 0, 1)[..., None]
    window = np.s_[target[0] : target[1], target[2] : target[3]]
    result[window] = np.rint(weight * restored + (1 - weight) * result[window])
    return result


def _bands(shape: tuple[int, ...]) -> list[slice]:
    rows = max(1, _BAND // shape[1])
    return [slice(start, start + rows) for start in range(0, shape[0], rows)]


def colorize(rgb: np.ndarray, sample_size: int, run: Run) -> np.ndarray:
    """Predicts a and b at the trained size and joins them with the picture's own lightness at full size."""
    lightness = torch.cat([degradations.lightness(to_tensor(rgb[band])) for band in _bands(rgb.shape)], 2)
    degraded = resize(lightness, trained_size(*rgb.shape[:2], sample_size)).clamp(0, 100)
    run.expect(1)
    chroma = resize(run(degraded), lightness.shape[-2:])
    result = np.empty_like(rgb)
    for band in _bands(rgb.shape):
        result[band] = degradations.lab_to_8_bits(lightness[:, :, band], chroma[:, :, band])
    return result
