"""Sentences about faces whose attributes people have labeled: words for both sides of each attribute.

The sentences of a pair differ in one fact, so that the choice between them is a choice about that attribute.
"""

import random
from dataclasses import replace

import numpy as np

from training.encoder.pairs import Facts, Pair

NOUN, BEFORE, AFTER = "noun", "before", "after"
_HATLESS = ("without a hat", "with no hat", "not wearing a hat", "wearing no hat", "with a bare head", "without a cap")
_UNSHAVEN = ("with a beard", "who has a beard", "with facial hair")
_SHAVEN = ("without a beard", "with no beard", "with a clean-shaven face", "who has no beard", "with a shaved chin")

# attribute: its wordings when true and when false, each by its place in the sentence
PHRASES: dict[str, tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]] = {
    "male": (
        {NOUN: ("man", "man", "man", "guy", "gentleman", "male person")},
        {NOUN: ("woman", "woman", "woman", "lady", "female person")},
    ),
    "young": (
        {BEFORE: ("young", "young", "youthful"), AFTER: ("who is young", "with a young face")},
        {
            BEFORE: ("old", "old", "elderly", "older", "aged"),
            AFTER: ("who is old", "with an old face", "with wrinkles", "who is not young"),
        },
    ),
    "smiling": (
        {
            BEFORE: ("smiling", "smiling", "happy", "cheerful", "laughing", "grinning"),
            AFTER: ("with a smile", "who is smiling", "smiling", "with a happy expression"),
        },
        {
            BEFORE: ("serious", "serious", "unsmiling", "stern"),
            AFTER: (
                "who is not smiling",
                "without a smile",
                "with a serious expression",
                "with a neutral expression",
                "with a serious face",
                "not smiling",
                "with no smile",
            ),
        },
    ),
    "eyeglasses": (
        {AFTER: ("with glasses", "wearing glasses", "with eyeglasses", "wearing eyeglasses", "with spectacles")},
        {
            AFTER: (
                "without glasses",
                "with no glasses",
                "not wearing glasses",
                "wearing no glasses",
                "without eyeglasses",
                "without spectacles",
                "with bare eyes",
            )
        },
    ),
    "bald": (
        {BEFORE: ("bald", "bald", "bald-headed"), AFTER: ("with a bald head", "with no hair", "who is bald")},
        {
            AFTER: (
                "with hair",
                "with hair on the head",
                "with a full head of hair",
                "who is not bald",
                "with thick hair",
            )
        },
    ),
    "hat": (
        {AFTER: ("with a hat", "wearing a hat", "with a cap", "wearing a cap", "in a hat")},
        {AFTER: _HATLESS},
    ),
    "beard": ({BEFORE: ("bearded",), AFTER: _UNSHAVEN}, {BEFORE: ("clean-shaven", "beardless"), AFTER: _SHAVEN}),
    "mustache": (
        {AFTER: ("with a mustache", "with a moustache")},
        {AFTER: ("without a mustache", "with no mustache", "without a moustache")},
    ),
    "bangs": (
        {AFTER: ("with bangs", "with bangs", "with a fringe", "with hair over the forehead")},
        {AFTER: ("without bangs", "with no bangs", "without a fringe", "with a bare forehead", "with a high forehead")},
    ),
    "blond_hair": (
        {BEFORE: ("blond", "blonde", "blond-haired"), AFTER: ("with blond hair", "with blonde hair", "with fair hair")},
        {},
    ),
    "black_hair": ({BEFORE: ("black-haired",), AFTER: ("with black hair", "with black hair")}, {}),
    "brown_hair": ({BEFORE: ("brown-haired",), AFTER: ("with brown hair", "with brunette hair")}, {}),
    "gray_hair": (
        {BEFORE: ("gray-haired", "grey-haired"), AFTER: ("with gray hair", "with grey hair", "with white hair")},
        {},
    ),
    "wavy_hair": ({AFTER: ("with wavy hair", "with curly hair")}, {}),
    "straight_hair": ({AFTER: ("with straight hair",)}, {}),
    "mouth_open": (
        {AFTER: ("with an open mouth", "with parted lips", "with visible teeth")},
        {AFTER: ("with a closed mouth", "with closed lips")},
    ),
    "lipstick": (
        {AFTER: ("with lipstick", "wearing lipstick", "with red lips", "with makeup", "wearing makeup")},
        {AFTER: ("without lipstick", "with no lipstick", "without makeup", "wearing no makeup")},
    ),
    "earrings": ({AFTER: ("with earrings", "wearing earrings")}, {AFTER: ("without earrings", "with no earrings")}),
    "necktie": (
        {AFTER: ("with a tie", "wearing a necktie", "in a suit and tie")},
        {AFTER: ("without a tie", "wearing no necktie")},
    ),
    "middle_aged": ({BEFORE: ("middle-aged",), AFTER: ("of middle age", "in their forties")}, {}),
    "white": ({BEFORE: ("white", "Caucasian")}, {}),
    "black": ({BEFORE: ("black", "Black", "African")}, {}),
    "asian": ({BEFORE: ("Asian", "East Asian")}, {}),
    "indian": ({BEFORE: ("Indian", "South Asian")}, {}),
}
NAMES = tuple(PHRASES)
# attribute without words for its false side: the attributes that it is told from
RIVALS = {
    "blond_hair": ("black_hair", "black_hair", "brown_hair", "gray_hair"),
    "black_hair": ("blond_hair", "blond_hair", "brown_hair", "gray_hair"),
    "brown_hair": ("black_hair", "blond_hair", "gray_hair"),
    "gray_hair": ("black_hair", "blond_hair", "brown_hair"),
    "wavy_hair": ("straight_hair",),
    "straight_hair": ("wavy_hair",),
    "middle_aged": ("young",),
    "white": ("black", "asian", "indian"),
    "black": ("white", "asian", "indian"),
    "asian": ("white", "black", "indian"),
    "indian": ("white", "black", "asian"),
}
_CELEBA = {"hat": "wearing_hat", "mouth_open": "mouth_slightly_open"} | {
    n: f"wearing_{n}" for n in ("lipstick", "earrings", "necktie")
}
_GROUPS = ("white", "black", "asian", "indian")
_TEMPLATES = ("{}", "{}", "a photo of {}", "a photo of {}", "a portrait of {}", "a picture of {}", "the face of {}")
_BARE_SHARE = 0.25  # of the pairs
_SELDOM = ("bangs", "blond_hair", "black_hair", "brown_hair", "gray_hair", "bald", "wavy_hair", "lipstick", "asian")
# attribute: how often a sentence states it besides the one that it is about
_CONTEXT = {"male": 6.0, "young": 2.0, "smiling": 2.0, "eyeglasses": 1.0, "beard": 1.0, "hat": 1.0}
_CONTEXT |= dict.fromkeys(_SELDOM, 0.7)


