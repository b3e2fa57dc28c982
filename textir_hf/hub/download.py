"""A pipeline's files from the Hub, checked."""

import hashlib
import os
from pathlib import Path

from huggingface_hub import snapshot_download

_FILES = ["*.json", "*.txt", "*.model", "*.safetensors", "README.md"]
_VARIANTS = ["*.fp16.*", "*.bf16.*", "*.fp16-*", "*.bf16-*"]


def download(
    name: str,
    variant: str | None = None,
    revision: str | None = None,
    cache_dir: str | os.PathLike | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> str:
    """Fetches a repository into the Hub's cache and compares every file with its hash there.

    diffusers' own download refuses components of other packages.

    Args:
        name: "owner/name".
        variant: Half-precision files are fetched only if one is asked for.
        revision: Branch, tag or commit.
        cache_dir: The cache.
        token: As for `huggingface_hub`.
        local_files_only: Look into the cache alone.
        force_download: Fetch again what is there.

    Returns:
        The folder.

    Raises:
        OSError: Files are damaged; they are deleted. Or as `huggingface_hub.snapshot_download`.
    """
    folder = snapshot_download(
        name,
        revision=revision,
        cache_dir=cache_dir,
        token=token,
        local_files_only=local_files_only,
        force_download=force_download,
        allow_patterns=_FILES,
        ignore_patterns=None if variant else _VARIANTS,
    )
    damaged = [p for p in sorted(Path(folder).rglob("*")) if p.is_file() and not _intact(p)]
    for path in damaged:
        path.resolve().unlink()
        path.unlink()
    if damaged:
        raise OSError(f"{', '.join(p.name for p in damaged)} came damaged from the Hub and was deleted. Load it again.")
    return folder


def _intact(path: Path) -> bool:
    """The cache names a file's content by its SHA-256 (large files) or git hash; elsewhere nothing can be told."""
    blob = path.resolve()
    content = None if blob == path or len(blob.name) not in (40, 64) else blob.read_bytes()
    if content is None:
        return True
    if len(blob.name) == 64:
        return hashlib.sha256(content).hexdigest() == blob.name
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == blob.name
