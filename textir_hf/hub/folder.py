"""A folder of images as the rows of a data set."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from textir_hf.imaging.files import READABLE, image_names

if TYPE_CHECKING:
    from datasets import Dataset

_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}


def folder_rows(folder: Path, split: str) -> Dataset:
    """The images of one split of a folder, all below it, with what its metadata files say of them.

    All images are of the split "train", whatever they are called. Only where each of them is in a subfolder that has
    the name of a split ("train", "val", "test" and the like), these are the splits.

    Args:
        folder: The folder. A metadata file in it or below has a column `file_name`, relative to itself, and any others;
            `mask_file_name` becomes the image column `mask`.
        split: Name of the split.

    Returns:
        The column `image`, `{"bytes": None, "path": path}`, and those of the metadata files.

    Raises:
        ValueError: There is no image or no such split; or a metadata file leaves images out, names something else, or
            cannot be read.
        OSError: A folder cannot be read.
    """
    from datasets import Dataset
    from datasets.fingerprint import Hasher

    names = sorted(image_names(folder))
    if not names:
        raise ValueError(f"The folder {folder} has no image ({', '.join(READABLE)}).")
    chosen = set(_of_split(names, split, folder))
    places = sorted({folder / parent for name in names for parent in name.parents})
    files = [path for place in places for kind in _METADATA if (path := place / kind).is_file()]
    rows = _described(folder, files, names) if files else [{"image": name} for name in names]
    rows = [row for row in rows if row["image"] in chosen]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    try:
        found = Dataset.from_list([{column: _value(folder, row.get(column)) for column in columns} for row in rows])
    except (TypeError, ValueError) as error:  # pyarrow's
        raise ValueError(f"The metadata in {folder} must have one type in each column: {error}.") from error
    stats = [(str(path), path.stat()) for path in (*files, *sorted(folder / name for name in chosen))]
    known_by = Hasher.hash([(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats])
    return Dataset(found.data, found.info, fingerprint=known_by)  # so that caches see what changed in the files


def _value(folder: Path, value):
    return {"bytes": None, "path": str(folder / value)} if isinstance(value, Path) else value


def _of_split(names: list[Path], split: str, folder: Path) -> list[Path]:
    tops = {name.parts[0] if len(name.parts) > 1 else "" for name in names}
    wanted = _SPLITS.get(split, (split,))
    if tops <= set(sum(_SPLITS.values(), ())) and tops & set(wanted):
        return [name for name in names if name.parts[0] in wanted]
    if split == "train":
        return names
    raise ValueError(
        f'The folder {folder} has no split "{split}". Put all images into subfolders such as train and {split}, or '
        'use the split "train", which is all of them.'
    )


def _described(folder: Path, files: list[Path], names: list[Path]) -> list[dict]:
    """The rows of metadata files; the images that they name become paths relative to the folder."""
    rows = [_with_images(folder, file, row) for file in files for row in _read_metadata(file)]
    named = {value for row in rows for value in row.values() if isinstance(value, Path)}
    if unknown := sorted(named - set(names)):
        raise ValueError(f"The metadata in {folder} names {len(unknown)} files that are not images: {unknown[0]}, ...")
    if left_out := sorted(set(names) - named):
        raise ValueError(
            f"The metadata in {folder} leaves out {len(left_out)} of {len(names)} images, such as {left_out[0]}. Add "
            f"them to {files[0].name}, or move them elsewhere."
        )
    return rows


def _with_images(folder: Path, file: Path, row: dict) -> dict:
    found = {}
    for name, value in row.items():
        if name == "file_name" or name.endswith("_file_name"):
            name = name.removesuffix("file_name").rstrip("_") or "image"
            value = Path(os.path.relpath(file.parent / str(value), folder)) if value else None
        found[name] = value
    if not isinstance(found.get("image"), Path):
        raise ValueError(f"{file} must have the column file_name, with the name of an image in every row.")
    return found


def _read_metadata(file: Path) -> list[dict]:
    try:
        if file.suffix == ".parquet":
            import pyarrow.parquet as pq

            return pq.read_table(file).to_pylist()
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix == ".csv":
            rows = list(csv.DictReader(io.StringIO(text, newline="")))
        else:
            rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(f"{file} cannot be read: {' '.join(str(error).split())}.") from error
    short = file.suffix == ".csv" and any(None in row or None in row.values() for row in rows)
    if not rows or short or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{file} must have a value for each column in every line, and at least one line.")
    return rows
