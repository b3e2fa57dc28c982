"""Facts about faces and objects: labels of images, sentences that state them, and pairs that differ in one fact.

A fact is an attribute with a side: 1, the image has it, or -1, it does not. A label is 1, -1, or 0 if unknown.
The words are in `clip_words.json`.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from skimage.color import rgb2hsv
from torch import Tensor

Facts = dict[str, int]
WORDS = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
FACES, RIVALS, KINDS, FAMILIES = (WORDS[name] for name in ("faces", "rivals", "kinds", "families"))
COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "white", "black")
FACE_NAMES, OBJECT_NAMES = tuple(FACES), (*COLORS, *FAMILIES, *KINDS)
_PHOTO = ("{}", "{}", "a photo of {}", "a photo of {}")
_FACE_TEMPLATES = (*_PHOTO, "a portrait of {}", "a picture of {}", "the face of {}")
_OBJECT_TEMPLATES = (*_PHOTO, "a picture of {}", "{} in the middle", "a close-up of {}")
_SHIRTS = ("shirt", "t-shirt", "longsleeve")  # one may be called the other


class Pair(NamedTuple):
    """Two sentences that differ in one attribute, and the facts that each states."""

    attribute: str
    texts: tuple[str, str]
    facts: tuple[Facts, Facts]


def to_matrix(facts: list[Facts], names: tuple[str, ...]) -> Tensor:
    """Facts as rows: `[len(facts), len(names)]` int8 in {-1, 0, 1}, 0 where nothing is stated."""
    matrix = torch.zeros(len(facts), len(names), dtype=torch.int8)
    for row, stated in enumerate(facts):
        for name, side in stated.items():
            matrix[row, names.index(name)] = side
    return matrix


def relation(labels: Tensor, statements: Tensor) -> Tensor:
    """Whether each statement `[M, A]` is true of each image `[N, A]`: `[N, M]`, 1 true, -1 false, 0 unknown."""
    labels, statements = labels.float(), statements.float()
    agreement, known = labels @ statements.T, labels.abs() @ statements.abs().T
    return (agreement == statements.abs().sum(1)).float() - (agreement < known).float()


def face_labels(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Labels of faces, `[N, len(FACE_NAMES)]`, from CelebA's attributes or UTKFace's `age`, `male` and `group`."""
    true = {"male": columns["male"].astype(bool)}
    false = {"male": ~true["male"]}
    if "age" in columns:
        age, group = columns["age"], columns["group"]
        true |= {"young": age <= 32, "middle_aged": (age >= 40) & (age <= 55)}
        false |= {"young": age >= 52, "middle_aged": (age <= 30) | (age >= 68)}
        for name in ("white", "black", "asian", "indian"):
            true[name], false[name] = group == name, group != name
    else:
        for name in FACE_NAMES:
            column = WORDS["face_columns"].get(name, name)
            if column in columns:
                true[name] = columns[column].astype(bool)
                false[name] = ~true[name]
        false["beard"] = columns["no_beard"].astype(bool)
        true["beard"] = ~false["beard"]
    unknown = np.zeros(len(columns["male"]), bool)
    labels = [true.get(name, unknown).astype(np.int8) - false.get(name, unknown) for name in FACE_NAMES]
    return np.stack(labels, 1).astype(np.int8)


