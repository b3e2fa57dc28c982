"""Sentences about flowers, clothing and other objects of a labeled kind, with the colors seen in the pixels."""

import random
from dataclasses import replace

import numpy as np

from training import captions
from training.encoder.pairs import Facts, Pair

COLORS = captions.COLORS
# kind: its family and its nouns
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "daisy": ("flower", ("daisy",)),
    "dandelion": ("flower", ("dandelion",)),
    "roses": ("flower", ("rose",)),
    "sunflowers": ("flower", ("sunflower",)),
    "tulips": ("flower", ("tulip",)),
    "dress": ("clothing", ("dress", "gown")),
    "hat": ("clothing", ("hat", "cap")),
    "longsleeve": ("clothing", ("long-sleeved shirt", "sweater")),
    "outwear": ("clothing", ("jacket", "coat")),
    "pants": ("clothing", ("pair of pants", "pair of trousers")),
    "shirt": ("clothing", ("shirt",)),
    "shoes": ("clothing", ("pair of shoes", "shoe")),
    "shorts": ("clothing", ("pair of shorts",)),
    "skirt": ("clothing", ("skirt",)),
    "t-shirt": ("clothing", ("t-shirt", "shirt")),
    "a garbage truck": ("object", ("garbage truck", "truck", "lorry")),
    "a French horn": ("object", ("French horn", "brass instrument")),
    "an English springer, a dog": ("object", ("dog", "English springer")),
    "a cassette player": ("object", ("cassette player", "radio")),
    "a church": ("object", ("church", "building")),
    "a gas pump": ("object", ("gas pump", "gas station")),
    "a chain saw": ("object", ("chain saw", "chainsaw")),
    "a parachute": ("object", ("parachute",)),
    "a tench, a fish": ("object", ("fish", "tench")),
    "a golf ball": ("object", ("golf ball", "ball")),
}
FAMILIES = {
    "flower": ("flower", "blossom"),
    "clothing": ("piece of clothing", "garment"),
    "object": ("object", "thing"),
}
NAMES = (*COLORS, *FAMILIES, *KINDS)
_BARE_SHARE = 0.4  # of the pairs about a color
_SHIRTS = ("shirt", "t-shirt", "longsleeve")  # one may be called the other
_WORDS = {"purple": ("purple", "violet")}  # of the colors that have several
_TEMPLATES = ("{}", "{}", "a photo of {}", "a photo of {}", "a picture of {}", "{} in the middle", "a close-up of {}")


def labels_of(image: np.ndarray, kind: str) -> np.ndarray:
    """`[len(NAMES)]` in {-1, 0, 1}: the colors in the middle of the image `[H, W, 3]` uint8, family and kind."""
    family = KINDS[kind][0]
    reference = kind if family == "flower" else captions.CLOTHES[0]
    colors = captions.object_labels(image, reference)[: len(COLORS)]
    alike = _SHIRTS if kind in _SHIRTS else ()
    names = [1 if n in (family, kind) else 0 if n in alike else -1 for n in NAMES[len(COLORS) :]]
    return np.concatenate([colors, names]).astype(np.int8)


def sentence(facts: Facts, rng: random.Random) -> str:
    """One sentence that states these facts: colors and one kind or family."""
    colors = [rng.choice(_WORDS.get(n, (n,))) for n in facts if n in COLORS]
    name = next((n for n in facts if n not in COLORS), "object")
    noun = rng.choice(FAMILIES[name] if name in FAMILIES else KINDS[name][1])
    template = rng.choice(_TEMPLATES)
    if colors and rng.random() < 0.15:
        return template.format(f"{_article(noun)} {noun} that is {' and '.join(colors)}")
    phrase = " ".join([*([" and ".join(colors)] if colors else []), noun])
    return template.format(f"{_article(phrase)} {phrase}")


def _article(phrase: str) -> str:
    return "an" if phrase[0] in "aeiou" else "a"


def pairs(count: int, seed: int = 0) -> list[Pair]:
    """`count` pairs for every color and kind: another color of the same object, or another object of that color."""
    rng = random.Random(seed)
    return [_pair(name, rng) for name in (*COLORS, *KINDS) for _ in range(count)]


def _pair(name: str, rng: random.Random) -> Pair:
    if name in COLORS:
        noun = rng.choice((*FAMILIES, *FAMILIES, *KINDS))
        other = rng.choice([c for c in COLORS if c != name])
        bare = rng.random() < _BARE_SHARE
        facts = ({name: 1, noun: 1}, {name: -1, noun: 1} if bare else {other: 1, noun: 1})
    else:
        family = KINDS[name][0]
        others = [k for k in KINDS if k != name and not {k, name} <= set(_SHIRTS)]
        near = [k for k in others if KINDS[k][0] == family]
        other = rng.choice(near if rng.random() < 0.7 else others)
        color = {rng.choice(COLORS): 1} if rng.random() < 0.6 else {}
        bare, facts = False, ({**color, name: 1}, {**color, other: 1})
    pair, seed = Pair(name, ("", ""), facts, bare), rng.random()
    first, second = (sentence(stated, random.Random(seed)) for stated in pair.statements)
    return replace(pair, texts=(first, second))
