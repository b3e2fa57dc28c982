"""Restoring several images in one call of the pipeline, so that one bad image costs no other."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items; the last has fewer."""
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch


def restore_each(restore: Callable[[list[T]], list[R]], items: list[T]) -> list[tuple[T, R | Exception]]:
    """Restores items together, and one by one where that fails.

    Args:
        restore: Gives a result for each of its items, or raises.
        items: At least one.

    Returns:
        Each item with its result, or with what went wrong.
    """
    try:
        return list(zip(items, restore(items), strict=True))
    except Exception as error:
        if len(items) == 1:
            return [(items[0], error)]
    return [pair for item in items for pair in restore_each(restore, [item])]
