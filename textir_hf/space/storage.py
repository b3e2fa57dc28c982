"""The folder of the page's files: emptied by age, when the server ends, and when the next one starts."""

import atexit
import os
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path
from uuid import uuid4

KEEP_SECONDS = 3600
_EVERY_SECONDS = 300
_PREFIX = "textir-space-"


def open_folder() -> Path:
    """Makes this server's folder before Gradio is imported, which uses it, and removes those of ended servers."""
    parent = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    for old in parent.glob(f"{_PREFIX}*"):
        if not _runs(old.name.removeprefix(_PREFIX)):
            shutil.rmtree(old, ignore_errors=True)
    folder = parent / f"{_PREFIX}{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _runs(pid: str) -> bool:
    """Whether another process with this number lives."""
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return int(pid) != os.getpid()


def folder() -> Path:
    """This server's folder."""
    return Path(os.environ["GRADIO_TEMP_DIR"]).resolve()


def new_path(name: str) -> Path:
    """A path for a file of this name in a new folder."""
    place = folder() / uuid4().hex
    place.mkdir(parents=True)
    return place / name


def given_file(file: dict | str | None, missing: str) -> Path:
    """The path of a file that a visitor has uploaded, or that the page has made."""
    path = file.get("path") if isinstance(file, dict) else file
    if not isinstance(path, str) or not path:
        raise ValueError(missing)
    path = Path(path).resolve() if "\0" not in path else None
    if path is None or not path.is_relative_to(folder()) or not path.is_file():
        raise ValueError("The file is not there: it was deleted after an hour, or never uploaded. Give it again.")
    return path


def remove_old(now: float | None = None) -> None:
    """Deletes files that are older than an hour."""
    limit = (time.time() if now is None else now) - KEEP_SECONDS
    for path in list(folder().rglob("*")):
        if path.is_file() and path.stat().st_ctime < limit and "assets" not in path.parts:
            path.unlink(missing_ok=True)
            if not any(path.parent.iterdir()) and path.parent != folder():
                path.parent.rmdir()


def clean_up() -> None:
    """Deletes files by age from now on, and ends the server in order at a signal, so that all of them go."""

    def sweep() -> None:
        while True:
            time.sleep(_EVERY_SECONDS)
            remove_old()

    def end(*_) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    threading.Thread(target=sweep, daemon=True).start()
