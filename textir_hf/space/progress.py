"""How far a run is, for the page to show, and a way to stop it."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from weakref import WeakSet

INTERVAL = 0.4  # seconds between two looks at a run
_RUNNING: WeakSet["Progress"] = WeakSet()
_CURRENT: ContextVar["Progress | None"] = ContextVar("progress", default=None)


class Stopped(Exception):
    """The visitor has cancelled the run, or left."""


class Progress:
    """Counts the network's runs in place of a pipeline's bar, so that a run can be stopped wherever one would move."""

    def __init__(self) -> None:
        self.image, self.images, self.n, self.total = 0, 1, 0, 0
        self.stopped, self._begun = False, time.monotonic()

    def next_image(self, number: int, count: int) -> None:
        self.image, self.images, self.n, self.total = number, count, 0, 0
        self.update(0)

    def update(self, count: int = 1) -> None:
        """Says that the network has run `count` times."""
        self.n += count
        if self.stopped:
            raise Stopped

    def share(self) -> float:
        return min(1.0, (self.image + self.n / max(self.total, 1)) / self.images)

    def message(self) -> str:
        """Image, tile and seconds left, as far as they are known."""
        parts = [f"Image {self.image + 1} of {self.images}"] if self.images > 1 else []
        if self.total > 1:
            parts.append(f"tile {min(self.n + 1, self.total)} of {self.total}")
        share, seconds = self.share(), time.monotonic() - self._begun
        if share > 0 and seconds > 1:
            parts.append(f"about {duration(seconds * (1 - share) / share)} left")
        text = ", ".join(parts) or "Working"
        return text[0].upper() + text[1:]


def duration(seconds: float) -> str:
    """A time as people say it: in minutes from one and a half on."""
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} min"


def stop_all() -> None:
    for progress in list(_RUNNING):
        progress.stopped = True


def current() -> Progress:
    """The progress of the run that this is called from; one that nobody sees where there is none."""
    return _CURRENT.get() or Progress()


@contextmanager
def bar(iterable=None, total: int | None = None) -> Iterator[Progress]:
    progress = current()
    progress.n, progress.total = 0, total or 0
    yield progress


def watched(work: Callable, interval: float = INTERVAL) -> Iterator[Progress]:
    """Runs `work()` in a thread, yields its progress and returns its result; closed, it stops at the next tile."""
    progress = Progress()
    _RUNNING.add(progress)

    def run():
        _CURRENT.set(progress)
        return work()

    pool = ThreadPoolExecutor(1)
    future = pool.submit(run)
    try:
        while not wait([future], interval).done:
            yield progress
        return future.result()
    finally:
        progress.stopped = True
        pool.shutdown(wait=False)
