"""The images, sentences and masks that an evaluation runs on."""

import hashlib
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from datasets import Dataset

from textir_hf.evaluation.protocols import Protocol
from textir_hf.hub.data import has_own_paths, open_rows, read_image, read_square

_TRAINING_IMAGES = 200  # of each file, for their mean color


class Row(NamedTuple):
    """One image: the name of its file, the file's rows, and its row among them."""

    file: str
    rows: Dataset
    number: int


class TestSet:
    """The test images of a protocol with their sentences, decoded when asked for; `size` is their side in pixels.

    `training` are some training images of the same files.
    """

    __test__ = False  # for pytest

    def __init__(
        self,
        protocol: Protocol,
        data: str,
        size: int,
        limit: int | None = None,
        image_column: str = "image",
        caption_column: str = "text",
        split: str = "test",
    ) -> None:
        self.size = None if protocol.whole else size  # None is each image's own, cut to multiples of `stride`
        self.stride = math.lcm(*map(int, protocol.factors))
        self.image_column, self.caption_column = image_column, caption_column
        self.test: list[Row] = []
        self.training: list[Row] = []
        for name in protocol.files or (str(data),):
            rows, splits = self._open(protocol, data, name, split)
            test, training = ([i for i, value in enumerate(splits) if value == kind] for kind in ("test", "train"))
            if not test:
                raise ValueError(f'{name} holds no image of the split "test".')
            most = min(n for n in (limit, protocol.per_file, len(test)) if n)
            for some, numbers, count in ((self.test, test, most), (self.training, training, _TRAINING_IMAGES)):
                places = np.linspace(0, len(numbers) - 1, min(count, len(numbers))).astype(int)  # evenly spread
                some += [Row(name, rows, numbers[place]) for place in places]
        for i, row in enumerate(self.test):
            if protocol.needs_captions(row.file) and not self.captions(i):
                raise ValueError(f"Image {i} of {row.file} has no caption, which this protocol needs.")

    def _open(self, protocol: Protocol, data: str, name: str, split: str) -> tuple[Dataset, list[str]]:
        path = Path(data).expanduser() / name if protocol.files else Path(data).expanduser()
        if protocol.files and not path.is_file():
            raise ValueError(f"{path} does not exist. --data must be the folder that holds it.")
        # Files are all of the split "train" for `datasets`; a column of theirs may say more.
        loaded = "train" if path.is_file() else split
        rows = open_rows(path if protocol.files else data, loaded, image_columns=(self.image_column,))
        if protocol.needs_captions(name) and self.caption_column not in rows.column_names:
            raise ValueError(
                f"{name} has no column {self.caption_column!r} of captions, but {', '.join(rows.column_names)}. "
                "Name it with --caption-column."
            )
        splits = rows["split"] if "split" in rows.column_names else ["test"] * len(rows)
        known = {self.image_column, self.caption_column} & {*rows.column_names}
        return rows.select_columns(sorted(known)), splits

    def __len__(self) -> int:
        return len(self.test)

    def decode(self, row: Row, size: int) -> np.ndarray:
        name = f"Row {row.number} of {row.file}"
        return read_square(row.rows[row.number][self.image_column], size, name, has_own_paths(row.rows))

    def image(self, index: int) -> np.ndarray:
        """`[size, size, 3]` uint8, or `[H, W, 3]` of the image's own size."""
        row = self.test[index]
        if self.size:
            return self.decode(row, self.size)
        image = read_image(row.rows[row.number][self.image_column], self.name(index), has_own_paths(row.rows))
        width, height = (side - side % self.stride for side in image.size)
        return np.asarray(image.convert("RGB"))[:height, :width].copy()

    def digest(self) -> str:
        """A hash of the test images, their names and sentences, and of the training images."""
        found = hashlib.sha256()
        for i in range(len(self)):
            found.update(f"{self.name(i)} {self.captions(i)}".encode() + self.image(i).tobytes())
        for row in self.training:
            found.update(self.decode(row, 64).tobytes())
        return found.hexdigest()

    def name(self, index: int) -> str:
        row = self.test[index]
        return f"{Path(row.file).stem}-{row.number:05d}.png"

    def captions(self, index: int) -> list[str]:
        """An image's sentences; perhaps none."""
        row = self.test[index]
        value = row.rows[row.number].get(self.caption_column) or []
        return [c for c in ([value] if isinstance(value, str) else value) if c.strip()]
