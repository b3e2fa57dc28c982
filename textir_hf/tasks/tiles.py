"""One network input of any size as overlapping tiles, and the tiles' outputs as one image again."""

import torch
from torch import Tensor

from textir_hf.imaging.geometry import Box, tile_spans, tile_weights


class Tiles:
    """Overlapping tiles over an area, row by row.

    Of what neighbors share, each tile's outermost quarter is ignored, since there the network lacked context; between
    the quarters the tiles are blended. Only a row of tiles is held at a time.

    Args:
        size: Height and width of the area, pixels.
        tile: Longest side of a tile, pixels.
        overlap: What neighbors share at least, pixels.
    """

    def __init__(self, size: tuple[int, int], tile: int, overlap: int) -> None:
        self._rows, self._columns = (tile_spans(length, tile, overlap) for length in size)
        self.size = size
        self._carried: Tensor | None = None  # weighted sums of the lines that the next row shares

    def __len__(self) -> int:
        return len(self._rows) * len(self._columns)

    def rows(self) -> list[list[Box]]:
        """The boxes of the tiles, row by row."""
        return [[(left, top, right, bottom) for left, right in self._columns] for top, bottom in self._rows]

    def blend(self, row: int, samples: list[Tensor]) -> tuple[slice, Tensor]:
        """Takes the outputs of a row of tiles, rows in their order, and gives the lines that are finished by it.

        Args:
            row: Number of the row.
            samples: `[C, h, w]` for each of its tiles.

        Returns:
            Which lines of the area, and their content `[C, lines, W]`.
        """
        top, bottom = self._rows[row]
        band = samples[0].new_zeros(samples[0].shape[0], bottom - top, self.size[1])
        for i, ((left, right), sample) in enumerate(zip(self._columns, samples, strict=True)):
            band[..., left:right] += torch.from_numpy(tile_weights(self._columns, i)).to(band) * sample
        band *= torch.from_numpy(tile_weights(self._rows, row)).to(band)[:, None]
        if self._carried is not None:
            band[:, : self._carried.shape[1]] += self._carried
        end = self._rows[row + 1][0] if row + 1 < len(self._rows) else bottom
        self._carried = band[:, end - top :] if row + 1 < len(self._rows) else None
        return slice(top, end), band[:, : end - top]

    def join(self, samples: list[Tensor]) -> Tensor:
        """The outputs of all tiles, row by row, as one `[C, H, W]`."""
        width = len(self._columns)
        bands = [self.blend(i, samples[i * width : (i + 1) * width])[1] for i in range(len(self._rows))]
        return bands[0] if len(bands) == 1 else torch.cat(bands, 1)
