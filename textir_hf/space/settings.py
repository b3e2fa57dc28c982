"""What a result was made with, read from a PNG or a link in the types and ranges of the page's fields."""

import json
from collections.abc import Sequence
from numbers import Real

from textir_hf.checks import check_range
from textir_hf.space import texts
from textir_hf.tasks import TASKS
from textir_hf.tasks.base import DEGRADATIONS
from textir_hf.tasks.super_resolution import MAX_FACTOR, MIN_FACTOR

MAX_PROMPT, MAX_BETA, MAX_FEATHER, MAX_SEED, MAX_VARIANTS = 500, 2.0, 40, 2**53 - 1, 4
RANGES = {
    "beta": (0, MAX_BETA),
    "strength": (0, 1),
    "seed": (0, MAX_SEED),
    "scale": (MIN_FACTOR, MAX_FACTOR),
    "factor": (MIN_FACTOR, MAX_FACTOR),
    "feather": (0, MAX_FEATHER),
    "variants": (1, MAX_VARIANTS),
}
FACES = tuple(texts.CHOICES["faces"])  # which faces are restored in a frame of their own
BACKGROUNDS = tuple(texts.CHOICES["background"])  # what lies around them
WHOLE = ("seed", "variants")  # numbers without a fraction


def check_text(name: str, value: object) -> str:
    """A sentence with single spaces.

    Raises:
        ValueError: It is no text, or too long.
    """
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} must be a text, got {type(value).__name__}.")
    sentence = " ".join((value or "").replace("\0", " ").split())
    if len(sentence) > MAX_PROMPT:
        raise ValueError(texts.LONG_PROMPT.format(len(sentence), MAX_PROMPT))
    return sentence


def check_number(name: str, value: object) -> float:
    """A number in the range that the page has for it.

    Raises:
        ValueError: It is none, or out of range.
    """
    check_range(name, value, *RANGES[name])
    if name in WHOLE and value != int(value):
        raise ValueError(f"{name} must be a whole number, got {value:g}.")
    return int(value) if name in WHOLE else value


def check_choice(name: str, value: object, choices: Sequence[str]) -> str:
    """One of several words.

    Raises:
        ValueError: It is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {str(value)[:80]!r}.")
    return value


def read(stored: dict) -> dict:
    """The settings that fields of the page can take, with the name of their tab.

    Args:
        stored: As a result's PNG holds them.

    Returns:
        `tab`, and some of `prompt`, `degradation`, `faces`, `background` and the numbers of `RANGES`.

    Raises:
        ValueError: One has another type, or is out of range.
    """
    task = stored.get("task")
    if not isinstance(task, str) or task not in TASKS:
        raise ValueError(texts.NO_SETTINGS)
    prompt = stored.get("prompt", "")
    if isinstance(prompt, list) and prompt:
        prompt = prompt[0]
    known = {"tab": TASKS[task].command, "prompt": check_text("prompt", prompt)}
    if "edit" in stored:
        known |= {"tab": "edit", "degradation": check_choice("edit", stored["edit"], DEGRADATIONS)}
    if "faces" in TASKS[task].accepts and not isinstance(stored.get("faces"), list):  # faces that were clicked
        known["faces"] = check_choice("faces", stored.get("faces", "none"), FACES)
    if "background" in TASKS[task].accepts and stored.get("faces") and "edit" not in stored:
        known["background"] = check_choice("background", stored.get("background", "enlarged"), BACKGROUNDS)
    return known | {name: check_number(name, stored[name]) for name in RANGES if stored.get(name) is not None}


def from_query(query: dict[str, str]) -> dict:
    """The settings of a link: numbers are written as JSON.

    Raises:
        ValueError: As in `read`.
    """
    stored = {}
    for name, value in query.items():
        if name in RANGES:
            try:
                number = json.loads(value)
            except ValueError:
                number = value[:80]
            stored[name] = number if isinstance(number, Real) else value[:80]
        elif name in ("task", "prompt", "edit", "faces", "background"):
            stored[name] = value
    return read(stored) if "task" in stored else {}
