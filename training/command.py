"""The end of every command: one line for what it did, or for why it did not."""

import signal
import sys
from collections.abc import Callable


def run_command(work: Callable[[], str], interrupted: str) -> int:
    """Does the work and prints the line that it returns.

    Args:
        work: Raises ValueError, OSError or FloatingPointError with a message for the user; or KeyboardInterrupt, if it
            ended in order with the signal's number and a message.
        interrupted: The message where Ctrl-C ended it anywhere else.

    Returns:
        0, 1 (an error) or 128 + a signal's number.
    """
    try:
        print(work())
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        number, message = stop.args or (signal.SIGINT, interrupted)
        print(f"Interrupted. {message}", file=sys.stderr)
        return 128 + number
    return 0
