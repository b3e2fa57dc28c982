"""A pipeline's files from the Hub, checked."""

import hashlib
import json
import os
import re
import warnings
from contextlib import suppress
from pathlib import Path

import httpx
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.hf_api import RepoFile

from textir_hf.atomic import check_cache, replacing

_FILES = ["*.json", "*.txt", "*.model", "*.safetensors", "README.md"]
_VARIANTS = ["*.fp16.*", "*.bf16.*", "*.fp16-*", "*.bf16-*"]
_COMPARED = ".textir-compared.json"  # size and time of the files that were compared, in the repository's cache folder


def download(
    name: str,
    variant: str | None = None,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> str:
    """Fetches a repository into the Hub's cache and compares every file with its hash there, once, when it is new.

    The cache names files by their hashes where it can make symbolic links and the Hub sent hashes; for others the Hub
    is asked. Where it tells none, or cannot be reached, a warning says which files were not compared.

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
        ValueError: The cache cannot be written.
        OSError: Files are damaged; they are deleted. Or as `huggingface_hub.snapshot_download`.
    """
    try:
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
    except OSError as error:
        if error.errno:  # of the system
            check_cache(cache_dir or constants.HF_HUB_CACHE)
        raise
    damaged = _damaged(Path(folder), name, token, local_files_only)
    for path in damaged:
        path.resolve().unlink()
        _blob(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    if damaged:
        raise OSError(f"{', '.join(p.name for p in damaged)} came damaged from the Hub and was deleted. Load it again.")
    return folder


def _damaged(folder: Path, name: str, token: str | bool | None, local_files_only: bool) -> list[Path]:
    record = folder.parent.parent / _COMPARED
    compared, stats = _read(record), {path: path.stat() for path in sorted(folder.rglob("*")) if path.is_file()}
    versions = {path: [stat.st_size, stat.st_mtime_ns] for path, stat in stats.items()}
    new = {path: _hash_in_cache(path) for path, version in versions.items() if compared.get(_key(path)) != version}
    unknown = [path.relative_to(folder).as_posix() for path, digest in new.items() if digest is None]
    if unknown and not local_files_only:
        with suppress(OSError, httpx.HTTPError):  # offline, or the Hub is
            found = HfApi(token=token).get_paths_info(name, unknown, revision=folder.name)
            told = [file for file in found if isinstance(file, RepoFile)]
            new |= {folder / file.path: file.lfs.sha256 if file.lfs else file.blob_id for file in told}
    unknown = [path.name for path, digest in new.items() if not digest]
    if unknown:
        warnings.warn(f"{name}: {', '.join(unknown)} could not be compared with a hash on the Hub.", stacklevel=4)
    damaged = [path for path, digest in new.items() if digest and _hash(path, len(digest)) != digest]
    sound = {_key(path): versions[path] for path, digest in new.items() if digest and path not in damaged}
    if sound:
        with suppress(OSError), replacing(record) as temporary:  # a cache that is read-only is compared each time
            temporary.write_text(json.dumps(compared | sound), encoding="utf-8")
    return damaged


def _read(record: Path) -> dict:
    try:
        content = json.loads(record.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _key(path: Path) -> str:
    return str(path.resolve())


def _blob(path: Path) -> Path:
    """What a link in a snapshot leads to; that may be a link itself, to a file that repositories share."""
    return path.parent / os.readlink(path) if path.is_symlink() else path


def _hash_in_cache(path: Path) -> str | None:
    """The SHA-256 (large files) or git hash by which the cache names a file's content, if it does."""
    name = _blob(path).name
    return name if path.is_symlink() and re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", name) else None


def _hash(path: Path, length: int) -> str:
    digest = hashlib.sha256() if length == 64 else hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
