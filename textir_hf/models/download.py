"""A pipeline's files from the Hub, checked."""

import json
import os
import warnings
from contextlib import suppress
from pathlib import Path

import httpx
from huggingface_hub import HfApi, constants, snapshot_download

from textir_hf.atomic import check_cache, replacing

_FILES = ["*.json", "*.txt", "*.model", "*.safetensors", "README.md"]
_VARIANTS = ["*.fp16.*", "*.bf16.*", "*.fp16-*", "*.bf16-*"]
_COMPARED = ".textir-compared.json"  # size and time of the files that were compared, in the repository's cache folder


def download(name: str, variant: str | None = None, **options) -> str:
    """Fetches a repository into the Hub's cache and compares its files with their hashes there, once, when one is new.

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
    _compare(Path(folder), name, options)
    return folder


def _compare(folder: Path, name: str, options: dict) -> None:
    """Compares a snapshot with the Hub, which is asked for hashes; warns where it cannot be."""
    record, known = folder.parent.parent / _COMPARED, {}
    with suppress(OSError, ValueError, TypeError):
        known = dict(json.loads(record.read_bytes()))
    stats = {str(path.resolve()): path.stat() for path in folder.rglob("*") if path.is_file()}
    found = {path: [stat.st_size, stat.st_mtime_ns] for path, stat in stats.items()}
    if found.items() <= known.items():
        return
    try:
        if options.get("local_files_only"):
            raise OSError("the Hub is not asked")
        where = {"revision": folder.name, "cache_dir": options.get("cache_dir")}
        damaged = HfApi(token=options.get("token")).verify_repo_checksums(name, **where).mismatches
    except (OSError, httpx.HTTPError) as error:
        warnings.warn(f"{name} could not be compared with its hashes on the Hub: {error}", stacklevel=3)
        return
    for path in [folder / file["path"] for file in damaged]:
        while path.is_symlink():  # to another one, where repositories share files
            path, link = path.parent / os.readlink(path), path
            link.unlink()
        path.unlink(missing_ok=True)
    if damaged:
        names = ", ".join(Path(file["path"]).name for file in damaged)
        raise OSError(f"{names} came damaged from the Hub and was deleted. Load it again.")
    with suppress(OSError), replacing(record) as temporary:  # a cache that is read-only is compared each time
        temporary.write_text(json.dumps(known | found), encoding="utf-8")
