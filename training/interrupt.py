"""Ctrl-C and SIGTERM end a run after its step, saved."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Interrupted(Exception):
    """A signal ended the run.

    Args:
        received: Signals that this process got; it is another that got one where there are none.
        checkpoint: What the run goes on from.
    """

    def __init__(self, received: list[int], checkpoint: Path) -> None:
        super().__init__(
            f"Interrupted. {checkpoint} is saved: give the same command with --resume-from-checkpoint latest."
        )
        self.exit_code = 128 + (received[0] if received else signal.SIGINT)


@contextmanager
def stop_on_signal() -> Iterator[list[int]]:
    """Gives a list that gets the number of the first SIGINT or SIGTERM; a second one acts as without this."""
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame) -> None:
        received.append(number)
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
