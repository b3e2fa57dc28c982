"""One network input of any size as overlapping tiles, and the tiles' outputs as one image again."""

import torch
from torch import Tensor

from textir_hf.imaging.geometry import Box, tile_spans, tile_weights


class Tiles:
    """Overlapping tiles over an area, row by row.

    Of what neighbors share, each tile's outermost quarter is ignored, since there the network lacked context; between
    the quarters the tiles are blended. Only the sums of a row of tiles are held at a time.

    Args:
        size: Height and width of the area, pixels.
        tile: Longest side of a tile, pixels.
        overlap: What neighbors share at least, pixels.
    """

    def __init__(self, size: tuple[int, int], tile: int, overlap: int) -> None:
        self._rows, self._columns = (tile_spans(length, tile, overlap) for length in size)
        self.size = size
        self._band: Tensor | None = None  # weighted sums of the present row
        self._carried: Tensor | None = None  # weighted sums of the lines that the next row shares

    def __len__(self) -> int:
        return len(self._rows) * len(self._columns)

    def rows(self) -> list[list[Box]]:
        """The boxes of the tiles, row by row."""
        return [[(left, top, right, bottom) for left, right in self._columns] for top, bottom in self._rows]

    def add(self, row: int, column: int, sample: Tensor) -> None:
        """Takes the output `[C, h, w]` of a tile, rows in their order."""
        (top, bottom), (left, right) = self._rows[row], self._columns[column]
        if self._band is None:
            self._band = sample.new_zeros(sample.shape[0], bottom - top, self.size[1])
        weights = torch.from_numpy(tile_weights(self._columns, column)).to(sample)
        self._band[..., left:right] += weights * sample

    def finish(self, row: int) -> tuple[slice, Tensor]:
        """The lines of the area that are complete after a row of tiles, and their content `[C, lines, W]`."""
        assert self._band is not None
        (top, bottom), band = self._rows[row], self._band
        band *= torch.from_numpy(tile_weights(self._rows, row)).to(band)[:, None]
        if self._carried is not None:
            band[:, : self._carried.shape[1]] += self._carried
        end = self._rows[row + 1][0] if row + 1 < len(self._rows) else bottom
        self._carried, self._band = (band[:, end - top :] if row + 1 < len(self._rows) else None), None
        return slice(top, end), band[:, : end - top]

    def join(self, samples: list[Tensor]) -> Tensor:
        """The outputs of all tiles, row by row, as one `[C, H, W]`."""
        remaining, bands = iter(samples), []
        for row in range(len(self._rows)):
            for column in range(len(self._columns)):
                self.add(row, column, next(remaining))
            bands.append(self.finish(row)[1])
        return bands[0] if len(bands) == 1 else torch.cat(bands, 1)
