"""Exceptions as one sentence and an exit status: users of the command see no traceback."""

import errno
import os
import sys
import warnings
from collections.abc import Callable

BAD_INPUT, UNEXPECTED, INTERRUPTED, BROKEN_PIPE = 2, 70, 130, 141  # exit statuses, as shells and sysexits.h have them


class Stopped(KeyboardInterrupt):
    """The user stopped the command; the message says how far it came."""


def explain(error: BaseException) -> str:
    """What went wrong, in one line."""
    message = " ".join(str(error).split())
    if is_out_of_memory(error):
        return "Out of memory. Use a smaller image, a smaller --scale or --tile, or --batch-size 1."
    if isinstance(error, KeyboardInterrupt):
        return message or "stopped"
    if isinstance(error, OSError) and not isinstance(error, ValueError) and error.errno and error.strerror:
        path = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes, os.PathLike)) else "A file"
        return f"{path} cannot be read or written: {error.strerror.lower()}."
    if isinstance(error, (ValueError, OSError)):
        return message or type(error).__name__
    return f"Unexpected {type(error).__name__} ({message[:300]}). Please report it; python -X dev shows where it was."


def status(error: BaseException) -> int:
    """The exit status that goes with an error."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return BAD_INPUT if isinstance(error, (ValueError, OSError)) or is_out_of_memory(error) else UNEXPECTED


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, the system or PyTorch ran out of memory, each of which has its own errors for it."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    if not isinstance(error, RuntimeError):
        return False
    text, cause = str(error).lower(), error.__cause__  # libraries that import late hide it in the cause
    return "out of memory" in text or "can't allocate memory" in text or (cause is not None and is_out_of_memory(cause))


def say(text: str) -> None:
    """Prints a line about the command itself, not its result."""
    print(f"textir: {text}", file=sys.stderr)


def run_safely(command: Callable[[], int]) -> int:
    """Runs a command and flushes what it printed; warnings and errors become lines."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that cannot print a path gets its bytes spelled out
            stream.reconfigure(errors="backslashreplace")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: say(f"warning: {' '.join(str(message).split())}")
            try:
                code = command()
            except SystemExit as leaving:  # --help
                code = int(leaving.code or 0)
        print(end="", flush=True)
        return code
    except BaseException as error:
        if isinstance(error, OSError):
            _drop_output()
        if isinstance(error, BrokenPipeError):
            return BROKEN_PIPE
        if sys.flags.dev_mode:
            raise
        say(explain(error))
        return status(error)


def _drop_output() -> None:
    """Keeps Python from complaining at its end that what was printed could not be written."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
