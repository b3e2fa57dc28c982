"""Objects in other colors than they had, and sentences that say so: a color word comes to mean the object alone.

    python -m training.recipes.recolor objects.parquet --output recolored.parquet

In most images what lies around an object goes with its color, so a network that sees nothing else colors everything as
the sentence says. Of each image whose object is known, this writes copies in which the object alone has another color,
and composites of two objects of which the sentence names one.
"""

import argparse
import io
import math
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, Features, Image, List, Value, concatenate_datasets
from PIL import Image as PILImage
from torch import Tensor
from tqdm import tqdm

from textir_hf.atomic import replacing
from textir_hf.hub.data import open_rows, read_image
from textir_hf.imaging import color
from textir_hf.imaging.resample import to_array, to_tensor
from training.captions import COLORS, color_shares
from training.encoder import objects

FEATURES = Features(
    {"image": Image(), "object_mask": Image(), "caption": List(Value("string")), "split": Value("string")}
)
# color: about its hue, degrees in CIE Lab; white and black depend on lightness
HUES = {"red": 30, "orange": 60, "yellow": 95, "green": 140, "blue": 275, "purple": 312, "pink": 355, "brown": 60}
_HUE_SPREAD = 15.0  # degrees
_CLEAR = 0.55  # share of an object's pixels that a color's name needs
_TRIES = 16  # hues and chromas until an object has the color asked for
_SENTENCES = 6
_AREA = (0.03, 0.75)  # share of the image, of objects that are used
_CERTAIN = 0.9  # mean of their masks inside


def recolor(image: Tensor, mask: Tensor, chroma: float, hue: float) -> Tensor:
    """Gives an image's object another color, and leaves what lies around it.

    The object's mean chroma becomes the one given, less where it is dark or bright; what differs from the mean turns
    with it.

    Args:
        image: `[1, 3, H, W]` in [0, 1].
        mask: `[1, 1, H, W]` in [0, 1], of the object, not empty.
        chroma: Length of the mean chroma, CIE Lab units.
        hue: Its angle, radians.

    Returns:
        `[1, 3, H, W]` in [0, 1].
    """
    light, ab = color.split_lab(image)
    mean = (ab * mask).sum((2, 3), keepdim=True) / mask.sum()
    turn = hue - torch.atan2(mean[:, 1], mean[:, 0])
    (a, b), cos, sin = (ab - mean).unbind(1), turn.cos(), turn.sin()
    new_mean = torch.tensor([math.cos(hue), math.sin(hue)])[None, :, None, None] * chroma
    new_mean = new_mean * (light / 50).clamp(max=1) * ((100 - light) / 30).clamp(max=1)
    recolored = new_mean + torch.stack([a * cos - b * sin, a * sin + b * cos], 1)
    return color.join_lab(light, ab.lerp(recolored, mask)).clamp(0, 1)


def color_name(image: np.ndarray, mask: np.ndarray) -> str | None:
    """The word of `COLORS` that most of an object has; None if no word fits.

    Args:
        image: `[H, W, 3]` uint8.
        mask: `[H, W]` bool, not empty.
    """
    shares = color_shares(image[mask][None])
    return COLORS[int(shares.argmax())] if shares.max() >= _CLEAR else None


def in_color(image: np.ndarray, mask: np.ndarray, name: str, rng: random.Random) -> np.ndarray | None:
    """The image with its object in the color of that name; None if its lightness does not allow it.

    Args:
        image: `[H, W, 3]` uint8.
        mask: `[H, W]` in [0, 1].
        name: A word of `HUES`.
        rng: Draws hue and chroma.
    """
    pixels, area = to_tensor(image), torch.from_numpy(mask)[None, None].float()
    small, small_area = pixels[:, :, ::4, ::4], area[:, :, ::4, ::4]
    inside = small_area[0, 0].numpy() > 0.5
    for _ in range(_TRIES):
        chroma, hue = rng.uniform(15, 75), math.radians(rng.gauss(HUES[name], _HUE_SPREAD))
        if inside.any() and color_name(to_array(recolor(small, small_area, chroma, hue)), inside) == name:
            return to_array(recolor(pixels, area, chroma, hue))
    return None


