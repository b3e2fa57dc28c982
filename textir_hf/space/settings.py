"""What a result was made with, read from a PNG or a link in the types and ranges of the page's fields."""

from collections.abc import Sequence
from pathlib import Path

from textir_hf.checks import NUMBERS, from_text, number
from textir_hf.space import networks, texts
from textir_hf.tasks import TASKS
from textir_hf.tasks.base import DEGRADATIONS

MAX_PROMPT = 500
SOFT_EDGE = 8  # feather for a visitor's own image, pixels
RANGES = {name: NUMBERS[name]._replace(optional=False) for name in ("skip_strength", "scale", "factor")} | {
    "beta": NUMBERS["beta"]._replace(low=0, high=2),
    "seed": NUMBERS["seed"]._replace(high=2**53 - 1),  # the largest that a browser knows exactly
    "feather": NUMBERS["feather"]._replace(high=40),
    "variants": NUMBERS["num_images_per_prompt"]._replace(high=4),
}
FACES = tuple(texts.CHOICES["faces"])  # which faces are restored in a frame of their own
BACKGROUNDS = tuple(texts.CHOICES["background"])  # what lies around them


def check_text(name: str, value: object) -> str:
    """A sentence with single spaces."""
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} must be a text, got {type(value).__name__}.")
    sentence = " ".join((value or "").replace("\0", " ").split())
    if len(sentence) > MAX_PROMPT:
        raise ValueError(texts.LONG_PROMPT.format(len(sentence), MAX_PROMPT))
    return sentence


def check_number(name: str, value: object) -> float:
    return number(name, value, RANGES[name])


def check_choice(name: str, value: object, choices: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {str(value)[:80]!r}.")
    return value


def read(stored: dict) -> dict:
    """The settings that fields of the page can take, with the name of their tab."""
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
    for name in networks.offered()[task] if "edit" not in stored else ():
        if Path(name).name == stored.get("model"):
            known["checkpoint"] = name
    known |= {name: check_number(name, stored[name]) for name in RANGES if stored.get(name) is not None}
    return known | {"automatic": "skip_strength" not in known}


def from_query(query: dict[str, str]) -> dict:
    known = ("task", "model", "prompt", "edit", "faces", "background", *RANGES)
    stored = {name: from_text(value) if name in RANGES else value for name, value in query.items() if name in known}
    if stored.get("faces", "").replace(",", "").isdigit():  # numbers of faces that were clicked
        stored["faces"] = stored["faces"].split(",")
    return read(stored) if "task" in stored else {}
