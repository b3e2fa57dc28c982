"""Draws the figures of README, guides and cards, from photos that may be shown and a drawn cup.

python -m docs.figures          # or: make figures
python -m docs.figures --check  # fails if a figure is not what the embedded checkpoints draw

scikit-image and matplotlib contain most photos: the portraits are NASA's and the US Navy's, the others are CC0.
`docs/portraits` has one more, under CC BY.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from matplotlib import cbook
from PIL import Image
from skimage import data

from docs import samples
from textir_hf import TextIRPipeline, open_image, save_image, sweep
from textir_hf.cli.demo import DAMAGED, demo, restored_rows
from textir_hf.imaging.grid import draw_grid
from textir_hf.space.examples import EXAMPLES

ROOT = Path(__file__).parent.parent
_CELL = 160
_DIFFERENCE = 8  # mean levels of 255 by which processors and JPEG may differ in a square of 32 pixels


def _square(pixels: np.ndarray, box: tuple[int, int, int, int], side: int) -> Image.Image:
    return Image.fromarray(pixels).crop(box).resize((side, side), Image.Resampling.LANCZOS)


def astronaut() -> Image.Image:
    return _square(data.astronaut(), (153, 42, 291, 180), 128)


def cup() -> Image.Image:
    return _square(data.coffee(), (100, 0, 500, 400), 240)


def draw_tasks() -> Image.Image:
    """The three tasks, each under two prompts."""
    face, box = astronaut(), (0, 0, 128, 74)  # hair and eyes
    mask, masked = Image.new("L", face.size), face.copy()
    mask.paste(255, box)
    masked.paste((128, 128, 128), box)
    small, gray = face.resize((8, 8), Image.Resampling.BICUBIC), cup().convert("L")
    inpainting = {"mask_image": mask, "faces": "auto"}
    cases = (
        ("inpainting", ("masked", masked), ("a woman with brown hair", "a man with brown hair"), face, inpainting),
        ("super-resolution", ("8x8 pixels", small), ("a smiling woman", "an old man"), small, {"scale": 16}),
        ("colorization", ("gray", gray), ("a red cup", "a blue cup"), gray, {}),
    )
    rows = []
    for task, cell, prompts, image, arguments in cases:
        pipe = _load(task)
        rows.append([cell, *((f"“{p}”", pipe(p, image, **arguments).images[0]) for p in prompts)])
    return draw_grid(rows, _CELL)


def draw_faces() -> Image.Image:
    """A group photo shrunk 8 times, and restored with a prompt for each face."""
    photo = Image.new("RGB", (640, 320))
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        hopper = np.asarray(open_image(file.read()))
    photo.paste(_square(data.astronaut(), (113, 10, 333, 230), 320), (0, 0))
    photo.paste(_square(hopper, (90, 30, 430, 370), 320), (320, 0))
    small = photo.resize((photo.width // 8, photo.height // 8), Image.Resampling.BICUBIC)
    prompts = ["a smiling woman", "a serious woman with glasses"]
    faces = {"faces": "all", "face_prompts": prompts, "background": "restored"}
    restored = _load("super-resolution")("a woman", small, scale=8, **faces).images[0]
    label = " and ".join(f"“{prompt}”" for prompt in prompts)
    return draw_grid([[(f"{small.width}x{small.height} pixels", small), (label, restored)]], 384)


def draw_refiner() -> Image.Image:
    """A portrait's eyes filled, without and with a refiner."""
    pipe, refiner, prompt = _load("inpainting"), _load("super-resolution"), "a young woman"
    photo = open_image(ROOT / "docs" / "portraits" / "002.jpg")
    mask, masked = Image.new("L", photo.size), photo.copy()
    mask.paste(255, (108, 135, 278, 208))
    masked.paste((128, 128, 128), mask=mask)
    row = [(f"masked, “{prompt}”", masked)]
    for label, network in (("filled", None), ("with a refiner", refiner)):
        row.append((label, pipe(prompt, photo, mask_image=mask, faces="auto", refiner=network).images[0]))
    return draw_grid([row], 320)


def draw_beta() -> Image.Image:
    """Two prompts against the share of the text: Figure 7 of the paper."""
    prompts = ["a red cup of coffee", "a blue cup of coffee"]
    return sweep(_load("colorization"), cup(), prompts, betas=(0, 0.25, 0.5, 0.75, 1, 1.5), cell=128)


def draw_regions() -> Image.Image:
    """A gray image under one prompt, and with a prompt for each of its parts."""
    example = next(example for example in EXAMPLES if example.regions)
    gray, pipe = samples.draw_input(example), _load("colorization")
    regions = [(samples.polygon(example.side, corners), prompt) for corners, prompt in example.regions]
    marked = gray.convert("RGB")
    for color, (mask, _) in zip(((230, 160, 20), (50, 120, 230)), regions, strict=True):
        marked.paste(Image.blend(gray.convert("RGB"), Image.new("RGB", gray.size, color), 0.5), mask=mask)
    one = "a red cup on a brown table under a gray wall"
    row = [("gray", gray), (f"“{one}”", pipe(one, gray).images[0])]
    row.append((" and ".join(f"“{prompt}”" for _, prompt in regions), marked))
    row.append((f"around them “{example.prompt}”", pipe(example.prompt, gray, regions=regions).images[0]))
    return draw_grid([row], 240)


def draw_skip_strength() -> Image.Image:
    """The factor against the skip strength: Figure 8 of the paper."""
    axes = {"skip_strengths": (None, 0, 0.25, 0.5, 0.75, 1), "factors": (8, 16)}
    return sweep(_load("super-resolution"), astronaut(), ["a man with black hair"], **axes, cell=128)


def draw_demo() -> Image.Image:
    """The grid of `textir demo` at half its size."""
    return demo().convert("RGB").reduce(2)


def _load(task: str) -> TextIRPipeline:
    pipe = TextIRPipeline.from_pretrained(f"textir-mini-{task}")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def figures() -> dict[Path, Image.Image]:
    """All figures by their files."""
    drawn = (draw_tasks, draw_faces, draw_refiner, draw_beta, draw_regions, draw_skip_strength, draw_demo)
    found = {ROOT / "docs" / "images" / f"{draw.__name__[5:]}.jpg": draw() for draw in drawn}
    samples = ROOT / "model_cards" / "samples"
    return found | {samples / f"textir-mini-{task}.jpg": draw_grid(restored_rows(task), 144) for task in DAMAGED}


def is_fresh(path: Path, image: Image.Image) -> bool:
    """Whether a file shows an image, apart from small differences."""
    if not path.is_file():
        return False
    known = open_image(path)
    if known.size != image.size:
        return False
    difference = np.abs(np.asarray(known, np.float32) - np.asarray(image.convert("RGB"), np.float32)).mean(-1)
    return np.asarray(Image.fromarray(difference).reduce(32)).max() < _DIFFERENCE  # one of many pictures counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a figure is stale")
    check = parser.parse_args().check
    stale = {path: image for path, image in figures().items() if not is_fresh(path, image)}
    if check and stale:
        sys.exit(f"error: {', '.join(path.name for path in stale)} must be drawn again. Run: make figures")
    for path, image in stale.items():
        save_image(image, path)
        print(path.name)


if __name__ == "__main__":
    main()
