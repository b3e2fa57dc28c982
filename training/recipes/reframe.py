"""Faces that are cut tightly, moved towards the frame of the portraits, so that a network has to look where a face is.

    python -m training.recipes.reframe tight.parquet --output framed.parquet

A network that meets one kind of faces in one frame alone puts eyes there without looking. This moves each face by a
share of the way that differs from face to face; what was never seen is a blurred edge.
"""

import argparse
import io
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from datasets import Dataset
from PIL import Image, ImageFilter
from tqdm import tqdm

from textir_hf.atomic import replacing
from textir_hf.hub.data import open_rows, read_image
from textir_hf.imaging.faces import FACE_TEMPLATES

# UTKFace, aligned: eyes and corners of the mouth
TIGHT = ((0.305, 0.285), (0.675, 0.285), (0.33, 0.665), (0.65, 0.665))
_MARGIN = 0.75  # of the side, around the image: more than any frame shows
_BLUR = 0.04  # of the side, on what was never seen


def reframe(image: Image.Image, share: float, size: int) -> Image.Image:
    """Moves a tightly cut face towards the portraits' frame.

    Args:
        image: RGB, square, cut as `TIGHT` says.
        share: Of the way to the frame of "portrait", 0 to 1.
        size: Side of the result, pixels.

    Returns:
        RGB, `size` pixels on each side.
    """
    tight, portrait = np.array(TIGHT), np.array(FACE_TEMPLATES["portrait"])
    goal = tight + share * (portrait - tight)
    centers = tight.mean(0), goal.mean(0)
    scale = np.linalg.norm(goal - centers[1]) / np.linalg.norm(tight - centers[0])
    left, top = centers[0] - centers[1] / scale  # of the frame in the image, shares of its side
    margin = round(_MARGIN * image.width)
    wide = Image.fromarray(np.pad(np.asarray(image), ((margin, margin), (margin, margin), (0, 0)), "edge"))
    blurred = wide.filter(ImageFilter.GaussianBlur(_BLUR * image.width))
    blurred.paste(image, (margin, margin))
    box = [margin + image.width * edge for edge in (left, top, left + 1 / scale, top + 1 / scale)]
    return blurred.resize((size, size), Image.Resampling.BICUBIC, tuple(box))


def reframed(rows: Dataset, size: int, least_share: float, rng: random.Random) -> Iterator[dict]:
    """Each row with its face moved; further columns stay.

    Args:
        rows: With the column `image`.
        size: Side of the moved images, pixels.
        least_share: As in `reframe`; each face is moved by that share or more.
        rng: Draws the shares.
    """
    for row in tqdm(rows, desc="faces"):
        data = io.BytesIO()
        face = read_image(row["image"], "A face").convert("RGB")
        reframe(face, rng.uniform(least_share, 1), size).save(data, "JPEG", quality=95)
        yield row | {"image": {"bytes": data.getvalue(), "path": None}}


def main() -> None:
    """Writes the training rows of a parquet file of tightly cut faces, each in another frame."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("faces", type=Path, help="parquet file with the columns image and split")
    parser.add_argument("--output", type=Path, required=True, help="parquet file")
    parser.add_argument("--least-share", type=float, default=0.3, help="of the way to the portraits' frame")
    parser.add_argument("--size", type=int, default=160, help="side of the moved images, pixels")
    args = parser.parse_args()
    rows = open_rows(args.faces, "train", split_column="split")
    with replacing(args.output) as temporary:
        made = reframed(rows, args.size, args.least_share, random.Random(0))
        Dataset.from_list(list(made), features=rows.features).to_parquet(temporary)


if __name__ == "__main__":
    main()
