"""How arguments of the pipeline become flags, and how flags become numbers, boxes and sentences."""

import argparse
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from textir_hf.checks import NUMBERS, Box, Number, four_sides, from_text, number
from textir_hf.imaging.decode import is_url
from textir_hf.imaging.faces import check_choice
from textir_hf.imaging.files import READABLE


class UsageError(ValueError):
    """The command line itself is wrong."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, as all others are."""

    def __init__(self, **kwargs) -> None:
        super().__init__(allow_abbrev=False, **kwargs)

    def parse_args(self, args=None, namespace=None):
        known, more = self.parse_known_args(args, namespace)
        images = [word for word in more if Path(word).suffix.lower() in READABLE]
        if images:
            raise UsageError(f"One image or a folder of them is taken, got {images[0]} besides. Give the folder.")
        if more:
            self.error(f"unrecognized arguments: {' '.join(more)}")
        return known

    def error(self, message: str) -> NoReturn:
        message = re.sub(r"^argument (?:-\w/)?(\S+): ", r"\1 ", message)
        raise UsageError(f"{message.rstrip('.')}. See {self.prog} --help.")


def _read_number(text: str, kind: Number) -> float:
    """A number of the command line."""
    try:
        return number("", from_text(text), kind)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).strip()) from error


def number_type(kind: str | Number) -> Callable[[str], float]:
    """The `type` of a flag that takes a number: a name in `checks.NUMBERS`, or another kind."""
    return partial(_read_number, kind=NUMBERS[kind] if isinstance(kind, str) else kind)


def box(text: str) -> Box:
    """The four sides of a box."""
    try:
        return four_sides([from_text(value) for value in text.split(",")])
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be LEFT,TOP,RIGHT,BOTTOM in pixels, got {text}") from error


def faces(text: str) -> str | list[int]:
    """Which faces of a photo."""
    try:
        choice = check_choice(text if text.isalpha() else [from_text(value) for value in text.split(",")])
        return choice if isinstance(choice, str) else list(choice)  # a list, as JSON gives it back
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be all, auto, largest, or numbers such as 1,3, got {text}") from error


def file_path(text: str) -> Path:
    """The path of a file or a folder."""
    if is_url(text):
        raise argparse.ArgumentTypeError(f"must be a file, got the address {text}. Download it first")
    return Path(text)


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
    "beta": Flag("--beta", {"default": 1.0, "help": "share of the prompt against the reference (1)"}),
    "skip_strength": Flag("--skip-strength", {"nargs": "+", "help": "s of the paper, 0..1: one, or one a level"}),
    "reference_image": Flag("--reference-image", {"help": "image to mix with the prompt; else the image itself"}),
    "mask_image": Flag("--mask-image", {"help": "white = restore; one for all, or a folder of the same names"}),
    "scale": Flag("--scale", {"help": "how many times larger, 2 to 64"}),
    "box": Flag("--box", {"type": box, "help": "part to look at: LEFT,TOP,RIGHT,BOTTOM in pixels"}),
    "faces": Flag(
        "--faces", {"type": faces, "help": "restore faces upright: all, largest, numbers such as 1,3, or auto (if any)"}
    ),
    "face_prompts": Flag(
        "--face-prompts",
        {"action": "append", "type": sentence, "help": "what a face should show; one for each"},
    ),
    "background": Flag(
        "--background",
        {"help": "what lies around faces or box: restored as well, or a checkpoint that upscales it; else bicubic"},
    ),
    "feather": Flag("--feather", {"default": 0.0, "help": "soft border inside the mask, pixels (0)"}),
    "tile": Flag("--tile", {"help": "side of the tiles, pixels of the result"}),
    "factor": Flag("--factor", {"help": "lose resolution so many times, 2 to 64"}),
    "colors": Flag("--colors", {"action": "store_true", "help": "take the colors away"}),
    "batch_size": Flag("--batch-size", {"help": "images, crops or tiles that the network takes at a time"}),
}
FILES = ("mask_image", "reference_image")  # arguments that are image files


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
    own = {"type": file_path} if argument in FILES else {"type": number_type(argument)} if argument in NUMBERS else {}
    command.add_argument(flag.name, dest=argument, **own | flag.options | options)
