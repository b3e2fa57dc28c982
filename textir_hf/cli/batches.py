"""Several images in one call of the pipeline, so that one bad image costs no other."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from textir_hf.pipeline.pipeline import TextIRPipeline


def batch_size(given: int | None, pipe: TextIRPipeline) -> int:
    """How many images a call takes: as many as the network at a time."""
    return given or (1 if pipe.device.type == "cpu" else 8)


def restore_each(items: Iterable, size: int, read: Callable, restore: Callable, write: Callable) -> Iterator[tuple]:
    """Reads, restores and writes items."""
    items = iter(items)
    while batch := list(islice(items, size)):
        contents = []
        for item in batch:
            try:
                contents.append((item, read(item)))
            except Exception as error:
                yield item, error
        results = _restore(restore, [content for _, content in contents])
        for (item, content), result in zip(contents, results, strict=True):
            try:
                if isinstance(result, Exception):
                    raise result
                write(item, content, result)
            except Exception as error:
                yield item, error
            else:
                yield item, None


def _restore(restore: Callable, contents: list) -> list:
    """Results, or what went wrong: together, and one by one where that fails."""
    try:
        return restore(contents) if contents else []
    except Exception as error:
        if len(contents) == 1:
            return [error]
    return [result for content in contents for result in _restore(restore, [content])]
