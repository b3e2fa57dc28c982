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

    Args:
        path: The file or folder to write; the folder that holds it must exist. An older one is replaced.
    """
    path = Path(os.path.realpath(path))
    scratch = path.parent / f".textir-{secrets.token_hex(6)}"
    try:
        scratch.mkdir(mode=0o700)
        temporary = scratch / path.name
        yield temporary
        if temporary.is_dir():
            _replace_folder(temporary, path, scratch / ".replaced")
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


def _replace_folder(temporary: Path, path: Path, replaced: Path) -> None:
    """Renames a folder onto another, which a single call cannot do; if that fails, the old one comes back."""
    try:
        if path.exists():
            path.rename(replaced)
        temporary.rename(path)
    except BaseException:
        if replaced.exists() and not path.exists():
            replaced.rename(path)
        raise


def _remove(scratch: Path) -> None:
    try:
        os.rmdir(scratch)  # empty where a file was written
    except OSError:
        shutil.rmtree(scratch, ignore_errors=True)


def check_cache(folder: str | Path) -> None:
    """Checks that a cache of Hugging Face's libraries can be written, after a file could not.

    Raises:
        ValueError: It cannot.
    """
    reason = "no permission"
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK):
            return
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
    raise ValueError(f"The cache {folder} cannot be written ({reason}). Set HF_HOME to a folder that can be.")


def keep_facts(path: Path, facts: dict, write: bool) -> None:
    """Keeps what decides the results in a folder, so that no run goes on with results of another.

    Args:
        path: A JSON file in the folder of the results, which is made if it is missing.
        facts: By name, in types of JSON.
        write: Whether this process writes the file where there is none.

    Raises:
        ValueError: The folder holds results of other facts.
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
    differing = [name for name in facts if known.get(name) != facts[name]]
    if differing:
        raise ValueError(
            f"{path.parent} holds results of another run ({', '.join(differing)} differ). Give another --output."
        )


def check_new_folder(folder: Path) -> None:
    """Checks that a folder can be made, or is empty.

    Raises:
        ValueError: It exists and is not empty, or is a file.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"The output {folder} exists already. Choose another folder.")
