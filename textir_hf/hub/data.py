"""Data sets of images: a folder, parquet files, WebDataset shards or a data set on the Hub, opened in one way."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from textir_hf.atomic import check_cache
from textir_hf.hub.folder import folder_rows
from textir_hf.imaging.files import open_image
from textir_hf.imaging.raster import to_raster

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

_FORMATS = {".parquet": "parquet", ".tar": "webdataset"}
_IMAGES = ("binary", "large_binary", "string", "large_string", "null")  # types of encoded images, of paths, of neither
_STREAMED_ROWS = 1000  # at a time; without it, an empty file ends a stream
_LISTED = "imagefolder"  # as datasets calls what makes rows of a folder's files
Source = str | Path | Sequence[str | Path]


def open_rows(
    source: Source,
    split: str = "train",
    *,
    split_column: str | None = None,
    image_columns: Sequence[str] = ("image",),
    configuration: str | None = None,
    streaming: bool = False,
) -> Dataset | IterableDataset:
    """Opens the rows of one split; the images in them stay encoded until `read_image`.

    Args:
        source: A folder of images; parquet files or tar shards in the WebDataset format, by path, pattern or URL; or
            the name of a data set on the Hub. The columns of a shard are the suffixes of its files, such as "jpg".
        split: Name of the split. Files are all of the split "train", unless `split_column` says more; for a folder, see
            `folder_rows`.
        split_column: A column whose value is the split's name for each row. All of "train" is then looked through.
        image_columns: Columns of images that must be there.
        configuration: Of a data set on the Hub that has several.
        streaming: Read rows as they are asked for, in place of building the whole set on the disk.

    Raises:
        ValueError: There is no such data set, split or column, or a file is damaged.
    """
    from datasets import Image as ImageFeature

    sources = [str(source)] if isinstance(source, (str, Path)) else [str(s) for s in source]
    sources = [str(Path(s).expanduser()) if s.startswith("~") else s for s in sources]
    shown = sources[0] if len(sources) == 1 else f"of {len(sources)} files from {sources[0]} on"
    rows = _load(sources, shown, "train" if split_column else split, configuration, streaming)
    columns = rows.column_names or []
    for name in (*image_columns, *([split_column] if split_column else [])):
        if name not in columns:
            raise ValueError(f"The data set {shown} has no column {name}, only {', '.join(columns)}.")
    for name in image_columns:
        kind = rows.features[name] if rows.features is not None else ImageFeature()
        encoded = isinstance(kind, dict) and set(kind) == {"bytes", "path"}
        if not encoded and not isinstance(kind, ImageFeature) and getattr(kind, "dtype", None) not in _IMAGES:
            raise ValueError(f"The column {name} of the data set {shown} must hold images, got {kind}.")
        rows = rows.cast_column(name, ImageFeature(decode=False))
    if split_column is None:
        return rows
    if streaming:
        return rows.filter(lambda value: value == split, input_columns=split_column)
    return rows.select([i for i, value in enumerate(rows[split_column]) if value == split])


def _load(
    sources: list[str], shown: str, split: str, configuration: str | None, streaming: bool
) -> Dataset | IterableDataset:
    from datasets import config, load_dataset
    from datasets.exceptions import DatasetsError

    if len(sources) == 1 and Path(sources[0]).is_dir():
        rows = folder_rows(Path(sources[0]), split)
        rows = rows.to_iterable_dataset() if streaming else rows
        rows.info.builder_name = _LISTED
        return rows
    suffixes = {Path(source).suffix.lower() for source in sources}
    if len(suffixes) == 1 and suffixes <= _FORMATS.keys():
        options = {"path": _FORMATS[suffixes.pop()], "data_files": {"train": sources}}
        options |= {"batch_size": _STREAMED_ROWS} if streaming and options["path"] == "parquet" else {}
    elif len(sources) > 1 or sources[0].startswith((".", "/")) or sources[0].count("/") > 1 or suffixes != {""}:
        raise ValueError(
            f"The data set {shown} must be a folder, files of one kind ({', '.join(_FORMATS)}) or a name on the Hub."
        )
    else:
        options = {"path": sources[0], "name": configuration}
    try:
        return load_dataset(**options, split=split, streaming=streaming)
    except (OSError, ValueError, tarfile.TarError, DatasetsError) as error:
        if getattr(error, "errno", None):  # of the system
            check_cache(config.HF_DATASETS_CACHE)
        reason = str(error.__cause__ or error).strip().splitlines()
        raise ValueError(
            f'The data set {shown} cannot be opened, or has no split "{split}": {reason[0] if reason else error!r}'
        ) from error


def has_own_paths(rows: Dataset | IterableDataset) -> bool:
    """Whether paths in these rows come from listing a folder; those in a file are whatever its author wrote."""
    return rows.info.builder_name == _LISTED


def read_image(value: dict, name: str = "The image", paths: bool = True) -> Image.Image:
    """Decodes an encoded image of a row, upright and in sRGB.

    Args:
        value: The file's content in `bytes`, or where it is in `path`, which may be a URL.
        name: What errors call the image.
        paths: Whether to follow a path. In a stranger's file it may lead anywhere; see `has_own_paths`.

    Raises:
        ValueError: There is none, it is elsewhere, or it cannot be decoded.
    """
    content, path = (value or {}).get("bytes"), (value or {}).get("path")
    if content is None and path is None:
        raise ValueError(f"{name} is empty.")
    if content is None and not paths:
        raise ValueError(
            f"{name} is only the path or URL {path!r}, which is not followed. Put the image itself into the row; "
            "textir bulk follows paths with --allow-paths."
        )
    if content is None and "://" in path:
        content = _fetch(path, name)
    return open_image(path if content is None else content, name=name)


def _fetch(url: str, name: str) -> bytes:
    import fsspec

    try:
        with fsspec.open(url, "rb") as file:
            return file.read()
    except (OSError, ValueError, ImportError) as error:
        raise ValueError(f"{name} cannot be read from {url} ({error}).") from error


def read_square(value: dict, size: int, name: str = "The image", paths: bool = True) -> np.ndarray:
    """Decodes an encoded image and resizes its middle square with an antialiased filter.

    Args:
        value: As for `read_image`.
        size: Side of the result, pixels.
        name: As for `read_image`.
        paths: As for `read_image`.

    Returns:
        `[size, size, 3]` uint8, sRGB.

    Raises:
        ValueError: There is none, or it cannot be decoded.
    """
    rgb = to_raster(read_image(value, name, paths), name).rgb
    height, width = rgb.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    box = (left, top, left + side, top + side)
    return np.array(Image.fromarray(rgb).resize((size, size), Image.Resampling.LANCZOS, box=box))
