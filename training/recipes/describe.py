"""Sentences about faces, for training under captions: what people labeled, and what the dual encoder sees.

    python -m training.recipes.describe faces.parquet --output described.parquet

keeps the training rows and adds a column `caption` of several sentences each. Labels that are missing come from the
encoder: an image counts as smiling if it is among those that lie furthest towards "smiling" of all images of its file.
Such an order is better than the encoder's verdict, which is the same for nearly all images of some files.
"""

import argparse
import random
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from tqdm import tqdm

from textir_hf.atomic import replacing
from textir_hf.hub.data import open_rows
from textir_hf.models.embedding import ENCODER, embed_images, embed_texts, load_encoder
from training.encoder import faces
from training.samples import decode

_SENTENCES = 8
_SIZE = 128  # pixels, of the images that are embedded
_WORDINGS = 12  # of each side of an attribute
# attribute: share of the images called true, share called false
SHARES = {
    "male": (0.4, 0.4),
    "young": (0.35, 0.25),
    "smiling": (0.4, 0.3),
    "eyeglasses": (0.1, 0.6),
    "beard": (0.12, 0.6),
    "bald": (0.04, 0.8),
    "hat": (0.03, 0.85),
    "bangs": (0.12, 0.6),
    "blond_hair": (0.15, 0.6),
    "black_hair": (0.2, 0.5),
    "brown_hair": (0.25, 0.5),
    "gray_hair": (0.08, 0.75),
    "wavy_hair": (0.2, 0.5),
    "mouth_open": (0.35, 0.35),
    "lipstick": (0.2, 0.5),
}
_SAID = {"male": 4.0, "smiling": 3.0, "young": 3.0, "eyeglasses": 2.0}  # how often, true or not
_PRESENT, _LACKING = 2.0, 0.25  # the others


def seen_labels(images: Tensor, embed, names: tuple[str, ...] = tuple(SHARES)) -> np.ndarray:
    """What the dual encoder sees in faces.

    Args:
        images: `[N, D]`, the images' embeddings.
        embed: Embeds sentences, `[M, D]`.
        names: Attributes to look for.

    Returns:
        `[N, len(faces.NAMES)]` in {-1, 0, 1}: true for the shares of `SHARES` that lie furthest towards the attribute's
        sentences, false for those furthest from them.
    """
    labels = np.zeros((len(images), len(faces.NAMES)), np.int8)
    for name in names:
        others = faces.RIVALS.get(name, ())
        sides = [[{name: 1}], [{other: 1} for other in dict.fromkeys(others)] or [{name: -1}]]
        first, second = (
            embed([faces.sentence(facts, random.Random(n)) for facts in side for n in range(_WORDINGS)]).mean(0)
            for side in sides
        )
        towards = (images @ (first - second)).cpu().numpy()
        true, false = SHARES[name]
        high, low = np.quantile(towards, [1 - true, false])
        labels[:, faces.NAMES.index(name)] = (towards >= high).astype(np.int8) - (towards < low).astype(np.int8)
    return labels


def sentences(labels: np.ndarray, rng: random.Random, count: int = _SENTENCES) -> list[str]:
    """Sentences that are true of a face.

    Args:
        labels: `[len(faces.NAMES)]` in {-1, 0, 1}.
        rng: Source of what is said, and how.
        count: Of the sentences, which state one to four facts each.
    """
    known = {n: int(s) for n, s in zip(faces.NAMES, labels, strict=True) if s and faces.PHRASES[n][0 if s > 0 else 1]}
    found = []
    for _ in range(count):
        weights = {n: _SAID.get(n, _PRESENT if s > 0 else _LACKING) for n, s in known.items()}
        facts = {}
        for _ in range(min(rng.randint(1, 4), len(known))):
            name = rng.choices(list(weights), list(weights.values()))[0]
            facts[name] = known[name]
            del weights[name]
        found.append(faces.sentence(facts, rng))
    return found


def describe(rows: Dataset) -> Dataset:
    """Adds a column `caption` to faces: what people labeled, where the columns of UTKFace are there, and what is seen.

    Args:
        rows: Faces in a column `image`.
    """
    clip, tokenizer, processor = load_encoder(ENCODER)
    embedded = []
    with torch.inference_mode():
        for start in tqdm(range(0, len(rows), 64), desc="embeddings"):
            part = [decode(value, _SIZE) for value in rows[start : start + 64]["image"]]
            embedded.append(embed_images(clip, processor, torch.stack(part).float() / 255))
        labels = seen_labels(torch.cat(embedded), lambda texts: embed_texts(clip, tokenizer, texts))
    if "male" in rows.column_names:
        told = faces.labels_of({n: np.array(rows[n]) for n in rows.column_names if n not in ("image", "split")})
        labels = np.where(told.any(0), told, labels)
    rng = random.Random(0)
    return rows.add_column("caption", [sentences(row, rng) for row in labels])


def main() -> None:
    """Writes the training rows of a parquet file with sentences about their faces."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("faces", type=Path, help="parquet file with the columns image and split")
    parser.add_argument("--output", type=Path, required=True, help="parquet file")
    args = parser.parse_args()
    described = describe(open_rows(args.faces, "train", split_column="split"))
    with replacing(args.output) as temporary:
        described.select_columns(["image", "split", "caption"]).to_parquet(temporary)


if __name__ == "__main__":
    main()
