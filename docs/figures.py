"""Draws the figures of README and the guides, from photos that scikit-image and matplotlib come with.

python -m docs.figures  # or: make figures

Anyone may use and show these photos: the portraits are NASA's and the US Navy's, the others are CC0.
"""

import tempfile
from pathlib import Path

from matplotlib import cbook
from PIL import Image
from skimage import data

from docs import architecture
from textir_hf import TextIRPipeline, open_image, save_image, sweep
from textir_hf.cli.demo import demo
from textir_hf.imaging.grid import draw_grid

HERE = Path(__file__).parent
_FACE = (153, 42, 291, 180)  # the astronaut's face and hair
_MASK = (0, 0, 128, 74)  # hair and eyes
_CELL = 160
_GRAY = (128, 128, 128)


def astronaut() -> Image.Image:
    """A portrait, 128x128."""
    return Image.fromarray(data.astronaut()).crop(_FACE).resize((128, 128), Image.Resampling.LANCZOS)


def cup() -> Image.Image:
    """A cup of coffee, 240x240."""
    photo = Image.fromarray(data.coffee())
    return photo.crop((100, 0, 500, 400)).resize((240, 240), Image.Resampling.LANCZOS)


def group_photo() -> Image.Image:
    """Two portraits beside each other, 640x320."""
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        hopper = open_image(file.read()).crop((90, 30, 430, 370)).resize((320, 320), Image.Resampling.LANCZOS)
    portrait = Image.fromarray(data.astronaut()).crop((113, 10, 333, 230)).resize((320, 320), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (640, 320))
    canvas.paste(portrait, (0, 0))
    canvas.paste(hopper, (320, 0))
    return canvas


def draw_tasks() -> Image.Image:
    """The three tasks, each under two prompts."""
    face, color = astronaut(), cup()
    mask = Image.new("L", face.size)
    mask.paste(255, _MASK)
    masked = face.copy()
    masked.paste(_GRAY, _MASK)
    small, gray = face.resize((8, 8), Image.Resampling.BICUBIC), color.convert("L")
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
    photo = group_photo()
    small = photo.resize((photo.width // 8, photo.height // 8), Image.Resampling.BICUBIC)
    pipe, prompts = _load("super-resolution"), ["a smiling woman", "a serious woman with glasses"]
    faces = {"faces": "all", "face_prompts": prompts, "background": "restored"}
    restored = pipe("a woman", small, scale=8, **faces).images[0]
    label = " and ".join(f"“{prompt}”" for prompt in prompts)
    return draw_grid([[(f"{small.width}x{small.height} pixels", small), (label, restored)]], 384)


def draw_beta() -> Image.Image:
    """Two prompts against the share of the text: Figure 7 of the paper."""
    prompts = ["a red cup of coffee", "a blue cup of coffee"]
    return sweep(_load("colorization"), cup(), prompts, betas=(0, 0.25, 0.5, 0.75, 1, 1.5), cell=128)


def draw_strength() -> Image.Image:
    """The factor against the skip strength: Figure 8 of the paper."""
    axes = {"skip_strengths": (None, 0, 0.25, 0.5, 0.75, 1), "factors": (8, 16)}
    return sweep(_load("super-resolution"), astronaut(), ["a man with black hair"], **axes, cell=128)


def _load(task: str) -> TextIRPipeline:
    pipe = TextIRPipeline.from_pretrained(f"textir-mini-{task}")
    pipe.set_progress_bar_config(disable=True)
    return pipe


FIGURES = {"tasks": draw_tasks, "faces": draw_faces, "beta": draw_beta, "skip_strength": draw_strength}


def main() -> None:
    for name, draw in FIGURES.items():
        _save(draw(), name)
    with tempfile.TemporaryDirectory() as folder:
        grid = open_image(demo(Path(folder)))
    _save(grid.resize((grid.width // 2, grid.height // 2), Image.Resampling.LANCZOS), "demo")
    architecture.PATH.write_text(architecture.draw(), encoding="utf-8")


def _save(image: Image.Image, name: str) -> None:
    path = HERE / "images" / f"{name}.jpg"
    path.parent.mkdir(exist_ok=True)
    save_image(image, path)
    print(f"{path.name}: {image.width}x{image.height}, {path.stat().st_size / 1e3:.0f} KB")


if __name__ == "__main__":
    main()
