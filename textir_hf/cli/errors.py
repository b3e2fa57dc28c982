"""Exceptions as one sentence and an exit status: users of the command see no traceback."""

import os
import sys
import warnings
from collections.abc import Callable

BAD_INPUT, UNEXPECTED, INTERRUPTED, BROKEN_PIPE = 2, 70, 130, 141  # exit statuses, as shells and sysexits.h have them
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")  # as PyTorch and the system say


class Stopped(KeyboardInterrupt):
    """The user stopped the command; the message says how far it came."""


def explain(error: BaseException) -> str:
    message = " ".join(str(error).split())
    if _is_out_of_memory(error):
        return "Out of memory. Use a smaller image, a smaller --scale or --tile, or --batch-size 1."
    if isinstance(error, KeyboardInterrupt):
        return message or "stopped"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{os.fsdecode(error.filename)} cannot be read or written: {error.strerror.lower()}."
    if isinstance(error, (ValueError, OSError)):
        return message or type(error).__name__
    return f"Unexpected {type(error).__name__} ({message[:300]}). Please report it; python -X dev shows where it was."


def _is_out_of_memory(error: BaseException) -> bool:
    said = any(text in str(error).lower() for text in _OUT_OF_MEMORY)
    return isinstance(error, MemoryError) or (isinstance(error, (RuntimeError, OSError)) and said)


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
            code = command()
        print(end="", flush=True)
        return code
    except SystemExit as leaving:  # --help
        return int(leaving.code or 0)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python would complain at its end
        return BROKEN_PIPE
    except BaseException as error:
        if sys.flags.dev_mode:
            raise
        say(explain(error))
        if isinstance(error, KeyboardInterrupt):
            return INTERRUPTED
        return BAD_INPUT if isinstance(error, (ValueError, OSError)) or _is_out_of_memory(error) else UNEXPECTED
