"""The folder of the page's files: emptied by age, when the server ends, and when the next one starts."""

import atexit
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import psutil

KEEP_SECONDS = 3600
_PREFIX = "textir-space-"


def open_folder() -> Path:
    """Makes this server's folder before Gradio is imported, which uses it, and removes those of ended servers."""
    parent = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir())
    folder = parent / f"{_PREFIX}{os.getpid()}"
    for old in parent.glob(f"{_PREFIX}[0-9]*"):
        if old == folder or not psutil.pid_exists(int(old.name.removeprefix(_PREFIX))):
            shutil.rmtree(old, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def folder() -> Path:
    return Path(os.environ["GRADIO_TEMP_DIR"]).resolve()


def new_path(name: str) -> Path:
    place = folder() / uuid4().hex
    place.mkdir(parents=True)
    return place / name


def given_file(file: dict | str | None, missing: str) -> Path:
    """The path of a file that a visitor has uploaded, or that the page has made."""
    path = file.get("path") if isinstance(file, dict) else file
    if not isinstance(path, str) or not path:
        raise ValueError(missing)
    path = Path(path.replace("\0", "")).resolve()
    if not path.is_relative_to(folder()) or not path.is_file():
        raise ValueError("The file is not there: it was deleted after an hour, or never uploaded. Give it again.")
    return path


def remove_old(now: float | None = None) -> None:
    limit = (time.time() if now is None else now) - KEEP_SECONDS
    for path in list(folder().rglob("*")):
        if path.is_file() and path.stat().st_ctime < limit and "assets" not in path.parts:
            path.unlink(missing_ok=True)
            with suppress(OSError):  # it holds others
                path.parent.rmdir()
