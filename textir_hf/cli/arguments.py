"""The parser of the command line, and how arguments of the pipeline become flags."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from textir_hf.checks import NUMBERS, Number, from_text, number
from textir_hf.imaging.decode import is_url
from textir_hf.tasks.base import DEFAULT_SEED

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("float32", "float16", "bfloat16")


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def __init__(self, **kwargs) -> None:
        super().__init__(allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        message = message.rstrip(".")
        if message.startswith("argument "):
            message = message.removeprefix("argument ").replace(": ", " ", 1)
        if message.startswith("unrecognized arguments") and ": -" not in message:
            message += ". To restore several images, give their folder"
        raise ValueError(f"{message}. See {self.prog} --help.")


def number_type(kind: str | Number) -> Callable[[str], float]:
    """The `type` of a flag that takes a number: a name in `checks.NUMBERS`, or another kind."""
    kind = NUMBERS[kind] if isinstance(kind, str) else kind

    def read(text: str) -> float:
        try:
            return number("", from_text(text), kind)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error).strip()) from error

    return read


def values(text: str):
    """A word or a number, or a list of those that are separated by commas."""
    found = [from_text(part) for part in text.split(",")]
    return found if len(found) > 1 else found[0]


def file_path(text: str) -> Path:
    if is_url(text):
        raise argparse.ArgumentTypeError(f"must be a file, got the address {text}. Download it first")
    return Path(text)


FLAGS: dict[str, dict] = {  # arguments of the pipeline and of its loading with argparse's options
    "prompt": {"action": "append", "help": "what the result should show; several sentences are averaged"},
    "beta": {"default": 1.0, "help": "share of the prompt against the reference (1)"},
    "skip_strength": {"type": values, "help": "s of the paper, 0..1: one, or one for each level, such as 0.2,0.5,0.5"},
    "reference_image": {"type": file_path, "help": "image to mix with the prompt; the image itself if left out"},
    "mask_image": {"type": file_path, "help": "white = restore; one for all, or a folder of the same names"},
    "regions": {"nargs": 2, "action": "append", "metavar": ("MASK", "PROMPT"), "help": "a region's own prompt; repeat"},
    "scale": {"help": "how many times larger, 2 to 64"},
    "box": {"type": values, "help": "part to look at: LEFT,TOP,RIGHT,BOTTOM in pixels"},
    "faces": {"type": values, "help": "restore faces upright: all, largest, numbers such as 1,3, or auto (if any)"},
    "face_prompts": {"action": "append", "help": "what a face should show; one for each"},
    "background": {"choices": ["restored"], "help": "restore also what is around faces or box; bicubic if left out"},
    "refiner": {"metavar": "CHECKPOINT", "help": "for super-resolution: adds detail to fills shown larger than made"},
    "feather": {"default": 0.0, "help": "soft border inside the mask, pixels (0)"},
    "tile": {"help": "side of the tiles, pixels of the result"},
    "factor": {"help": "lose resolution so many times, 2 to 64"},
    "colors": {"action": "store_true", "help": "take the colors away"},
    "batch_size": {"help": "images, crops or tiles that the network takes at a time"},
    "checkpoint": {"help": "embedded name, folder or Hub id; the task's embedded one if left out"},
    "seed": {"default": DEFAULT_SEED, "help": "of the fine noise (%(default)s)"},
    "device": {"choices": DEVICES, "default": "auto", "help": "where to compute (%(default)s)"},
    "dtype": {"choices": DTYPES, "default": "float32", "help": "of the network (%(default)s)"},
}


def add_flag(command: argparse.ArgumentParser, argument: str, **options) -> None:
    """Adds the flag of an argument, which has its name."""
    own = {"type": number_type(argument)} if argument in NUMBERS else {}
    flag = "--region" if argument == "regions" else f"--{argument.replace('_', '-')}"
    command.add_argument(flag, dest=argument, **own | FLAGS[argument] | options)
