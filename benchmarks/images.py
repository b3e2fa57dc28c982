"""Memory and time of 24-megapixel images, and what tiles change.

    python -m benchmarks.images

Each case runs in a process of its own, whose peak memory (with Python, PyTorch and the networks) is taken.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image
from skimage import data

from textir_hf import TextIRPipeline

_BOXES = ((1000, 1000, 2200, 1900), (4000, 3000, 4200, 3300), (5900, 0, 6000, 100))


def _masked(image: Image.Image) -> dict:
    mask = Image.new("L", image.size)
    for box in _BOXES:
        mask.paste(255, box)
    return {"mask_image": mask}


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Args:
        checkpoint: An embedded one.
        title: What is done.
        size: Width and height of the image.
        arguments: Further arguments of the call, from the image.
    """

    checkpoint: str
    title: str
    size: tuple[int, int]
    arguments: Callable[[Image.Image], dict]


CASES = {
    "regions": Case("textir-mini-inpainting", "three masked regions, one at the border", (6000, 4000), _masked),
    "colors": Case("textir-mini-colorization", "all of it", (6000, 4000), lambda image: {}),
    "twice": Case("textir-mini-super-resolution", "2x to 24 megapixels", (3000, 2000), lambda image: {"scale": 2}),
    "twice-large": Case(
        "textir-mini-super-resolution", "2x to 96 megapixels", (6000, 4000), lambda image: {"scale": 2}
    ),
}


def measure(case: Case) -> None:
    """Restores an image and prints a row of the table."""
    image = Image.fromarray(data.coffee()).resize(case.size, Image.Resampling.BICUBIC)
    pipe = TextIRPipeline.from_pretrained(case.checkpoint)
    arguments = case.arguments(image)
    start = time.perf_counter()
    result = pipe("a cup of coffee", image, **arguments).images[0]
    seconds, peak = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"| {pipe.task.name}, {case.title} | {result.width}x{result.height} | {seconds:.1f} | {peak:.2f} |")


def compare_tiles() -> None:
    """Prints how far an image in tiles is from the same image in one piece, in levels of 255."""
    pipe = TextIRPipeline.from_pretrained("textir-mini-super-resolution")
    pipe.set_progress_bar_config(disable=True)
    image = Image.fromarray(data.astronaut()).resize((192, 192), Image.Resampling.LANCZOS)
    pair = (np.asarray(pipe("a photo", image, scale=4, tile=tile).images[0]).astype(int) for tile in (768, 256))
    difference = np.abs(next(pair) - next(pair))
    print(f"\ntiles of 256 against one of 768 pixels: {difference.mean():.2f}/255 on average, ", end="")
    print(f"{np.percentile(difference, 99.9):.0f}/255 at the 99.9th percentile")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        return measure(CASES[args.case])
    print("| 24-megapixel photo | result | s | peak memory (GiB) |\n|---|---|---|---|", flush=True)
    for name in CASES:
        command = [sys.executable, "-m", "benchmarks.images", "--case", name]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    compare_tiles()


if __name__ == "__main__":
    main()
