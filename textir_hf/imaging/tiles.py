"""An area as overlapping tiles, and what a network makes of them as one image again."""

import numpy as np
import torch
from torch import Tensor

from textir_hf.checks import Box
from textir_hf.imaging.resample import to_bytes


def tile_spans(length: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """Spans of length `tile` that cover `length`, evenly spread, neighbors sharing `overlap` or more."""
    if length <= tile:
        return [(0, length)]
    count = -(-(length - overlap) // (tile - overlap))
    starts = [round(i * (length - tile) / (count - 1)) for i in range(count)]
    return [(start, start + tile) for start in starts]


def tile_weights(spans: list[tuple[int, int]], index: int) -> np.ndarray:
    """Weights `[length]` with which a span's values count, so that all spans' weights sum to 1.

    They are 1 where the span is alone; towards a neighbor, 0 over a quarter of what they share, then rising.
    """
    start, stop = spans[index]
    weights = np.ones(stop - start, np.float32)
    for other, reverse in ((index - 1, False), (index + 1, True)):
        if 0 <= other < len(spans):
            shared = stop - spans[other][0] if reverse else spans[other][1] - start
            quarter = shared / 4
            ramp = np.clip((np.arange(shared) + 0.5 - quarter) / (shared - 2 * quarter), 0, 1).astype(np.float32)
            view = weights[::-1] if reverse else weights
            view[:shared] = np.minimum(view[:shared], ramp)
    return weights


class Tiles:
    """Overlapping tiles over an area, row by row from the top, each row from the left.

    Neighbors share at least a quarter of a tile. Of what they share, each tile's outermost quarter is ignored, since
    there the network lacked context; between the quarters the tiles are blended. A row of tiles is held as float; what
    is finished may be held `as_bytes`. `area` is `[C, H, W]`, complete once every tile was added.
    """

    def __init__(self, size: tuple[int, int], tile: int, as_bytes: bool = False) -> None:
        rows, columns = tile_spans(size[0], tile, tile // 4), tile_spans(size[1], tile, tile // 4)
        self.boxes: list[Box] = [(left, top, right, bottom) for top, bottom in rows for left, right in columns]
        self.size, self.area, self.complete = size, torch.empty(0), False
        self._rows, self._columns, self._as_bytes, self._added = rows, columns, as_bytes, 0
        self._row = self._carried = torch.empty(0)  # weighted sums of this row, and of what it shares with the next

    def add(self, sample: Tensor) -> None:
        """Takes the output `[C, h, w]` for the next tile."""
        row, column = divmod(self._added, len(self._columns))
        (top, bottom), (left, right) = self._rows[row], self._columns[column]
        if column == 0:
            self._row = sample.new_zeros(len(sample), bottom - top, self.size[1])
        self._row[..., left:right] += torch.from_numpy(tile_weights(self._columns, column)).to(sample) * sample
        self._added += 1
        self.complete = self._added == len(self.boxes)
        if column < len(self._columns) - 1:
            return
        band = self._row
        band *= torch.from_numpy(tile_weights(self._rows, row)).to(band)[:, None]
        if row == 0:
            dtype = torch.uint8 if self._as_bytes else band.dtype
            self.area = torch.empty(len(band), *self.size, dtype=dtype, device=band.device)
        else:
            band[:, : self._carried.shape[1]] += self._carried
        end = bottom if row == len(self._rows) - 1 else self._rows[row + 1][0]
        self.area[:, top:end] = to_bytes(band[:, : end - top]) if self._as_bytes else band[:, : end - top]
        self._carried = band[:, end - top :]
