"""Faces in photos of five kinds: what finding and restoring them costs, in time and memory.

    python -m benchmarks.faces
    python -m benchmarks.faces --save FOLDER  # writes photos and results, to look at

Each case runs in a process of its own, whose peak memory (with Python, PyTorch and the networks) is taken.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import cbook
from PIL import Image, ImageDraw
from skimage import data

from textir_hf import TextIRPipeline
from textir_hf.pipeline.faces import find_faces

_SIDE = 320  # of a portrait


def one() -> Image.Image:
    """A photo in which a face fills a third of the height."""
    return Image.fromarray(data.astronaut()).crop((73, 0, 373, 300)).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)


def several() -> Image.Image:
    """Four portraits of two people, in two rows."""
    with Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)) as photo:
        other = photo.convert("RGB").crop((90, 30, 430, 370)).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (2 * _SIDE, 2 * _SIDE), "gray")
    for i in range(4):
        canvas.paste(one() if i in (0, 3) else other, (i % 2 * _SIDE, i // 2 * _SIDE))
    return canvas


def rotated() -> Image.Image:
    """A portrait turned by 30 degrees."""
    return one().rotate(30, Image.Resampling.BICUBIC, expand=True, fillcolor="gray")


def large() -> Image.Image:
    """24 megapixels, in which the four portraits fill little."""
    photo = Image.fromarray(data.coffee()).resize((6000, 4000), Image.Resampling.BICUBIC)
    photo.paste(several(), (4000, 2500))
    return photo


def none() -> Image.Image:
    """A cup of coffee."""
    return Image.fromarray(data.coffee())


PHOTOS: dict[str, Callable[[], Image.Image]] = {
    "one face": one,
    "four faces": several,
    "one face, turned by 30°": rotated,
    "four faces in 24 megapixels": large,
    "no face": none,
}
TASKS = ("upscale", "inpaint")
COLUMNS = (
    "task, photo",
    "result",
    "faces",
    "finding, CPU s",
    "s",
    "CPU s",
    "without `faces`, s",
    "CPU s",
    "times, CPU",
    "peak memory (GiB)",
)


class Measured(NamedTuple):
    """What a step took.

    Args:
        result: What it gave.
        seconds: By the clock.
        cpu: Of all cores together, s.
    """

    result: object
    seconds: float
    cpu: float


def timed(step: Callable[[], object]) -> Measured:
    """Does a step and measures it."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = step()
    return Measured(result, time.perf_counter() - wall, time.process_time() - cpu)


def arguments(task: str, photo: Image.Image) -> tuple[str, dict]:
    """The checkpoint, and the arguments of its call.

    Args:
        task: One of `TASKS`. To upscale, the photo is first shrunk 8 times, or 24 megapixels 4 times; to inpaint, the
            mouths are masked, or where there is no face, the middle.
        photo: The photo.
    """
    if task == "upscale":
        scale = 4 if photo.width > 3000 else 8
        return "textir-mini-super-resolution", {"image": photo.reduce(scale), "scale": scale}
    mask, faces = Image.new("L", photo.size), find_faces(np.asarray(photo))
    for face in faces:
        (x, y), width = face.landmarks[3:].mean(0), np.linalg.norm(face.landmarks[0] - face.landmarks[1])
        ImageDraw.Draw(mask).ellipse((x - 0.6 * width, y - 0.4 * width, x + 0.6 * width, y + 0.4 * width), fill=255)
    if not faces:
        mask.paste(255, tuple(round(share * side) for share in (0.4, 0.6) for side in photo.size))
    return "textir-mini-inpainting", {"image": photo, "mask_image": mask}


def measure(task: str, kind: str, folder: Path | None) -> None:
    """Restores a photo with and without `faces`, and prints a row of the table."""
    checkpoint, given = arguments(task, PHOTOS[kind]())
    pipe, prompt = TextIRPipeline.from_pretrained(checkpoint), "a smiling woman"
    pipe.set_progress_bar_config(disable=True)
    find_faces(np.zeros((64, 64, 3), np.uint8))  # loads the detector
    found = timed(lambda: find_faces(np.asarray(given["image"])))
    faces = timed(lambda: pipe(prompt, faces="auto", **given).images[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    whole = timed(lambda: pipe(prompt, **given).images[0])
    result, number = faces.result, faces.result.info["textir"]["faces_found"]
    cells = [f"{task}, {kind}", f"{result.width}x{result.height}", number]
    cells += [f"{value:.2f}" for value in (found.cpu, faces.seconds, faces.cpu, whole.seconds, whole.cpu)]
    print(f"| {' | '.join(map(str, cells))} | {faces.cpu / whole.cpu:.2g} | {peak:.2f} |")
    if folder is not None:
        name = f"{task}, {kind}".replace(", ", "-").replace(" ", "_")
        given["image"].save(folder / f"{name}-photo.png")
        result.save(folder / f"{name}-faces.png")
        whole.result.save(folder / f"{name}-whole.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", type=Path, help="folder for photos and results")
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        return measure(*args.case, args.save)
    if args.save is not None:
        args.save.mkdir(parents=True, exist_ok=True)
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|", flush=True)
    for task in TASKS:
        for kind in PHOTOS:
            command = [sys.executable, "-m", "benchmarks.faces", "--case", task, kind]
            command += [] if args.save is None else ["--save", str(args.save)]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
