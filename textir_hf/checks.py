"""Checks of single values, with errors that say what was expected."""

import math
from numbers import Real

MAX_BETA = 100.0


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
    if not isinstance(value, Real) or isinstance(value, bool):
        raise ValueError(f"{name} must be a number, got {value!r}.")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value}.")
    if not low <= value <= high:
        span = f"be at least {low:g}" if high == math.inf else f"lie in {low:g}..{high:g}"
        raise ValueError(f"{name} must {span}, got {value}.")


def check_beta(beta: float) -> None:
    """Checks a share of the text in the condition (Sec. 4.6); beyond 0..1 it leads away from the reference or the text.

    Raises:
        ValueError: It is no finite number, or so large that rounding decides what is left.
    """
    check_range("beta", beta, -MAX_BETA, MAX_BETA)
