"""The images, sentences and masks that an evaluation runs on."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from torch import Tensor

from textir_hf.evaluation.protocols import Protocol
from textir_hf.hub.data import has_own_paths, open_rows, read_image, read_square
from textir_hf.imaging.files import image_names


def load_masks(path: str | Path, split: str, size: int) -> Tensor:
    """Irregular masks: `[N, 1, size, size]`, 1 = repaint, shrunk with NEAREST to stay binary.

    Args:
        path: Parquet file with the columns `image` and `split`, or a folder of images, all of one split.
        split: "train" or "test", for a parquet file.
        size: Side of the result, pixels.

    Raises:
        ValueError: A mask has gray levels, or there is none.
    """
    path, masks = Path(path).expanduser(), []
    if path.is_dir():
        encoded = [(str(name), {"path": str(path / name)}) for name in sorted(image_names(path))]
    elif path.is_file():
        rows = open_rows(path, split, split_column="split")
        encoded = [(f"{path.name}, row {i} of {split}", row["image"]) for i, row in enumerate(rows)]
    else:
        raise ValueError(f"{path} is neither a parquet file nor a folder of masks.")
    for name, value in encoded:
        mask = _to_binary(np.asarray(read_image(value, name, path.is_dir()).convert("L")), name)
        masks.append(np.asarray(Image.fromarray(mask).resize((size, size), Image.Resampling.NEAREST)))
    if not masks:
        raise ValueError(f"{path} holds no mask.")
    return torch.from_numpy(np.stack(masks))[:, None].float()


def _to_binary(mask: np.ndarray, name: str) -> np.ndarray:
    gray = sorted(set(np.unique(mask).tolist()) - {0, 255})
    if gray:
        raise ValueError(
            f"{name} holds gray levels ({gray[0]} among others): a mask is 0 = known or 255 = repaint. Threshold it, "
            "and save it as PNG, not JPEG."
        )
    return mask > 0


@dataclass
class Part:
    """The test images of one file.

    Args:
        name: Of the file.
        rows: All rows of the file.
        test: Which of them are measured.
        training: Which of them are training images.
    """

    name: str
    rows: Dataset
    test: list[int]
    training: list[int]


@dataclass
class TestSet:
    """Images with their sentences, decoded when asked for.

    Args:
        parts: The files.
        size: Side of the images in pixels.
    """

    __test__ = False  # for pytest

    parts: list[Part]
    image_column: str
    caption_column: str
    size: int

    def __len__(self) -> int:
        return sum(len(part.test) for part in self.parts)

    def _find(self, index: int) -> tuple[Part, int]:
        for part in self.parts:
            if index < len(part.test):
                return part, part.test[index]
            index -= len(part.test)
        raise IndexError(index)

    def image(self, index: int) -> np.ndarray:
        """`[size, size, 3]` uint8."""
        part, row = self._find(index)
        return self._decode(part, row, self.size)

    def _decode(self, part: Part, row: int, size: int) -> np.ndarray:
        name, paths = f"Row {row} of {part.name}", has_own_paths(part.rows)
        return read_square(part.rows[row][self.image_column], size, name, paths)

    def file(self, index: int) -> str:
        """Where an image comes from."""
        return self._find(index)[0].name

    def captions(self, index: int) -> list[str]:
        """An image's sentences; perhaps none."""
        part, row = self._find(index)
        value = part.rows[row].get(self.caption_column) or []
        return [c for c in ([value] if isinstance(value, str) else value) if c.strip()]

    def training_images(self, per_file: int, size: int) -> Iterator[np.ndarray]:
        """Up to `per_file` training images of each file, evenly spread: `[size, size, 3]` uint8."""
        for part in self.parts:
            for i in spread(part.training, per_file):
                yield self._decode(part, i, size)


def spread(values: list[int], most: int) -> list[int]:
    """At most so many of the values, evenly spread."""
    return [values[i] for i in np.linspace(0, len(values) - 1, min(most, len(values))).astype(int)]


def open_test_set(
    protocol: Protocol, data: str, size: int, limit: int | None, image_column: str, caption_column: str, split: str
) -> TestSet:
    """Opens what a protocol runs on.

    Args:
        protocol: The protocol.
        data: Folder of its files; or for a protocol without files, a parquet file, a folder or a Hub id.
        size: Side of the images.
        limit: At most so many images of each file, evenly spread.
        image_column: Name of the images' column.
        caption_column: Name of the captions' column.
        split: Split of a data set that has no `split` column.

    Raises:
        ValueError: A file or column is missing, there are no images, or captions are needed and missing.
    """
    parts = []
    for name in protocol.files or (str(data),):
        path = Path(data).expanduser() / name if protocol.files else Path(data).expanduser()
        if protocol.files and not path.is_file():
            raise ValueError(f"{path} does not exist. --data must be the folder that holds it.")
        # Files are all of the split "train" for `datasets`; a column of theirs may say more.
        loaded = "train" if path.is_file() else split
        rows = open_rows(path if protocol.files else data, loaded, image_columns=(image_column,))
        if name not in protocol.candidates and caption_column not in rows.column_names:
            raise ValueError(
                f"{name} has no column {caption_column!r} of captions, but {', '.join(rows.column_names)}. "
                "Name it with --caption-column."
            )
        columns = [c for c in (image_column, caption_column) if c in rows.column_names]
        parts.append(_part(name, rows, columns, limit, protocol.per_file))
    test_set = TestSet(parts, image_column, caption_column, size)
    for i in range(len(test_set)):
        if test_set.file(i) not in protocol.candidates and not test_set.captions(i):
            raise ValueError(f"Image {i} of {test_set.file(i)} has no caption, which this protocol needs.")
    return test_set


def _part(name: str, rows: Dataset, columns: list[str], *limits: int | None) -> Part:
    splits = rows["split"] if "split" in rows.column_names else ["test"] * len(rows)
    test, training = ([i for i, value in enumerate(splits) if value == split] for split in ("test", "train"))
    if not test:
        raise ValueError(f'{name} holds no image of the split "test".')
    most = min(n for n in (*limits, len(test)) if n)
    return Part(name, rows.select_columns(columns), spread(test, most), training)
