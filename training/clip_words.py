"""Facts about faces and objects: labels of images, sentences that state them, and pairs that differ in one fact.

A fact is an attribute with a side: 1, the image has it, or -1, it does not. A label is 1, -1, or 0 if unknown.
The words are in `clip_words.json`.
"""

import json
import random
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


def _sides(true: np.ndarray, false: np.ndarray | None = None) -> np.ndarray:
    return true.astype(np.int8) - (~true if false is None else false)


def face_labels(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Labels of faces, `[N, len(FACE_NAMES)]`, from CelebA's attributes or UTKFace's `age`, `male` and `group`."""
    known = {"male": _sides(columns["male"].astype(bool))}
    if "age" in columns:
        age = columns["age"]
        known["young"] = _sides(age <= 32, age >= 52)
        known["middle_aged"] = _sides((age >= 40) & (age <= 55), (age <= 30) | (age >= 68))
        known |= {name: _sides(columns["group"] == name) for name in ("white", "black", "asian", "indian")}
    else:
        named = {name: WORDS["face_columns"].get(name, name) for name in FACE_NAMES}
        known |= {name: _sides(columns[column].astype(bool)) for name, column in named.items() if column in columns}
        known["beard"] = -_sides(columns["no_beard"].astype(bool))
    unknown = np.zeros_like(known["male"])
    return np.stack([known.get(name, unknown) for name in FACE_NAMES], 1)


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
    margin, true_share, false_share = (0.15, 0.12, 0.02) if flower else (0.25, 0.30, 0.05)
    y, x = int(image.shape[0] * margin), int(image.shape[1] * margin)
    shares = color_shares(image[y : len(image) - y, x : image.shape[1] - x])
    labels = _sides(shares >= true_share, shares <= false_share)
    if flower:  # leaves and earth do not tell a flower's color
        labels[[COLORS.index(color) for color in ("green", "brown", "black")]] = 0
    return labels


def object_labels(image: np.ndarray, kind: str) -> np.ndarray:
    """`[len(OBJECT_NAMES)]` in {-1, 0, 1}: the colors in the middle of the image, family and kind."""
    names, alike = np.array([*FAMILIES, *KINDS]), _SHIRTS if kind in _SHIRTS else ()
    own = np.isin(names, [KINDS[kind][0], kind])
    return np.concatenate([color_labels(image, kind), _sides(own, ~own & ~np.isin(names, alike))])


def _article(phrase: str) -> str:
    return "an" if phrase[0] in "aeiouAEIOU" else "a"


def face_sentence(facts: Facts, rng: random.Random) -> str:
    """One sentence that states these facts and no others."""
    nouns, before, after = [rng.choice(("person", "person", "face", "human"))], [], []
    words = {"noun": nouns, "before": before, "after": after}
    for name, side in facts.items():
        places = FACES[name][0 if side > 0 else 1]
        place = rng.choices(list(places), [len(phrases) for phrases in places.values()])[0]
        words[place].append(rng.choice(places[place]))
    noun = nouns[-1]
    if noun in ("face", "human") and any(phrase.startswith(("w", "in", "n")) for phrase in after):
        noun = "person"
    first = ", ".join(before) if len(before) > 1 and rng.random() < 0.3 else " ".join(before)
    phrase = f"{first} {noun}".strip()
    tail = " and ".join(after) if rng.random() < 0.7 else ", ".join(after)
    return rng.choice(_FACE_TEMPLATES).format(f"{_article(phrase)} {phrase} {tail}".strip())


def object_sentence(facts: Facts, rng: random.Random) -> str:
    """One sentence that states these facts: colors and one kind or family."""
    colors = " and ".join([rng.choice(("purple", "violet") if n == "purple" else (n,)) for n in facts if n in COLORS])
    name = next((n for n in facts if n not in COLORS), "object")
    noun = rng.choice(FAMILIES[name] if name in FAMILIES else KINDS[name][1])
    template = rng.choice(_OBJECT_TEMPLATES)
    if colors and rng.random() < 0.15:
        return template.format(f"{_article(noun)} {noun} that is {colors}")
    phrase = f"{colors} {noun}".strip()
    return template.format(f"{_article(phrase)} {phrase}")


def face_pairs(count: int) -> list[Pair]:
    """`count` pairs for every attribute of faces, each with up to two further facts that both sentences share."""
    rng, pairs = random.Random(0), []
    for name in [name for name in FACE_NAMES for _ in range(count)]:
        other = rng.choice(RIVALS[name]) if name in RIVALS else name
        context, excluded = {}, {name, other, *RIVALS.get(name, ())}
        for _ in range(rng.choice((0, 0, 1, 1, 1, 2))):
            candidates = {n: w for n, w in WORDS["context"].items() if n not in excluded | set(context)}
            chosen = rng.choices(list(candidates), list(candidates.values()))[0]
            context[chosen] = 1 if not FACES[chosen][1] else rng.choice((1, -1))
            excluded |= set(RIVALS.get(chosen, ()))
        facts = {name: 1, **context}, {other: -1 if other == name else 1, **context}
        pairs.append(_pair(name, facts, face_sentence, rng))
    return pairs


def object_pairs(count: int) -> list[Pair]:
    """`count` pairs for every color and kind: another color of the same object, or another object of that color."""
    rng, pairs = random.Random(0), []
    for name in [name for name in (*COLORS, *KINDS) for _ in range(count)]:
        if name in COLORS:
            noun = rng.choice((*FAMILIES, *FAMILIES, *KINDS))
            other = rng.choice([color for color in COLORS if color != name])
            facts = {name: 1, noun: 1}, {other: 1, noun: 1}
        else:
            others = [kind for kind in KINDS if kind != name and not {kind, name} <= set(_SHIRTS)]
            near = [kind for kind in others if KINDS[kind][0] == KINDS[name][0]]
            other = rng.choice(near if rng.random() < 0.7 else others)
            color = {rng.choice(COLORS): 1} if rng.random() < 0.6 else {}
            facts = {**color, name: 1}, {**color, other: 1}
        pairs.append(_pair(name, facts, object_sentence, rng))
    return pairs


def _pair(attribute: str, facts: tuple[Facts, Facts], write, rng: random.Random) -> Pair:
    seed = rng.random()  # one for both: the sentences differ in the attribute alone
    first, second = (write(stated, random.Random(seed)) for stated in facts)
    return Pair(attribute, (first, second), facts)
