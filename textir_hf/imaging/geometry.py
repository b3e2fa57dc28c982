"""Boxes, crops and tiles: where in an image the network works."""

import numpy as np

from textir_hf.checks import numbers, shown

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels


def four_sides(box) -> Box:
    """A box as four plain numbers.

    Raises:
        ValueError: It is not four whole numbers.
    """
    try:
        left, top, right, bottom = numbers("box", box)
    except (TypeError, ValueError) as error:
        raise ValueError(f"box must be (left, top, right, bottom), whole pixels, got {shown(box)}.") from error
    return left, top, right, bottom


def check_box(box: Box, size: tuple[int, int]) -> Box:
    """A box that is inside an image of `size` (height, width).

    Raises:
        ValueError: It is empty, or reaches out of the image.
    """
    left, top, right, bottom = box
    if not (0 <= left < right <= size[1] and 0 <= top < bottom <= size[0]):
        raise ValueError(f"box must lie in the image of {size[1]}x{size[0]} pixels, got {box}.")
    return box


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
