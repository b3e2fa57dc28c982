"""Files and folders that appear whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path for a file or a folder, and renames it to `path` when the block ends.

    Where the block raises, what it wrote is removed, and what stood at `path` stays. A symbolic link is written
    through, and an older file's permissions stay.

    Args:
        path: The file or folder to write; the folder that holds it must exist. An older one is replaced.
    """
    path = Path(os.path.realpath(path))
    scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix=".textir-"))
    try:
        temporary = scratch / path.name
        yield temporary
        if temporary.is_dir():
            _replace_folder(temporary, path, scratch / ".replaced")
        else:
            if path.exists():
                shutil.copymode(path, temporary)
            temporary.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a write names no file
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _replace_folder(temporary: Path, path: Path, replaced: Path) -> None:
    """Renames a folder onto another, which a single call cannot do; if that fails, the old one comes back."""
    if path.exists():
        path.rename(replaced)
    try:
        temporary.rename(path)
    except BaseException:
        if replaced.exists():
            replaced.rename(path)
        raise
