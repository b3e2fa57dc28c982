"""The images, sentences and masks that an evaluation runs on."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from datasets import Dataset

from textir_hf.evaluation.protocols import OURS, Protocol
from textir_hf.hub.data import has_own_paths, open_rows, read_image, read_square

_TRAINING_IMAGES = 200  # of each file, for their mean color


class Row(NamedTuple):
    """One image: the name of its file, the file's rows, and its row among them."""

    file: str
    rows: Dataset
    number: int


@dataclass
class TestSet:
    """Images with their sentences, decoded when asked for."""

    __test__ = False  # for pytest

    test: list[Row]
    training: list[Row]  # some training images of the same files
    image_column: str
    caption_column: str
    size: int | None  # side of the images in pixels; None is each one's own, cut to multiples of `stride`
    stride: int = 1

    def __len__(self) -> int:
        return len(self.test)

    def decode(self, row: Row, size: int) -> np.ndarray:
        """`[size, size, 3]` uint8."""
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

    def name(self, index: int) -> str:
        """The name under which an image is saved."""
        row = self.test[index]
        return f"{Path(row.file).stem}-{row.number:05d}.png"

    def captions(self, index: int) -> list[str]:
        """An image's sentences; perhaps none."""
        row = self.test[index]
        value = row.rows[row.number].get(self.caption_column) or []
        return [c for c in ([value] if isinstance(value, str) else value) if c.strip()]


def open_test_set(
    protocol: Protocol, data: str, size: int, limit: int | None, image_column: str, caption_column: str, split: str
) -> TestSet:
    """Opens the images of a protocol, squares of `size` pixels where it does not take them whole."""
    stride = math.lcm(*map(int, protocol.factors))
    test_set = TestSet([], [], image_column, caption_column, None if protocol.whole else size, stride)
    captions = protocol.ours[0] == OURS[0]
    for name in protocol.files or (str(data),):
        path = Path(data).expanduser() / name if protocol.files else Path(data).expanduser()
        if protocol.files and not path.is_file():
            raise ValueError(f"{path} does not exist. --data must be the folder that holds it.")
        # Files are all of the split "train" for `datasets`; a column of theirs may say more.
        loaded = "train" if path.is_file() else split
        rows = open_rows(path if protocol.files else data, loaded, image_columns=(image_column,))
        wanted = captions and not protocol.candidates_of(name)
        if wanted and caption_column not in rows.column_names:
            raise ValueError(
                f"{name} has no column {caption_column!r} of captions, but {', '.join(rows.column_names)}. "
                "Name it with --caption-column."
            )
        splits = rows["split"] if "split" in rows.column_names else ["test"] * len(rows)
        rows = rows.select_columns([c for c in (image_column, caption_column) if c in rows.column_names])
        test, training = ([i for i, value in enumerate(splits) if value == kind] for kind in ("test", "train"))
        if not test:
            raise ValueError(f'{name} holds no image of the split "test".')
        most = min(n for n in (limit, protocol.per_file, len(test)) if n)
        for some, numbers, count in ((test_set.test, test, most), (test_set.training, training, _TRAINING_IMAGES)):
            places = np.linspace(0, len(numbers) - 1, min(count, len(numbers))).astype(int)  # evenly spread
            some += [Row(name, rows, numbers[place]) for place in places]
        for i in range(len(test_set) - most, len(test_set)) if wanted else ():
            if not test_set.captions(i):
                raise ValueError(f"Image {i} of {name} has no caption, which this protocol needs.")
    return test_set