def paste(image: np.ndarray, mask: np.ndarray, onto: np.ndarray, rng: random.Random) -> tuple[np.ndarray, np.ndarray]:
    """An object beside what another image shows: the composite and the object's mask in it.

    Args:
        image: `[H, W, 3]` uint8.
        mask: `[H, W]` in [0, 1], of its object, not empty.
        onto: `[H, W, 3]` uint8.
        rng: Draws place and size, half to seven tenths of the image's width or height.
    """
    rows, columns = (np.flatnonzero((mask > 0.1).any(axis)) for axis in (1, 0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    height, width = onto.shape[:2]
    scale = rng.uniform(0.5, 0.7) * min(width / (box[2] - box[0]), height / (box[3] - box[1]))
    size = (max(1, round((box[2] - box[0]) * scale)), max(1, round((box[3] - box[1]) * scale)))
    cut = PILImage.fromarray(image).crop(box).resize(size, PILImage.Resampling.BICUBIC)
    shape = PILImage.fromarray((mask * 255).astype(np.uint8)).crop(box).resize(size, PILImage.Resampling.BICUBIC)
    left = rng.choice((rng.uniform(0, 0.15), rng.uniform(0.85, 1))) * (width - size[0])
    at = (round(left), round(rng.uniform(0, 1) * (height - size[1])))
    composite, place = PILImage.fromarray(onto), PILImage.new("L", (width, height))
    composite.paste(cut, at, shape)
    place.paste(shape, at)
    return np.asarray(composite), np.asarray(place).astype(np.float32) / 255


def variants(rows: Dataset, copies: int, rng: random.Random) -> Iterator[dict]:
    """Rows for training: each image as it is, recolored, and beside another one's object.

    Args:
        rows: With the columns `image`, `label` (of `objects.KINDS`) and `object_mask`, which may be missing in a row.
        copies: Recolored copies of an image, a third of which are composites.
        rng: Source of all choices.
    """
    other = None
    for row in tqdm(rows, desc="objects"):
        image, kind = np.asarray(read_image(row["image"], "An image").convert("RGB")), row["label"]
        mask = _object(row["object_mask"])
        if mask is None:
            colors = objects.labels_of(image, kind)[: len(COLORS)]
            names = [c for c, seen in zip(COLORS, colors, strict=True) if seen > 0]
            yield _row(image, None, _sentences(rng.choice(names) if names else None, kind, rng))
            continue
        yield _row(image, mask, _sentences(color_name(image, mask > 0.5), kind, rng))
        for _ in range(copies):
            name = rng.choice(list(HUES))
            recolored = in_color(image, mask, name, rng)
            if recolored is None:
                continue
            composed, place = recolored, mask
            if other is not None and rng.random() < 1 / 3 and kind != other[1]:
                onto = np.asarray(PILImage.fromarray(other[0]).resize(image.shape[1::-1], PILImage.Resampling.BICUBIC))
                composed, place = paste(recolored, mask, onto, rng)
            yield _row(composed, place, _sentences(name, kind, rng))
        other = image, kind


def _object(value: dict | None) -> np.ndarray | None:
    """An object's mask in [0, 1], if it is known and of a usable size."""
    if not value:
        return None
    mask = np.asarray(read_image(value, "A mask").convert("L")).astype(np.float32) / 255
    certain = (mask > 0.5).any() and mask[mask > 0.5].mean() >= _CERTAIN
    return mask if certain and _AREA[0] <= mask.mean() <= _AREA[1] else None


def _sentences(name: str | None, kind: str, rng: random.Random) -> list[str]:
    facts = {kind if rng.random() < 0.7 else objects.KINDS[kind][0]: 1}
    return [objects.sentence(({name: 1} if name else {}) | facts, rng) for _ in range(_SENTENCES)]


def _row(image: np.ndarray, mask: np.ndarray | None, captions: list[str]) -> dict:
    place = None if mask is None else _encoded((mask * 255).round().astype(np.uint8), "PNG")
    return {"image": _encoded(image, "JPEG", quality=93), "object_mask": place, "caption": captions, "split": "train"}


def _encoded(image: np.ndarray, kind: str, **options) -> dict:
    data = io.BytesIO()
    PILImage.fromarray(image).save(data, kind, **options)
    return {"bytes": data.getvalue(), "path": None}


def main() -> None:
    """Writes the training rows of parquet files with objects in other colors and sentences about them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "files", nargs="+", type=Path, help="parquet files with the columns image, label, split and object_mask"
    )
    parser.add_argument("--copies", type=int, default=2, help="recolored copies of each image")
    parser.add_argument("--output", type=Path, required=True, help="parquet file")
    args = parser.parse_args()
    parts = [open_rows(f, "train", split_column="split", image_columns=("image", "object_mask")) for f in args.files]
    rows = concatenate_datasets([part.select_columns(["image", "label", "object_mask"]) for part in parts])
    made = list(variants(rows.shuffle(seed=0), args.copies, random.Random(0)))
    with replacing(args.output) as temporary:
        Dataset.from_list(made, features=FEATURES).to_parquet(temporary)


if __name__ == "__main__":
    main()
