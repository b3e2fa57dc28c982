"""Images of the encoder's data sets, decoded and augmented when a step needs them, and their labels."""

from pathlib import Path

import numpy as np
import torch
from datasets import concatenate_datasets
from PIL import Image
from torch import Tensor

from textir_hf.checks import check_range
from textir_hf.hub.data import open_rows, read_image
from training.encoder import faces, objects
from training.encoder.files import DEVIATION, MEAN

CELEBA = "faces_celeba_89"
SCENES = ("flickr8k_176",)
FACES = (CELEBA, "faces_utk_144")
OBJECTS = ("flowers_176", "clothing_176", "objects_160")

_JITTER = 0.25  # largest change of brightness and contrast


class ImageSet:
    """The images of some parquet files, still encoded, with their columns.

    Args:
        folder: Of the files.
        names: The files' names without suffix; each has the columns `image` and `split`.
        held_out: Share of the training rows that training leaves out, for choosing between runs. A file's held-out rows
            are the same whatever files follow it.

    Attributes:
        train: Numbers of the training rows.
        held_out: Of those left out.
        test: Of the test rows.
    """

    def __init__(self, folder: Path, names: tuple[str, ...], held_out: float = 0.0) -> None:
        check_range("held_out", held_out, 0, 0.9)
        self.parts = [open_rows(folder / f"{name}.parquet") for name in names]
        self.rows = concatenate_datasets([part.select_columns("image") for part in self.parts])
        train = np.array(self.column("split")) == "train"
        left_out = np.random.default_rng(0).random(len(train)) < held_out
        self.train, self.held_out = np.flatnonzero(train & ~left_out), np.flatnonzero(train & left_out)
        self.test = np.flatnonzero(~train)

    def column(self, name: str) -> list:
        """A column that all files have, over all rows."""
        return [value for part in self.parts for value in part[name]]

    def decode(self, row: int) -> Image.Image:
        """One image, RGB."""
        return read_image(self.rows[int(row)]["image"], f"Image {row}").convert("RGB")

    def normalized(self, rows: np.ndarray, size: int) -> Tensor:
        """Whole images, `[N, 3, size, size]`, normalized."""
        images = [self.decode(row).resize((size, size), Image.Resampling.BICUBIC) for row in rows]
        return (_stack(images) - MEAN) / DEVIATION

    def augmented(self, rows: np.ndarray, size: int, least_crop: float, rng: np.random.Generator) -> Tensor:
        """Images cropped, mirrored and lit at random, `[N, 3, size, size]`, normalized."""
        images = _stack([augment(self.decode(row), size, least_crop, rng) for row in rows])
        return (relight(images, rng) - MEAN) / DEVIATION


def _stack(images: list[Image.Image]) -> Tensor:
    return torch.from_numpy(np.stack([np.asarray(image) for image in images])).movedim(-1, 1).float() / 255


def augment(image: Image.Image, size: int, least_crop: float, rng: np.random.Generator) -> Image.Image:
    """A random crop, mirrored half of the time, `size` pixels on each side; a quarter of them lose fine detail.

    Args:
        image: RGB.
        size: Of the result.
        least_crop: Least share of the area that is kept.
        rng: Source of all choices.
    """
    area = image.width * image.height * rng.uniform(least_crop, 1)
    ratio = np.exp(rng.uniform(-0.22, 0.22))
    width, height = min((area * ratio) ** 0.5, image.width), min((area / ratio) ** 0.5, image.height)
    left, top = rng.uniform(0, image.width - width), rng.uniform(0, image.height - height)
    box: tuple[float, float, float, float] | None = (left, top, left + width, top + height)
    if rng.random() < 0.25:  # images of few pixels look like that when resized
        small = int(rng.uniform(0.35, 0.9) * size)
        image, box = image.resize((small, small), Image.Resampling.BICUBIC, box), None
    image = image.resize((size, size), Image.Resampling.BICUBIC, box)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else image


def relight(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Images `[N, 3, H, W]` in [0, 1], half of them with another brightness and contrast."""
    count = len(images)
    changed = rng.random(count) < 0.5
    factors = np.where(changed, rng.uniform(1 - _JITTER, 1 + _JITTER, (2, count)), 1)
    brightness, contrast = torch.from_numpy(factors).float()[:, :, None, None, None]
    gray = images.mean((1, 2, 3), keepdim=True)
    return ((images - gray) * contrast + gray * brightness).clamp(0, 1)


def face_labels(images: ImageSet) -> Tensor:
    """Labels of faces, `[N, len(faces.NAMES)]` in {-1, 0, 1}."""
    labels = []
    for part in images.parts:
        columns = part.select_columns([name for name in part.column_names if name not in ("image", "split")])
        labels.append(faces.labels_of({name: np.array(values) for name, values in columns.to_dict().items()}))
    return torch.from_numpy(np.concatenate(labels))


def object_labels(images: ImageSet) -> Tensor:
    """Labels of objects, `[N, len(objects.NAMES)]` in {-1, 0, 1}; their colors are seen in the pixels."""
    kinds = images.column("label")
    labels = [objects.labels_of(np.asarray(images.decode(row)), kind) for row, kind in enumerate(kinds)]
    return torch.from_numpy(np.stack(labels))
