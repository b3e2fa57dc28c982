"""Data sets of images: a folder, parquet files, WebDataset shards or a data set on the Hub, opened in one way."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from textir_hf.imaging.files import READABLE, image_names, open_image
from textir_hf.imaging.raster import to_raster

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

_FORMATS = {".parquet": "parquet", ".tar": "webdataset"}
_IMAGES = ("binary", "large_binary", "string", "large_string", "null")  # types of encoded images, of paths, of neither
_STREAMED_ROWS = 1000  # at a time; without it, an empty file ends a stream
_LISTED = "imagefolder"  # as datasets calls what makes rows of a folder's files
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}


def open_rows(
    source: str | Path | Sequence[str | Path],
    split: str = "train",
    *,
    split_column: str | None = None,
    image_columns: Sequence[str] = ("image",),
    streaming: bool = False,
) -> Dataset | IterableDataset:
    """Opens the rows of one split; the images in them stay encoded until `read_image`.

    Args:
        source: A folder of images; parquet files or tar shards in the WebDataset format, by path, pattern or URL; or
            the name of a data set on the Hub. The columns of a shard are the suffixes of its files, such as "jpg".
        split: Name of the split. Files are all of the split "train", unless `split_column` says more; for a folder, see
            `_folder_rows`.
        split_column: A column whose value is the split's name for each row. All of "train" is then looked through.
        image_columns: Columns of images that must be there.
        streaming: Read rows as they are asked for, in place of building the whole set on the disk.

    Raises:
        ValueError: There is no such data set, split or column, or a file is damaged.
    """
    from datasets import Image as ImageFeature

    sources = [str(source)] if isinstance(source, (str, Path)) else [str(s) for s in source]
    sources = [str(Path(s).expanduser()) if s.startswith("~") else s for s in sources]
    shown = sources[0] if len(sources) == 1 else f"of {len(sources)} files from {sources[0]} on"
    rows = _load(sources, shown, "train" if split_column else split, streaming)
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


def _load(sources: list[str], shown: str, split: str, streaming: bool) -> Dataset | IterableDataset:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    if len(sources) == 1 and Path(sources[0]).is_dir():
        rows = _folder_rows(Path(sources[0]).absolute(), split)
        rows = rows.to_iterable_dataset() if streaming else rows
        rows.info.builder_name = _LISTED
        return rows
    suffixes = {Path(source).suffix.lower() for source in sources}
    if len(suffixes) == 1 and suffixes <= _FORMATS.keys():
        options: dict[str, Any] = {"path": _FORMATS[suffixes.pop()], "data_files": {"train": sources}}
        options |= {"batch_size": _STREAMED_ROWS} if streaming and options["path"] == "parquet" else {}
    elif len(sources) > 1 or sources[0].startswith((".", "/")) or sources[0].count("/") > 1 or suffixes != {""}:
        kinds = ", ".join(_FORMATS)
        raise ValueError(f"The data set {shown} must be a folder, files of one kind ({kinds}) or a name on the Hub.")
    else:
        options = {"path": sources[0]}
    try:
        return load_dataset(**options, split=split, streaming=streaming)
    except (OSError, ValueError, tarfile.TarError, DatasetsError) as error:
        reason = (str(error.__cause__ or error).strip() or repr(error)).splitlines()[0]
        raise ValueError(f'The data set {shown} cannot be opened, or has no split "{split}": {reason}') from error


def _folder_rows(folder: Path, split: str) -> Dataset:
    """The images of one split of a folder, all below it, with what its metadata files say of them.

    All images are of the split "train", whatever they are called. Only where each of them is in a subfolder that has
    the name of a split ("train", "val", "test" and the like), these are the splits. A metadata file has a column
    `file_name`, relative to itself, and any others; `mask_file_name` becomes the image column `mask`.
    """
    from datasets import Dataset, Image, load_dataset
    from datasets.exceptions import DatasetsError
    from datasets.fingerprint import Hasher

    names = sorted(image_names(folder))
    if not names:
        raise ValueError(f"The folder {folder} has no image ({', '.join(READABLE)}).")
    chosen = [str(folder / name) for name in _of_split(names, split, folder)]
    rows = Dataset.from_dict({"image": [{"bytes": None, "path": path} for path in chosen]})
    places = sorted({folder / parent for name in names for parent in name.parents})
    if files := [str(path) for place in places for kind in _METADATA if (path := place / kind).is_file()]:
        try:
            rows = load_dataset(_LISTED, data_files=files, split="train")
        except (OSError, ValueError, DatasetsError) as error:
            reason = " ".join(str(error.__cause__ or error).split()).rstrip(".")
            raise ValueError(f"The metadata in {folder} cannot be read: {reason}.") from error
        columns = [name for name, kind in rows.features.items() if isinstance(kind, Image)]
        for name in columns:
            rows = rows.cast_column(name, Image(decode=False))
        named = {value["path"] for name in columns for value in rows[name] if value}
        if differing := sorted(named ^ {str(folder / name) for name in names}):
            raise ValueError(f"The metadata in {folder} must name each image there and no other file: {differing[0]}.")
        rows = rows.select([i for i, value in enumerate(rows["image"]) if (value or {}).get("path") in set(chosen)])
    stats = [(path, Path(path).stat()) for path in (*files, *chosen)]
    known_by = Hasher.hash([(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats])
    return Dataset(rows.data, rows.info, indices_table=rows._indices, fingerprint=known_by)  # caches see what changed


def _of_split(names: list[Path], split: str, folder: Path) -> list[Path]:
    tops = {name.parts[0] if len(name.parts) > 1 else "" for name in names}
    wanted = _SPLITS.get(split, (split,))
    if tops <= set(sum(_SPLITS.values(), ())) and tops & set(wanted):
        return [name for name in names if name.parts[0] in wanted]
    if split == "train":
        return names
    remedy = f"Put all images into subfolders such as train and {split}"
    raise ValueError(f'The folder {folder} has no split "{split}". {remedy}, or use "train", which is all of them.')


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
    if content is not None:
        return open_image(content, name=name)
    if path is None:
        raise ValueError(f"{name} is empty.")
    if not paths:
        remedy = "Put the image itself into the row; textir bulk follows paths with --allow-paths"
        raise ValueError(f"{name} is only the path or URL {path!r}, which is not followed. {remedy}.")
    if "://" in path:
        import fsspec

        try:
            with fsspec.open(path, "rb") as file:
                content = file.read()
        except (OSError, ValueError, ImportError) as error:
            raise ValueError(f"{name} cannot be read from {path} ({error}).") from error
    return open_image(path if content is None else content, name=name)


def read_square(value: dict, size: int, name: str = "The image", paths: bool = True) -> np.ndarray:
    """As `read_image`; its middle square, resized with an antialiased filter: `[size, size, 3]` uint8."""
    rgb = to_raster(read_image(value, name, paths), name).rgb
    height, width = rgb.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    box = (left, top, left + side, top + side)
    return np.array(Image.fromarray(rgb).resize((size, size), Image.Resampling.LANCZOS, box=box))


def load_masks(path: str | Path, split: str, size: int) -> Tensor:
    """Irregular masks: `[N, 1, size, size]`, 1 = repaint, shrunk with NEAREST to stay binary.

    They are in a parquet file with the columns `image` and `split`, or in a folder of images, all of one split.

    Raises:
        ValueError: A mask has gray levels, or there is none.
    """
    path, masks = Path(path).expanduser(), []
    folder = path.is_dir()
    for i, row in enumerate(open_rows(path) if folder else open_rows(path, split, split_column="split")):
        name = row["image"]["path"] if folder else f"{path.name}, row {i} of {split}"
        mask = np.asarray(read_image(row["image"], name, folder).convert("L"))
        if gray := sorted(set(np.unique(mask).tolist()) - {0, 255}):
            wanted = "0 where known and 255 where to repaint"
            raise ValueError(f"{name} must be {wanted}, got the gray level {gray[0]}. Save it as PNG, not JPEG.")
        masks.append(np.asarray(Image.fromarray(mask > 0).resize((size, size), Image.Resampling.NEAREST)))
    if not masks:
        raise ValueError(f"{path} holds no mask.")
    return torch.from_numpy(np.stack(masks))[:, None].float()
