"""The pictures, sentences and holes that an evaluation runs on."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, load_dataset
from datasets import Image as ImageFeature
from PIL import Image, ImageOps
from torch import Tensor

from textir_hf.evaluation.protocols import Protocol
from textir_hf.imaging.files import SUFFIXES


def decode(value: dict, size: int) -> Tensor:
    """An encoded picture upright, its middle square resized with an antialiased filter: `[3, size, size]` uint8.

    Raises:
        OSError, SyntaxError, ValueError: The picture is damaged.
    """
    with Image.open(io.BytesIO(value["bytes"]) if value.get("bytes") else value["path"]) as image:
        image = ImageOps.exif_transpose(image).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.resize((size, size), Image.LANCZOS, box=(left, top, left + side, top + side))
    return torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1).contiguous()


def check_masks(mask: np.ndarray, name: str) -> np.ndarray:
    """A mask file's pixels as booleans.

    Raises:
        ValueError: It holds other values than black and white.
    """
    values = np.unique(mask)
    if not set(values.tolist()) <= {0, 255}:
        raise ValueError(
            f"{name} holds gray levels ({values[1] if len(values) > 1 else values[0]} among others): a mask is 0 = "
            "known or 255 = hole. Threshold it, and save it as PNG, not JPEG."
        )
    return mask > 0


def load_masks(path: str | Path, split: str, size: int) -> Tensor:
    """Irregular hole masks: `[N, 1, size, size]`, 1 = hole, shrunk with NEAREST to stay binary.

    Args:
        path: Parquet file with the columns `image` and `split`, or a folder of pictures, all of one split.
        split: "train" or "test", for a parquet file.
        size: Side of the result, pixels.

    Raises:
        ValueError: A mask has gray levels, or there is none.
    """
    path, masks = Path(path).expanduser(), []
    if path.is_dir():
        names = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        images = ((p.name, Image.open(p)) for p in names)
    elif path.is_file():
        rows = load_dataset("parquet", data_files=str(path), split="train")
        keep = [i for i, value in enumerate(rows["split"]) if value == split]
        images = ((f"{path.name}, row {i}", rows[i]["image"]) for i in keep)
    else:
        raise ValueError(f"{path} is neither a parquet file nor a folder of masks.")
    for name, image in images:
        mask = check_masks(np.asarray(image.convert("L")), name)
        masks.append(np.asarray(Image.fromarray(mask).resize((size, size), Image.NEAREST)))
    if not masks:
        raise ValueError(f"{path} holds no mask.")
    return torch.from_numpy(np.stack(masks))[:, None].float()


@dataclass
class TestSet:
    """Pictures with their sentences; decoded when asked for.

    Args:
        parts: The file's name, its rows, and which of them.
        size: Side in pixels.
    """

    parts: list[tuple[str, Dataset, list[int]]]
    image_column: str
    caption_column: str
    size: int

    def __len__(self) -> int:
        return sum(len(indices) for _, _, indices in self.parts)

    def _row(self, index: int) -> tuple[str, dict]:
        for name, rows, indices in self.parts:
            if index < len(indices):
                return name, rows[indices[index]]
            index -= len(indices)
        raise IndexError(index)

    def picture(self, index: int) -> np.ndarray:
        """`[size, size, 3]` uint8."""
        return decode(self._row(index)[1][self.image_column], self.size).movedim(0, -1).numpy()

    def file(self, index: int) -> str:
        """Where a picture comes from."""
        return self._row(index)[0]

    def captions(self, index: int) -> list[str]:
        """A picture's sentences; perhaps none."""
        value = self._row(index)[1].get(self.caption_column) or []
        return [c for c in ([value] if isinstance(value, str) else value) if c.strip()]


def open_test_set(
    protocol: Protocol, data: str, size: int, limit: int | None, image_column: str, caption_column: str, split: str
) -> TestSet:
    """Opens what a protocol runs on.

    Args:
        protocol: The protocol.
        data: Folder of its files; or for a protocol without files, a parquet file, a folder or a Hub id.
        size: Side of the pictures.
        limit: At most so many pictures of each file, evenly spread.
        image_column: Name of the pictures' column.
        caption_column: Name of the captions' column.
        split: Split of a data set that has no `split` column.

    Raises:
        ValueError: A file or column is missing, there are no pictures, or captions are needed and missing.
    """
    parts = []
    for name in protocol.files or (str(data),):
        rows = _open(Path(data) / name if protocol.files else data, split)
        if image_column not in rows.column_names:
            raise ValueError(f"{name} has no column {image_column!r}, but {', '.join(rows.column_names)}.")
        indices = list(range(len(rows)))
        if "split" in rows.column_names:
            indices = [i for i, value in enumerate(rows["split"]) if value == "test"]
        if not indices:
            raise ValueError(f'{name} holds no picture of the split "test".')
        most = min(len(indices), *(n for n in (limit, protocol.per_file) if n), len(indices))
        indices = [indices[i] for i in np.linspace(0, len(indices) - 1, most).astype(int)]
        if name not in protocol.candidates and caption_column not in rows.column_names:
            raise ValueError(
                f"{name} has no column {caption_column!r} of captions, but {', '.join(rows.column_names)}. "
                "Name it with --caption-column."
            )
        columns = [c for c in (image_column, caption_column) if c in rows.column_names]
        parts.append(
            (name, rows.select_columns(columns).cast_column(image_column, ImageFeature(decode=False)), indices)
        )
    test_set = TestSet(parts, image_column, caption_column, size)
    for i in range(len(test_set)):
        if test_set.file(i) not in protocol.candidates and not test_set.captions(i):
            raise ValueError(f"ImageInput {i} of {test_set.file(i)} has no caption, which this protocol needs.")
    return test_set


def _open(where: str | Path, split: str) -> Dataset:
    path = Path(where).expanduser()
    if path.suffix == ".parquet":
        if not path.is_file():
            raise ValueError(f"{path} does not exist. --data must be the folder that holds it.")
        return load_dataset("parquet", data_files=str(path), split="train")
    if path.is_dir():
        return load_dataset("imagefolder", data_dir=str(path), split=split)
    if str(where).count("/") != 1:
        raise ValueError(f"--data must be a parquet file, a folder or a Hub id, got {where}.")
    return load_dataset(str(where), split=split)
