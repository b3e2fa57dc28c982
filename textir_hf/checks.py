"""Checks of single values, with errors that say what was expected."""

import math
from numbers import Real


def check_range(name: str, value: float, low: float, high: float = math.inf) -> None:
    """Checks that a value is a finite number in `low..high`.

    Args:
        name: What the caller calls the value.
        value: The value.
        low: Least value allowed.
        high: Largest value allowed.

    Raises:
        ValueError: It is no number, NaN, infinite, or out of range.
    """
    if isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value) and low <= value <= high:
        return
    if low == -math.inf:
        raise ValueError(f"{name} must be a finite number, got {value!r}.")
    span = f"at least {low:g}" if high == math.inf else f"in {low:g}..{high:g}"
    shown = f"{value:g}" if isinstance(value, float) else repr(value)
    raise ValueError(f"{name} must be a number {span}, got {shown}.")