def labels_of(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Labels of faces from the columns of CelebA or UTKFace.

    Args:
        columns: CelebA's forty attributes, or UTKFace's `age`, `male` and `group`; `[N]` each.

    Returns:
        `[N, len(NAMES)]`: 1 true, -1 false, 0 not known.
    """
    labels = np.zeros((len(columns["male"]), len(NAMES)), np.int8)

    def put(name: str, true: np.ndarray, false: np.ndarray) -> None:
        labels[:, NAMES.index(name)] = true.astype(np.int8) - false.astype(np.int8)

    male = columns["male"].astype(bool)
    put("male", male, ~male)
    if "age" in columns:
        age, group = columns["age"], columns["group"]
        put("young", age <= 32, age >= 52)
        put("middle_aged", (age >= 40) & (age <= 55), (age <= 30) | (age >= 68))
        for name in _GROUPS:
            put(name, group == name, group != name)
        return labels
    for name in NAMES:
        column = _CELEBA.get(name, name)
        if column in columns and name != "male":
            true = columns[column].astype(bool)
            put(name, true, ~true)
    put("beard", ~columns["no_beard"].astype(bool), columns["no_beard"].astype(bool))
    return labels


def sentence(facts: Facts, rng: random.Random) -> str:
    """One sentence that states these facts and no others."""
    noun = rng.choice(("person", "person", "face", "human"))
    before: list[str] = []
    after: list[str] = []
    for name, side in facts.items():
        places = PHRASES[name][0 if side > 0 else 1]
        place = rng.choices(list(places), [len(p) for p in places.values()])[0]
        phrase = rng.choice(places[place])
        if place == NOUN:
            noun = phrase
        else:
            (before if place == BEFORE else after).append(phrase)
    if noun in ("face", "human") and any(a.startswith(("w", "in", "n")) for a in after):
        noun = "person"
    words = ", ".join(before) if len(before) > 1 and rng.random() < 0.3 else " ".join(before)
    phrase = f"{words} {noun}".strip()
    article = "an" if phrase[0] in "aeiouAEIOU" else "a"
    tail = " and ".join(after) if rng.random() < 0.7 else ", ".join(after)
    return rng.choice(_TEMPLATES).format(f"{article} {phrase} {tail}".strip())


def pairs(count: int, seed: int = 0) -> list[Pair]:
    """`count` pairs for every attribute, each with up to two further facts that both sentences share."""
    rng = random.Random(seed)
    return [_pair(name, rng) for name in NAMES for _ in range(count)]


def _pair(name: str, rng: random.Random) -> Pair:
    other = rng.choice(RIVALS[name]) if name in RIVALS else name
    true, false = {name: 1}, {other: -1 if other == name else 1}
    excluded = {name, other, *RIVALS.get(name, ())}
    context: Facts = {}
    for _ in range(rng.choice((0, 0, 1, 1, 1, 2))):
        candidates = {n: w for n, w in _CONTEXT.items() if n not in excluded | set(context)}
        chosen = rng.choices(list(candidates), list(candidates.values()))[0]
        context[chosen] = 1 if not PHRASES[chosen][1] else rng.choice((1, -1))
        excluded |= set(RIVALS.get(chosen, ()))
    bare = name != "male" and rng.random() < _BARE_SHARE
    pair = Pair(name, ("", ""), ({**true, **context}, {**({name: -1} if bare else false), **context}), bare)
    seed = rng.random()
    first, second = (sentence(stated, random.Random(seed)) for stated in pair.statements)
    return replace(pair, texts=(first, second))
