"""Sentences for images that have labels: face attributes, kinds of flower and clothing, colors seen in the pixels.

A label is +1 (true), -1 (false) or 0 (not known).
"""

import argparse
import random
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from skimage.color import rgb2hsv

from textir_hf.imaging.files import open_image

# attribute: its column, share of the images called true, share called false, wording when true, wording when false.
# The columns are probabilities of a weak classifier: their ranking is good, their scale is not, hence shares.
FACE_ATTRIBUTES = {
    "male": ("male", 0.75, 0.16, ("man",), ("woman",)),
    "young": ("young", 0.40, 0.30, ("young",), ("old", "elderly", "aged")),
    "smiling": (
        "smiling",
        0.45,
        0.40,
        ("smiling", "laughing", "happy", "grinning"),
        ("serious", "unsmiling", "stern", "frowning"),
    ),
    "eyeglasses": ("eyeglasses", 0.12, 0.75, ("glasses", "eyeglasses", "spectacles"), ("no glasses", "bare eyes")),
    "blond_hair": ("blond_hair", 0.07, 0.80, ("blond hair", "blonde hair", "fair hair"), ()),
    "black_hair": ("black_hair", 0.15, 0.60, ("black hair",), ()),
    "brown_hair": ("brown_hair", 0.20, 0.55, ("brown hair", "brunette hair"), ()),
    "gray_hair": ("gray_hair", 0.10, 0.75, ("gray hair", "gray hair", "white hair"), ()),
    "bald": ("bald", 0.04, 0.85, ("a bald head", "no hair"), ()),
    "mustache": ("mustache", 0.08, 0.75, ("a mustache", "a moustache"), ()),
    "no_beard": ("no_beard", 0.70, 0.12, ("a clean-shaven face", "no beard"), ("a beard",)),
    "hat": ("wearing_hat", 0.05, 0.85, ("a hat", "a cap"), ()),
    "lipstick": ("wearing_lipstick", 0.12, 0.75, ("lipstick", "red lips", "makeup"), ()),
    "bangs": ("bangs", 0.10, 0.75, ("bangs", "a fringe"), ()),
    "wavy_hair": ("wavy_hair", 0.15, 0.50, ("wavy hair", "curly hair"), ("straight hair",)),
    "mouth_open": ("mouth_slightly_open", 0.45, 0.40, ("an open mouth", "visible teeth"), ("a closed mouth",)),
}
_ADJECTIVES = ("young", "smiling")
COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "white", "black")
FLOWERS = {"daisy": "daisy", "dandelion": "dandelion", "roses": "rose", "sunflowers": "sunflower", "tulips": "tulip"}
CLOTHES = ("dress", "hat", "longsleeve", "outwear", "pants", "shirt", "shoes", "shorts", "skirt", "t-shirt")
_CLOTHES_WORDS = {
    "longsleeve": "long-sleeved shirt",
    "outwear": "jacket",
    "pants": "pair of pants",
    "shoes": "pair of shoes",
    "shorts": "pair of shorts",
}
OBJECT_LABELS = (*COLORS, *FLOWERS, *CLOTHES)


