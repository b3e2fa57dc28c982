"""Files and folders that appear whole or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path for a file or a folder, and renames it to `path` when the block ends.

    Where the block raises, what it wrote is removed, and what stood at `path` stays.

    Args:
        path: The file or folder to write; the folder that holds it must exist. An older one is replaced.
    """
    path = Path(path)
    scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix=".textir-"))
    try:
        temporary = scratch / path.name
        yield temporary
        if temporary.is_dir() and path.exists():  # a folder cannot be renamed onto another
            path.rename(scratch / ".replaced")
        temporary.replace(path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
