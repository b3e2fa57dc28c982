"""Files and folders that appear whole or not at all; and the settings that the results in a folder belong to."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path for a file or a folder, and renames it to `path` when the block ends.

    Where the block raises, what it wrote is removed, and an older `path` stays. A symbolic link is written through,
    and an older file's permissions stay.
    """
    path, scratch = Path(os.path.realpath(path)), None
    try:
        with TemporaryDirectory(prefix=".textir-", dir=path.parent, ignore_cleanup_errors=True) as scratch:
            temporary = Path(scratch) / path.name
            yield temporary
            if path.exists() and temporary.is_dir():  # no single call renames a folder onto another
                old = path.rename(Path(scratch) / ".replaced")
                try:
                    temporary.rename(path)
                except BaseException:
                    old.rename(path)
                    raise
                return
            if path.exists():
                shutil.copymode(path, temporary)
            temporary.replace(path)
    except OSError as error:
        if error.filename is None or ".textir-" in str(error.filename):  # a write names no file, or a temporary one
            error.filename = str(path)
        raise
    finally:
        if scratch is not None:  # a signal may have ended its removal
            shutil.rmtree(scratch, ignore_errors=True)


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
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged, so its run is not known. Give another --output.") from error
    differing = ", ".join(name for name in facts if known.get(name) != facts[name])
    if differing:
        raise ValueError(f"{path.parent} holds results of another run ({differing} differ). Give another --output.")


def check_new_folder(folder: Path) -> None:
    """Checks that a folder can be made, or is empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"The output {folder} exists already. Choose another folder.")
