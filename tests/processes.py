"""Commands as processes of their own that need not import PyTorch again: forks of a server that has."""

import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

NOTHING: dict[str, str] = {}
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["datasets", "training.train", "textir_hf.cli.main", __name__])


class Forked:
    """A command in a process, the leader of its own group, which Ctrl-C stops as in a terminal."""

    def __init__(self, main: Callable[[list[str]], int], words: list, environment=NOTHING) -> None:
        self._files = [Path(tempfile.mkstemp(prefix="textir-test-")[1]) for _ in range(2)]
        variables = dict(os.environ) | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | environment
        words = [str(word) for word in words]
        process = _context.Process(target=_run, args=(main, words, variables, os.getcwd(), self._files))
        process.start()
        self.process, self.pid = process, process.pid

    def wait(self, timeout: float = 300) -> int:
        """Its exit status, or that of a signal below 0; a process that does not end is killed."""
        self.process.join(timeout)
        if self.process.is_alive():
            self.kill()
            raise TimeoutError(f"Still running after {timeout} s: {self.err()}")
        return self.process.exitcode

    def kill(self) -> None:
        """Ends it and its children at once, as a crash of the machine does."""
        for each in [*psutil.Process(self.pid).children(recursive=True), self.process]:
            os.kill(each.pid, signal.SIGKILL)
        self.process.join()

    def out(self) -> str:
        """What it has printed."""
        return self._files[0].read_text()

    def err(self) -> str:
        """What it has printed to stderr."""
        return self._files[1].read_text()


def fork_ranks(count: int, main: Callable, words: list, environment=NOTHING) -> list[Forked]:
    """The processes that a launcher of distributed runs would start."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    ranks = [{"RANK": str(i), "LOCAL_RANK": str(i), "LOCAL_WORLD_SIZE": str(count)} for i in range(count)]
    return [Forked(main, words, place | rank | environment) for rank in ranks]


def wait_until(condition: Callable[[], bool], process: Forked) -> None:
    """Waits until something is so, or the process has ended."""
    while process.process.is_alive() and not condition():
        time.sleep(0.02)


def _run(main: Callable[[list[str]], int], words: list[str], variables: dict, folder: str, files: list[Path]) -> None:
    import torch

    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    multiprocessing.set_start_method(None, force=True)  # the loaders' processes start as they would elsewhere
    torch.set_num_threads(1)
    for number, path in enumerate(files, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    sys.exit(main(words))
