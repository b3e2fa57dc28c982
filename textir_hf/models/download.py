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


def download(name: str, variant: str | None = None, **options) -> str:
    """Fetches a repository into the Hub's cache and compares every file with its hash there, once, when it is new.

    The cache names files by their hashes where it can make symbolic links and the Hub sent hashes; for others the Hub
    is asked. Where it tells none, or cannot be reached, a warning says which files were not compared.

    diffusers' own download refuses components of other packages. Half-precision files are fetched only if a variant is
    asked for; damaged ones are deleted. Options are those of `huggingface_hub.snapshot_download`.
    """
    try:
        patterns = {"allow_patterns": _FILES, "ignore_patterns": None if variant else _VARIANTS}
        folder = snapshot_download(name, **patterns, **options)
    except OSError as error:
        if error.errno:  # of the system
            check_cache(options.get("cache_dir") or constants.HF_HUB_CACHE)
        raise
    damaged = _damaged(Path(folder), name, options.get("token"), options.get("local_files_only", False))
    for path in damaged:
        path.resolve().unlink()
        _blob(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    if damaged:
        raise OSError(f"{', '.join(p.name for p in damaged)} came damaged from the Hub and was deleted. Load it again.")
    return folder


def _damaged(folder: Path, name: str, token: str | bool | None, local_files_only: bool) -> list[Path]:
    """The files of a snapshot that are new in the cache and differ from their hash."""
    record, compared = folder.parent.parent / _COMPARED, {}
    with suppress(OSError, ValueError, TypeError):
        compared = dict(json.loads(record.read_bytes()))
    stats = {path: path.stat() for path in sorted(folder.rglob("*")) if path.is_file()}
    versions = {path: [stat.st_size, stat.st_mtime_ns] for path, stat in stats.items()}
    new = {}
    for path, version in versions.items():
        if compared.get(str(path.resolve())) != version:
            blob = _blob(path).name  # the SHA-256 (large files) or git hash, if the cache names a file's content by it
            named = path.is_symlink() and re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", blob)
            new[path] = blob if named else None
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
    sound = {str(path.resolve()): versions[path] for path, digest in new.items() if digest and path not in damaged}
    if sound:
        with suppress(OSError), replacing(record) as temporary:  # a cache that is read-only is compared each time
            temporary.write_text(json.dumps(compared | sound), encoding="utf-8")
    return damaged


def _blob(path: Path) -> Path:
    """What a link in a snapshot leads to; that may be a link itself, to a file that repositories share."""
    return path.parent / os.readlink(path) if path.is_symlink() else path


def _hash(path: Path, length: int) -> str:
    digest = hashlib.sha256() if length == 64 else hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
