"""Command lines of the tests."""

import numpy as np

from textir_hf.cli.main import main
from textir_hf.imaging.files import open_image
from textir_hf.tasks import TASKS

COMMANDS = {task.command: name for name, task in TASKS.items()}


def words(command, *rest, image="images/0.png", prompt="a face", output="out.png", task=None):
    checkpoint = ["--checkpoint", task or COMMANDS.get(command, "colorization")]
    return [command, str(image), "--prompt", prompt, "-o", str(output), *checkpoint, *map(str, rest)]


def run(*arguments, **options) -> int:
    return main(words(*arguments, **options))


def pixels(path) -> np.ndarray:
    return np.asarray(open_image(path))
