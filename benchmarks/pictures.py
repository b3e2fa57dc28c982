"""Memory and time of 24-megapixel pictures, and what tiles change.

    python -m benchmarks.pictures

Each case runs in a process of its own, whose peak memory (with Python, PyTorch and the networks) is taken.
"""

import argparse
import resource
import subprocess
import sys
import time

import numpy as np
from PIL import Image
from skimage import data

from textir_hf import TextIRPipeline

WIDTH, HEIGHT = 6000, 4000
CASES = {
    "inpainting": "three holes, one at the border",
    "colorization": "all of it",
    "super-resolution": "enlarged 2x to 24 megapixels",
    "super-resolution-large": "enlarged 2x to 96 megapixels",
}


def case(name: str) -> None:
    """Restores a picture of 24 megapixels and prints a row of the table."""
    image = Image.fromarray(data.coffee()).resize((WIDTH, HEIGHT), Image.BICUBIC)
    pipe = TextIRPipeline.from_pretrained(f"textir-mini-{name.removesuffix('-large')}")
    options = {}
    if name == "inpainting":
        options["mask_image"] = Image.new("L", image.size)
        for box in ((1000, 1000, 2200, 1900), (4000, 3000, 4200, 3300), (5900, 0, 6000, 100)):
            options["mask_image"].paste(255, box)
    if name.startswith("super-resolution"):
        options["scale"] = 2
        image = image if name.endswith("large") else image.resize((WIDTH // 2, HEIGHT // 2))
    start = time.perf_counter()
    result = pipe("a cup of coffee", image, **options).images[0]
    seconds, peak = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    task = name.removesuffix("-large")
    print(f"| {task}, {CASES[name]} | {result.width}x{result.height} | {seconds:.1f} | {peak:.2f} |")


def seam() -> None:
    """What a picture in tiles differs from the same picture whole, in levels of 255."""
    pipe = TextIRPipeline.from_pretrained("textir-mini-super-resolution")
    pipe.set_progress_bar_config(disable=True)
    image = Image.fromarray(data.astronaut()).resize((192, 192), Image.LANCZOS)
    whole, tiled = (np.asarray(pipe("a photo", image, scale=4, tile=t).images[0]).astype(int) for t in (768, 256))
    difference = np.abs(whole - tiled)
    print(f"\ntiles of 256 against the whole of 768 pixels: {difference.mean():.2f}/255 on average, ", end="")
    print(f"{np.percentile(difference, 99.9):.0f}/255 at the 99.9th percentile")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        return case(args.case)
    print("| 24-megapixel photo | result | s | peak memory (GiB) |\n|---|---|---|---|", flush=True)
    for name in CASES:
        subprocess.run(
            [sys.executable, "-m", "benchmarks.pictures", "--case", name], check=True, stderr=subprocess.DEVNULL
        )
    seam()


if __name__ == "__main__":
    main()
