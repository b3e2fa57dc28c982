"""Which image goes to which file, and batches of them in which one bad image costs no other."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from textir_hf.imaging.files import READABLE, SUFFIXES, image_names


class Job(NamedTuple):
    """One image to restore: its file, the file of its mask or None, and the file of its result."""

    image: Path
    mask: Path | None
    output: Path


def find_jobs(image: Path, mask: Path | None, output: Path, recursive: bool = False) -> list[Job]:
    """The images to restore and where their results go; a folder's become PNGs of the same names."""
    if not image.is_dir():
        if mask is not None and mask.is_dir():
            raise ValueError(f"mask_image must be one image as {image} is, got the folder {mask}.")
        return [Job(image, mask, output)]
    if output.suffix.lower() in SUFFIXES or (output.exists() and not output.is_dir()):
        raise ValueError(f"The output must be a folder as {image} is, got {output}.")
    if output.resolve() in [folder.resolve() for folder in (image, mask) if folder is not None]:
        raise ValueError(f"The output {output} is the folder of the inputs. Choose another.")
    names = sorted(image_names(image, recursive, output))
    if not names:
        deeper = not recursive and any(image_names(image, True, output))
        hint = " Its subfolders have some: give --recursive." if deeper else ""
        raise ValueError(f"{image} has no image ({', '.join(READABLE)}).{hint}")
    masks = sorted(image_names(mask, recursive)) if mask is not None and mask.is_dir() else []
    known = {name.with_suffix(""): name for name in masks} | {name: name for name in masks}
    stems = Counter(name.with_suffix("") for name in names)
    jobs = []
    for name in names:
        stem, own = name.with_suffix(""), mask
        if mask is not None and mask.is_dir():  # any suffix will do, but the image's own comes first
            own = mask / known.get(name, known.get(stem, name))
        result = name.with_suffix(".png") if stems[stem] == 1 else name.with_name(f"{name.name}.png")
        jobs.append(Job(image / name, own, output / result))
    return jobs


def check_no_overwriting(jobs: Iterable[Job], *others: str | Path | None) -> None:
    """Checks that no result is written over an image, a mask or another input, or over another result."""
    inputs = {_identity(Path(path)): path for job in jobs for path in (job.image, job.mask, *others) if path}
    results: dict = {}
    for job in jobs:
        key = _identity(job.output)
        if key in inputs:
            raise ValueError(f"The output {job.output} would overwrite the input {inputs[key]}. Choose another name.")
        if key in results:
            raise ValueError(f"{job.image} and {results[key]} would both become {job.output}. Rename one.")
        results[key] = job.image


def _identity(path: Path) -> tuple[int, int] | Path:
    """What all names of a file share: links, and letters' case where it does not count."""
    return (path.stat().st_dev, path.stat().st_ino) if path.exists() else path.resolve()


def check_folder(folder: Path) -> None:
    """Checks that results can be written to a folder, or that it can be made."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ValueError(f"The output must be a folder, but {there} is a file. Choose another.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"No permission to write into {there}. Choose another output folder.")


def restore_each(items: Iterable, size: int, read: Callable, restore: Callable, write: Callable) -> Iterator[tuple]:
    """Reads items, restores `size` of them together, and writes them; yields each with None or with what went wrong."""
    items = iter(items)
    while batch := list(islice(items, size)):
        contents = []
        for item in batch:
            try:
                contents.append((item, read(item)))
            except Exception as error:
                yield item, error
        results = _restore(restore, [content for _, content in contents])
        for (item, content), result in zip(contents, results, strict=True):
            try:
                if isinstance(result, Exception):
                    raise result
                write(item, content, result)
            except Exception as error:
                yield item, error
            else:
                yield item, None


def _restore(restore: Callable, contents: list) -> list:
    """Results, or what went wrong: together, and one by one where that fails."""
    try:
        return restore(contents) if contents else []
    except Exception as error:
        if len(contents) == 1:
            return [error]
    return [result for content in contents for result in _restore(restore, [content])]
