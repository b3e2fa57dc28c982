"""Exceptions as one sentence and an exit status: nobody who uses the command sees a traceback."""

import errno
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

BAD_INPUT, UNEXPECTED, INTERRUPTED, BROKEN_PIPE = 2, 70, 130, 141  # exit statuses, as shells and sysexits.h have them
_REASONS = {
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
    errno.EROFS: "the file system is read-only",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be too large",
    errno.ENAMETOOLONG: "the name is too long",
    errno.EISDIR: "it is a folder",
    errno.ENOTDIR: "a part of the path is no folder",
    errno.ENOENT: "it does not exist",
    errno.ELOOP: "it is a link to itself",
    errno.EMFILE: "too many files are open",
}


class Stopped(KeyboardInterrupt):
    """The user stopped the command; the message says how far it came."""


def explain(error: BaseException) -> str:
    """What went wrong, in one line."""
    if is_out_of_memory(error):
        return "Out of memory. Use a smaller image, a smaller --scale or --tile, or --batch-size 1."
    if isinstance(error, KeyboardInterrupt):
        return str(error) or "stopped"
    if isinstance(error, OSError) and not isinstance(error, ValueError) and error.errno:
        reason = _REASONS.get(error.errno, (error.strerror or type(error).__name__).lower())
        path = re.sub(r"\.textir-\w+/", "", os.fsdecode(error.filename)) if _is_path(error.filename) else "A file"
        return f"{path} cannot be read or written: {reason}."
    message = " ".join(str(error).split())
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
    text = str(error).lower()
    cause = error.__cause__  # libraries that import late hide it there
    return "out of memory" in text or "can't allocate memory" in text or (cause is not None and is_out_of_memory(cause))


def say(text: str) -> None:
    """Prints a line about the command itself, not its result."""
    print(f"textir: {text}", file=sys.stderr)


@contextmanager
def speaking(write: Callable[[str], None] = say) -> Iterator[None]:
    """Prints warnings as lines, without the place in the code that they come from."""

    def show(message, category, filename, lineno, file=None, line=None) -> None:
        write(f"warning: {' '.join(str(message).split())}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def run_safely(command: Callable[[], int]) -> int:
    """Runs a command and flushes what it printed; any error becomes a line.

    Args:
        command: Returns its exit status.

    Returns:
        The exit status.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that cannot print a path gets its bytes spelled out
            stream.reconfigure(errors="backslashreplace")
    try:
        with speaking():
            code = command()
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except SystemExit as leaving:  # --help
        return _flushed(int(leaving.code or 0))
    except BrokenPipeError:
        return _abandon_output(BROKEN_PIPE)
    except BaseException as error:
        if sys.flags.dev_mode:
            raise
        say(explain(error))
        return _abandon_output(status(error)) if isinstance(error, OSError) else status(error)


def _flushed(code: int) -> int:
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except OSError:
        return _abandon_output(BROKEN_PIPE)


def _abandon_output(code: int) -> int:
    """Keeps Python from complaining at its end that what was printed could not be written."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return code


def _is_path(name) -> bool:
    return isinstance(name, (str, bytes, os.PathLike))
