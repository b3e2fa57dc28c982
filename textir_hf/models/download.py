"""A pipeline's files from the Hub, checked."""

import hashlib
import re
import warnings
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.hf_api import RepoFile

_FILES = ["*.json", "*.txt", "*.model", "*.safetensors", "README.md"]
_VARIANTS = ["*.fp16.*", "*.bf16.*", "*.fp16-*", "*.bf16-*"]


def download(
    name: str,
    variant: str | None = None,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> str:
    """Fetches a repository into the Hub's cache and compares every file with its hash there.

    The cache names files by their hashes, if the Hub sent such; for others the Hub is asked. Where it tells none, or
    cannot be asked, a warning says which files were not compared.

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
    damaged = _damaged(Path(folder), name, token, local_files_only)
    for path in damaged:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
    if damaged:
        raise OSError(f"{', '.join(p.name for p in damaged)} came damaged from the Hub and was deleted. Load it again.")
    return folder


def _damaged(folder: Path, name: str, token: str | bool | None, local_files_only: bool) -> list[Path]:
    files = {path: _hash_in_cache(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    unknown = [path.relative_to(folder).as_posix() for path, digest in files.items() if digest is None]
    if unknown and not local_files_only:
        found = HfApi(token=token).get_paths_info(name, unknown, revision=folder.name)
        told = [file for file in found if isinstance(file, RepoFile)]
        files |= {folder / file.path: file.lfs.sha256 if file.lfs else file.blob_id for file in told}
    unknown = [path.name for path, digest in files.items() if not digest]
    if unknown:
        warnings.warn(f"{name}: {', '.join(unknown)} could not be compared with a hash on the Hub.", stacklevel=4)
    return [path for path, digest in files.items() if digest and _hash(path, len(digest)) != digest]


def _hash_in_cache(path: Path) -> str | None:
    """The SHA-256 (large files) or git hash by which the cache names a file's content, if it does."""
    name = path.resolve().name
    return name if path.is_symlink() and re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", name) else None


def _hash(path: Path, length: int) -> str:
    digest = hashlib.sha256() if length == 64 else hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