def quantile_labels(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Labels `[N, len(WORDS["lfw"])]` from probabilities of a weak classifier, whose ranking alone is good."""
    labels = []
    for column, true_share, false_share in WORDS["lfw"].values():
        high, low = np.quantile(columns[column], [1 - true_share, false_share])
        labels.append(np.where(columns[column] >= high, 1, np.where(columns[column] <= low, -1, 0)))
    return np.stack(labels, 1)


def color_shares(image: np.ndarray) -> np.ndarray:
    """Share of the pixels of `[H, W, 3]` uint8 that each of `COLORS` names, `[10]`; gray and beige count for none."""
    hue, saturation, value = np.moveaxis(rgb2hsv(image), -1, 0)
    hue = hue * 360
    vivid = (value >= 0.22) & (saturation >= 0.25)
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
        "white": (saturation < 0.12) & (value > 0.8),
        "black": value < 0.22,
    }
    return np.array([words[color].mean() for color in COLORS])


def color_labels(image: np.ndarray, kind: str) -> np.ndarray:
    """Labels of the colors in the middle of an image `[H, W, 3]` uint8 of a flower, garment or object, `[10]`."""
    flower = KINDS[kind][0] == "flower"
    height, width = image.shape[:2]
    margin, true_share, false_share = (0.15, 0.12, 0.02) if flower else (0.25, 0.30, 0.05)
    y, x = int(height * margin), int(width * margin)
    shares = color_shares(image[y : height - y, x : width - x])
    labels = np.where(shares >= true_share, 1, np.where(shares <= false_share, -1, 0))
    if flower:  # leaves and earth do not tell a flower's color
        labels[[COLORS.index(color) for color in ("green", "brown", "black")]] = 0
    return labels


def object_labels(image: np.ndarray, kind: str) -> np.ndarray:
    """`[len(OBJECT_NAMES)]` in {-1, 0, 1}: the colors in the middle of the image, family and kind."""
    alike = _SHIRTS if kind in _SHIRTS else ()
    own = (KINDS[kind][0], kind)
    names = [1 if n in own else 0 if n in alike else -1 for n in OBJECT_NAMES[len(COLORS) :]]
    return np.concatenate([color_labels(image, kind), names]).astype(np.int8)


def _article(phrase: str) -> str:
    return "an" if phrase[0] in "aeiouAEIOU" else "a"


def face_sentence(facts: Facts, rng: random.Random) -> str:
    """One sentence that states these facts and no others."""
    noun = rng.choice(("person", "person", "face", "human"))
    before: list[str] = []
    after: list[str] = []
    for name, side in facts.items():
        places = FACES[name][0 if side > 0 else 1]
        place = rng.choices(list(places), [len(phrases) for phrases in places.values()])[0]
        phrase = rng.choice(places[place])
        if place == "noun":
            noun = phrase
        else:
            (before if place == "before" else after).append(phrase)
    if noun in ("face", "human") and any(phrase.startswith(("w", "in", "n")) for phrase in after):
        noun = "person"
    words = ", ".join(before) if len(before) > 1 and rng.random() < 0.3 else " ".join(before)
    phrase = f"{words} {noun}".strip()
    tail = " and ".join(after) if rng.random() < 0.7 else ", ".join(after)
    return rng.choice(_FACE_TEMPLATES).format(f"{_article(phrase)} {phrase} {tail}".strip())


def object_sentence(facts: Facts, rng: random.Random) -> str:
    """One sentence that states these facts: colors and one kind or family."""
    colors = [rng.choice(("purple", "violet") if n == "purple" else (n,)) for n in facts if n in COLORS]
    name = next((n for n in facts if n not in COLORS), "object")
    noun = rng.choice(FAMILIES[name] if name in FAMILIES else KINDS[name][1])
    template = rng.choice(_OBJECT_TEMPLATES)
    if colors and rng.random() < 0.15:
        return template.format(f"{_article(noun)} {noun} that is {' and '.join(colors)}")
    phrase = " ".join([*([" and ".join(colors)] if colors else []), noun])
    return template.format(f"{_article(phrase)} {phrase}")


def face_pairs(count: int, seed: int = 0) -> list[Pair]:
    """`count` pairs for every attribute of faces, each with up to two further facts that both sentences share."""
    rng = random.Random(seed)
    return [_face_pair(name, rng) for name in FACE_NAMES for _ in range(count)]


def _face_pair(name: str, rng: random.Random) -> Pair:
    other = rng.choice(RIVALS[name]) if name in RIVALS else name
    context: Facts = {}
    excluded = {name, other, *RIVALS.get(name, ())}
    for _ in range(rng.choice((0, 0, 1, 1, 1, 2))):
        candidates = {n: w for n, w in WORDS["context"].items() if n not in excluded | set(context)}
        chosen = rng.choices(list(candidates), list(candidates.values()))[0]
        context[chosen] = 1 if not FACES[chosen][1] else rng.choice((1, -1))
        excluded |= set(RIVALS.get(chosen, ()))
    return _pair(name, {name: 1, **context}, {other: -1 if other == name else 1, **context}, face_sentence, rng)


def object_pairs(count: int, seed: int = 0) -> list[Pair]:
    """`count` pairs for every color and kind: another color of the same object, or another object of that color."""
    rng = random.Random(seed)
    return [_object_pair(name, rng) for name in (*COLORS, *KINDS) for _ in range(count)]


def _object_pair(name: str, rng: random.Random) -> Pair:
    if name in COLORS:
        noun = rng.choice((*FAMILIES, *FAMILIES, *KINDS))
        other = rng.choice([color for color in COLORS if color != name])
        return _pair(name, {name: 1, noun: 1}, {other: 1, noun: 1}, object_sentence, rng)
    others = [kind for kind in KINDS if kind != name and not {kind, name} <= set(_SHIRTS)]
    near = [kind for kind in others if KINDS[kind][0] == KINDS[name][0]]
    other = rng.choice(near if rng.random() < 0.7 else others)
    color = {rng.choice(COLORS): 1} if rng.random() < 0.6 else {}
    return _pair(name, {**color, name: 1}, {**color, other: 1}, object_sentence, rng)


def _pair(attribute: str, first: Facts, second: Facts, write: Callable, rng: random.Random) -> Pair:
    seed = rng.random()  # one for both: the sentences differ in the attribute alone
    texts = write(first, random.Random(seed)), write(second, random.Random(seed))
    return Pair(attribute, texts, (first, second))
