"""How arguments of the pipeline become flags, and how flags become numbers, boxes and sentences."""

import argparse
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

MAX_SEED = 2**63 - 1


class UsageError(ValueError):
    """The command line itself is wrong."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, as all others are."""

    def __init__(self, **kwargs) -> None:
        super().__init__(allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        message = re.sub(r"^argument (?:-\w/)?(\S+): ", r"\1 ", message)
        raise UsageError(f"{message.rstrip('.')}. See {self.prog} --help.")


def finite_number(text: str) -> float:
    """A number of the command line; NaN and infinity are none."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a finite number, got {text}")
    return value


def count(text: str) -> int:
    """A whole number from 1."""
    if not (text.isascii() and text.isdigit() and int(text[:10]) >= 1 and len(text) < 10):
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to 999999999, got {text}")
    return int(text)


def seed(text: str) -> int:
    """A seed of PyTorch's random generator."""
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= MAX_SEED):
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to {MAX_SEED}, got {text}")
    return int(text)


def box(text: str) -> tuple[int, ...]:
    """The four sides of a box."""
    if not re.fullmatch(r"\d{1,9}(,\d{1,9}){3}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"must be LEFT,TOP,RIGHT,BOTTOM in pixels, got {text}")
    return tuple(int(value) for value in text.split(","))


def faces(text: str) -> str | list[int]:
    """Which faces of a photo."""
    if text in ("all", "auto", "largest"):
        return text
    if not re.fullmatch(r"[1-9]\d{0,3}(,[1-9]\d{0,3})*", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"must be all, auto, largest, or numbers such as 1,3, got {text}")
    return [int(value) for value in text.split(",")]


def sentence(text: str) -> str:
    """A prompt.

    It may be empty here, since some commands need none; what the terminal could not decode is refused.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise argparse.ArgumentTypeError("must be UTF-8 text") from error
    return text


class Flag(NamedTuple):
    """How an argument of the pipeline is given in the shell.

    Args:
        name: The flag.
        options: Of `argparse`: its type, default and help.
    """

    name: str
    options: dict[str, Any]


_AVERAGED = "what the result should show; several sentences are averaged"
FLAGS = {
    "prompt": Flag("--prompt", {"action": "append", "type": sentence, "help": _AVERAGED}),
    "beta": Flag(
        "--beta", {"type": finite_number, "default": 1.0, "help": "share of the prompt against the reference (1)"}
    ),
    "strength": Flag(
        "--strength", {"type": finite_number, "nargs": "+", "help": "s of the paper, 0..1: one, or one a level"}
    ),
    "reference_image": Flag(
        "--reference", {"type": Path, "help": "image to mix with the prompt; the image itself if left out"}
    ),
    "mask_image": Flag("--mask", {"type": Path, "help": "white = repaint; one for all, or a folder of the same names"}),
    "scale": Flag("--scale", {"type": finite_number, "help": "how many times larger, 2 to 64"}),
    "box": Flag("--box", {"type": box, "help": "part to look at: LEFT,TOP,RIGHT,BOTTOM in pixels"}),
    "faces": Flag(
        "--faces", {"type": faces, "help": "restore faces upright: all, largest, numbers such as 1,3, or auto (if any)"}
    ),
    "face_prompts": Flag(
        "--face-prompt",
        {"action": "append", "type": sentence, "help": "what a face should show; one for each"},
    ),
    "background": Flag(
        "--background",
        {"help": "what lies around faces or box: restored as well, or a checkpoint that upscales it; else bicubic"},
    ),
    "feather": Flag(
        "--feather", {"type": finite_number, "default": 0.0, "help": "soft border inside the mask, pixels (0)"}
    ),
    "tile": Flag("--tile", {"type": count, "help": "side of the tiles, pixels of the result"}),
    "region": Flag("--region", {"type": Path, "help": "where to edit, white; nothing changes elsewhere"}),
    "factor": Flag("--factor", {"type": finite_number, "help": "lose resolution so many times, 2 to 64"}),
    "colors": Flag("--colors", {"action": "store_true", "help": "take the colors away"}),
    "batch_size": Flag(
        "--batch-size", {"type": count, "help": "images, crops or tiles that the network takes at a time"}
    ),
}
FILES = ("mask_image", "reference_image", "region")  # arguments that are image files


def with_companions(arguments: Iterable[str]) -> list[str]:
    """Arguments in their order, each once, and those that only make sense with one of them."""
    return list(dict.fromkeys(name for a in arguments for name in (a, *(["face_prompts"] if a == "faces" else []))))


def add_flag(command: argparse.ArgumentParser, argument: str, **options) -> None:
    """Adds the flag of an argument of the pipeline.

    Args:
        command: The command that takes it.
        argument: Of the pipeline.
        **options: Of `argparse`, in place of the flag's own.
    """
    flag = FLAGS[argument]
    command.add_argument(flag.name, dest=argument, **flag.options | options)


def with_flags(message: str, names: dict[str, str] | None = None) -> str:
    """An error of the pipeline in the words of the command line.

    Args:
        message: It speaks of arguments: at its beginning, or anywhere if their name has an underscore.
        names: Flags by argument, where they are not the usual ones.
    """
    flags = {argument: flag.name for argument, flag in FLAGS.items()} | {"max_pixels": "--max-megapixels"}
    flags |= names or {}

    def replaced(match: re.Match) -> str:
        return flags.get(match[0], match[0])

    message = re.sub(r"^\w+(?= (must|cannot|has|reaches|marks|needs)\b)", replaced, message)
    message = re.sub(r"\b[a-z]+_[a-z]+\b", replaced, message)
    parts = re.match(r"(.*: edit with )(\w+)(, got )(.*)\.$", message)
    if parts:
        given = ", ".join(flags.get(name, name) for name in parts[4].split(", "))
        message = f"{parts[1]}{flags.get(parts[2], parts[2])}{parts[3]}{given}."
    return message
