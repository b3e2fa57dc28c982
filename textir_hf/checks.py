"""The numbers and boxes that callers give: one table of types and ranges, and checks that make them Python's own."""

import math
import reprlib
from typing import Any, NamedTuple

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels


class Number(NamedTuple):
    """What an argument takes: its range, and whether it must be whole and may be None."""

    low: float
    high: float = math.inf
    whole: bool = False
    optional: bool = False


NUMBERS = {  # of `pipe(...)`, `edit`, `sweep` and `open_image`; the shell and the page read the same
    "beta": Number(-100, 100),  # beyond, rounding decides what is left of text and reference
    "skip_strength": Number(0, 1, optional=True),
    "scale": Number(2, 64, optional=True),
    "factor": Number(2, 64, optional=True),
    "feather": Number(0, 100_000),
    "tile": Number(1, 100_000, whole=True, optional=True),
    "box": Number(0, 10**9, whole=True, optional=True),
    "faces": Number(1, 9999, whole=True, optional=True),
    "num_images_per_prompt": Number(1, 1000, whole=True),
    "batch_size": Number(1, 1000, whole=True, optional=True),
    "seed": Number(0, 2**63 - 1, whole=True),
    "cell": Number(16, 4000, whole=True),
    "max_pixels": Number(1, 10**10, whole=True),
}


def number(name: str, value, kind: Number | None = None) -> Any:
    """A number of Python, numpy or PyTorch as Python's own `int` or `float`, in the range of `NUMBERS[name]`."""
    low, high, whole, optional = kind or NUMBERS[name]
    if value is None and optional:
        return None
    plain = _python(value)
    fit = isinstance(plain, (int, float)) and not isinstance(plain, bool)
    if not fit or not abs(plain) < math.inf or (whole and plain != int(plain)):
        kind_name = "whole number" if whole else "number"
        raise ValueError(f"{name} must be a {kind_name}, got {shown(value)}.")
    if not low <= plain <= high:
        span = f"be at least {low}" if high == math.inf else f"lie in {low}..{high}"
        raise ValueError(f"{name} must {span}, got {shown(value)}.")
    return int(plain) if whole else plain


def numbers(name: str, values) -> Any:
    """As `number`, or a tuple of numbers for a list, a tuple, or an array or tensor with one dimension."""
    values, kind = _python(values), NUMBERS[name]._replace(optional=False)
    return tuple(number(name, v, kind) for v in values) if isinstance(values, (list, tuple)) else number(name, values)


def number_list(name: str, values) -> list:
    """The values of an axis of a sweep, each as `numbers` returns it; a single one is a list of one."""
    values = _python(values)
    return [numbers(name, value) for value in (values if isinstance(values, (list, tuple)) else [values])]


def check_range(name: str, value: float, low: float, high: float = math.inf) -> None:
    """Checks that a value is a finite number in `low..high`; errors as in `number`."""
    number(name, value, Number(low, high))


def four_sides(box) -> Box:
    """A box as four plain numbers."""
    try:
        left, top, right, bottom = numbers("box", box)
    except (TypeError, ValueError) as error:
        raise ValueError(f"box must be (left, top, right, bottom), whole pixels, got {shown(box)}.") from error
    return left, top, right, bottom


def check_box(box: Box, size: tuple[int, int]) -> Box:
    """A box that is inside an image of `size` (height, width)."""
    left, top, right, bottom = box
    if not (0 <= left < right <= size[1] and 0 <= top < bottom <= size[0]):
        raise ValueError(f"box must lie in the image of {size[1]}x{size[0]} pixels, got {box}.")
    return box


def boolean(name: str, value) -> bool:
    """True or False, also numpy's; nothing else that Python would take for one of them."""
    plain = _python(value)
    if not isinstance(plain, bool):
        raise ValueError(f"{name} must be True or False, got {shown(value)}.")
    return plain


def from_text(text: str) -> int | float | str:
    """A number from a command line or a link; text that is none comes back as it is, for `number` to refuse."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def shown(value) -> str:
    """A value in an error: one line, cut where it is long."""
    return " ".join(reprlib.repr(value).split())


def _python(value):
    """What numpy and PyTorch hold in at most one dimension, as Python's; anything else as it is."""
    if getattr(value, "ndim", 2) > 1:
        return value
    try:
        return value.tolist()
    except (RuntimeError, TypeError):  # a tensor without data, or a sparse one
        return value
