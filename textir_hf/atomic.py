"""Files and folders that appear whole or not at all; and the settings that the results in a folder belong to."""

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path for a file or a folder, and renames it to `path` when the block ends.

    Where the block raises, or Ctrl-C ends it, what it wrote is removed, and an older `path` stays. A symbolic link
    is written through, and an older file's permissions stay.
    """
    path = Path(os.path.realpath(path))
    scratch = path.parent / f".textir-{secrets.token_hex(6)}"
    try:
        scratch.mkdir(mode=0o700)
        temporary = scratch / path.name
        yield temporary
        if temporary.is_dir():
            try:  # no single call renames a folder onto another; if this fails, the old one comes back
                if path.exists():
                    path.rename(scratch / ".replaced")
                temporary.rename(path)
            except BaseException:
                if (scratch / ".replaced").exists() and not path.exists():
                    (scratch / ".replaced").rename(path)
                raise
        else:
            if path.exists():
                shutil.copymode(path, temporary)
            temporary.replace(path)
    except OSError as error:
        if error.filename is None or str(scratch) in str(error.filename):  # a write names no file, or a temporary one
            error.filename = str(path)
        raise
    finally:
        try:
            _remove(scratch)
        finally:  # where Ctrl-C came in between
            _remove(scratch)


def _remove(scratch: Path) -> None:
    try:
        os.rmdir(scratch)  # empty where a file was written
    except OSError:
        shutil.rmtree(scratch, ignore_errors=True)


def check_cache(folder: str | Path) -> None:
    """Checks that a cache of Hugging Face's libraries can be written, after a file could not."""
    reason = "no permission"
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK):
            return
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
    raise ValueError(f"The cache {folder} cannot be written ({reason}). Set HF_HOME to a folder that can be.")


def keep_facts(path: Path, facts: dict, write: bool) -> None:
    """Keeps what decides the results in a folder's JSON file, so that no run goes on with results of another.

    `write`: whether this process writes the file where there is none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        if write:
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(facts, indent=1), encoding="utf-8")
        return
    try:
        known = dict(json.loads(path.read_bytes()))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged, so its run is not known. Give another --output.") from error
    differing = ", ".join(name for name in facts if known.get(name) != facts[name])
    if differing:
        raise ValueError(f"{path.parent} holds results of another run ({differing} differ). Give another --output.")


def check_new_folder(folder: Path) -> None:
    """Checks that a folder can be made, or is empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"The output {folder} exists already. Choose another folder.")