def face_labels(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Turns attribute probabilities into labels by their quantiles.

    Args:
        columns: Column name to probabilities `[N]`.

    Returns:
        `[N, len(FACE_ATTRIBUTES)]` in {-1, 0, 1}.
    """
    labels = []
    for column, true_share, false_share, _, _ in FACE_ATTRIBUTES.values():
        values = columns[column]
        high, low = np.quantile(values, [1 - true_share, false_share])
        labels.append(np.where(values >= high, 1, np.where(values <= low, -1, 0)))
    return np.stack(labels, 1)


def color_shares(image: np.ndarray) -> np.ndarray:
    """Share of the pixels that each word of `COLORS` names.

    Args:
        image: `[H, W, 3]` uint8.

    Returns:
        `[10]` in [0, 1]; gray and beige pixels count for no word.
    """
    hue, saturation, value = np.moveaxis(rgb2hsv(image), -1, 0)
    hue = hue * 360
    black = value < 0.22
    white = (saturation < 0.12) & (value > 0.8)
    vivid = ~black & (saturation >= 0.25)
    reddish = (hue < 15) | (hue >= 345)
    pink = vivid & (((hue >= 300) & (hue < 345)) | (reddish & (saturation < 0.55) & (value > 0.6)))
    brown = vivid & (hue >= 12) & (hue < 45) & (value < 0.6)
    words = {
        "red": vivid & reddish & ~pink & ~brown,
        "orange": vivid & (hue >= 15) & (hue < 40) & (value >= 0.6) & (saturation > 0.5),
        "yellow": vivid & (hue >= 40) & (hue < 68) & (saturation > 0.35) & (value > 0.5),
        "green": vivid & (hue >= 68) & (hue < 165),
        "blue": vivid & (hue >= 165) & (hue < 255),
        "purple": vivid & (hue >= 255) & (hue < 300),
        "pink": pink,
        "brown": brown,
        "white": white,
        "black": black,
    }
    return np.array([words[c].mean() for c in COLORS])


def object_labels(image: np.ndarray, kind: str) -> np.ndarray:
    """Labels of a flower or garment: the colors of the middle of the image, and its kind.

    Args:
        image: `[H, W, 3]` uint8.
        kind: A key of `FLOWERS` or a word of `CLOTHES`.

    Returns:
        `[len(OBJECT_LABELS)]` in {-1, 0, 1}. Leaves and earth say nothing of a flower's color, so green, brown and
        black stay 0 there.
    """
    height, width = image.shape[:2]
    flower = kind in FLOWERS
    margin = 0.15 if flower else 0.25
    y, x = int(height * margin), int(width * margin)
    shares = color_shares(image[y : height - y, x : width - x])
    true_share, false_share = (0.12, 0.02) if flower else (0.30, 0.05)
    colors = np.where(shares >= true_share, 1, np.where(shares <= false_share, -1, 0))
    if flower:
        colors[[COLORS.index(c) for c in ("green", "brown", "black")]] = 0
    kinds = np.array([1 if kind == k else -1 for k in (*FLOWERS, *CLOTHES)])
    return np.concatenate([colors, kinds])


def face_sentence(labels: np.ndarray, rng: random.Random) -> str:
    """A sentence that is true of a face with these labels.

    Args:
        labels: `[len(FACE_ATTRIBUTES)]` in {-1, 0, 1}.
        rng: Source of the choice of attributes and words.
    """
    words: dict[str, str] = {}
    names = list(FACE_ATTRIBUTES)
    known = [i for i, n in enumerate(names) if labels[i] and FACE_ATTRIBUTES[n][3 if labels[i] > 0 else 4]]
    # What few images have is what people write about.
    weights = [1.0 if labels[i] < 0 or names[i] in ("male", "young", "no_beard", "mouth_open") else 3.0 for i in known]
    for _ in range(min(len(known), rng.choice((1, 1, 2, 2, 3)))):
        i = rng.choices(known, weights)[0]
        words[names[i]] = rng.choice(FACE_ATTRIBUTES[names[i]][3 if labels[i] > 0 else 4])
    noun = words.pop("male", rng.choice(("person", "face", "person's face")))
    adjectives = [words.pop(a) for a in _ADJECTIVES if a in words]
    rng.shuffle(adjectives)
    phrase = " ".join([*adjectives, noun])
    extras = list(words.values())
    rng.shuffle(extras)
    article = "an" if phrase[0] in "aeiou" else "a"
    sentence = f"{article} {phrase}" + (f" with {' and '.join(extras)}" if extras else "")
    return rng.choice(("{}", "{}", "a photo of {}", "a portrait of {}", "the face of {}")).format(sentence)


def object_sentence(labels: np.ndarray, rng: random.Random) -> str:
    """A sentence that is true of a flower or garment with these labels."""
    colors = [i for i in range(len(COLORS)) if labels[i] > 0]
    name = next(OBJECT_LABELS[i] for i in range(len(COLORS), len(labels)) if labels[i] > 0)
    flower = name in FLOWERS
    noun = rng.choice((FLOWERS[name], "flower")) if flower else _CLOTHES_WORDS.get(name, name)
    if not flower and rng.random() < 0.2:
        noun = "piece of clothing"
    words = []
    if colors:
        chosen = rng.sample(colors, min(len(colors), rng.choice((1, 1, 1, 2))))
        words.append(" and ".join(COLORS[i] for i in chosen))
    phrase = " ".join([*words, noun])
    article = "an" if phrase[0] in "aeiou" else "a"
    template = rng.choice(("{} {}", "a photo of {} {}", "a picture of {} {}", "{} {} in the middle"))
    return template.format(article, phrase)


def domain_sentences(files: list[str], limit: int = 1000) -> list[str]:
    """Sentences of the kind that people write about the images of these parquet files.

    The captions where the files have them; sentences about labeled flowers and clothing; and for images without
    any text, faces, sentences about faces with random attributes.

    Args:
        files: Parquet files with the columns `image`, `split` and `text`, and perhaps `label`.
        limit: At most so many sentences of each file.
    """
    rng, sentences = random.Random(0), []
    for file in files:
        table = pq.read_table(file)
        rows = [r for r in range(table.num_rows) if table["split"][r].as_py() == "train"]
        rows = rng.sample(rows, min(len(rows), limit))
        if "label" in table.column_names:
            for r in rows:
                image = open_image(table["image"][r]["bytes"].as_py()).convert("RGB")
                labels = object_labels(np.asarray(image), table["label"][r].as_py())
                sentences.append(object_sentence(labels, rng))
        else:
            texts = [table["text"][r].as_py() for r in rows]
            sentences += [rng.choice(several) if several else _any_face(rng) for several in texts]
    return sentences


def _any_face(rng: random.Random) -> str:
    true = [rng.random() < (0.5 if n in ("male", "young", "smiling", "mouth_open") else 0.15) for n in FACE_ATTRIBUTES]
    return face_sentence(np.where(true, 1, -1), rng)


def main() -> None:
    """Writes the sentences of `domain_sentences` for `training.train --domain_texts`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("files", nargs="+", help="parquet files")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    args.output.write_text("\n".join(" ".join(s.split()) for s in domain_sentences(args.files)) + "\n")


if __name__ == "__main__":
    main()
