"""The demonstration: sample photos are damaged and restored under several prompts, on one labeled grid."""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image
from skimage import data
from tqdm import tqdm

from textir_hf.cli.checkpoints import load_pipeline
from textir_hf.cli.jobs import check_folder
from textir_hf.imaging.files import save_image
from textir_hf.imaging.grid import Cell, draw_grid
from textir_hf.tasks import TASKS
from textir_hf.tasks.base import Task

_SIDE = 128  # of the portrait
_INPAINT = (  # what is masked, in shares of the side
    ("mouth", (0.28, 0.56, 0.72, 0.92), "a smiling woman, a serious woman, a man"),
    ("upper half", (0, 0, 1, 0.58), "a woman with brown hair, a man with brown hair, an old man"),
    ("right half", (0.5, 0, 1, 1), "a smiling young woman, a man with brown hair, a woman with blond hair"),
)
_UPSCALE = (
    (4, "a smiling woman, a serious woman, a man"),
    (8, "a smiling woman, a serious woman, a man"),
    (16, "a woman with blond hair, a man with black hair, an old man"),
)
_COLORIZE = (
    (data.coffee, "a red cup, a blue cup, a green cup"),
    (data.chelsea, "an orange cat, a brown cat, a gray cat"),
    (data.astronaut, "a woman in an orange jacket, a woman in a blue jacket, a woman in a red jacket"),
)
Row = tuple[Image.Image, Cell, dict, str]  # original, damaged, arguments of the pipeline, prompts


def add_arguments(command: argparse.ArgumentParser, name: str) -> None:
    command.set_defaults(run=_demo)
    text = "folder for the grid (%(default)s)"
    command.add_argument("-o", "--output", type=Path, default=Path("textir_demo"), help=text)


def _demo(args: argparse.Namespace) -> int:
    check_folder(args.output)
    args.output.mkdir(parents=True, exist_ok=True)
    save_image(demo(), args.output / "demo.png")
    print(f"Grid: {args.output / 'demo.png'}")
    return 0


def demo() -> Image.Image:
    """Sample images restored with the embedded checkpoints, on one grid."""
    return draw_grid([row for checkpoint in tqdm(DAMAGED, "demo", delay=2) for row in restored_rows(checkpoint)])


def restored_rows(checkpoint: str) -> list[list[Cell]]:
    """An embedded checkpoint's rows of the grid: a photo, the damaged photo, and three results."""
    task, rows = DAMAGED[checkpoint]
    pipe = load_pipeline(checkpoint, task)
    pipe.set_progress_bar_config(disable=True)
    return [
        [("original", original), damaged, *((f"“{p}”", pipe(p, **arguments)[0][0]) for p in prompts.split(", "))]
        for original, damaged, arguments, prompts in rows()
    ]


def _photo(pixels, side: int) -> Image.Image:
    photo = Image.fromarray(pixels)
    half, x, y = min(photo.size) / 2, photo.width / 2, photo.height / 2
    return photo.resize((side, side), Image.Resampling.LANCZOS, box=(x - half, y - half, x + half, y + half))


def _inpaint() -> Iterator[Row]:
    face = _photo(data.astronaut()[42:180, 153:291], _SIDE)
    for name, shares, prompts in _INPAINT:
        left, top, right, bottom = (round(share * _SIDE) for share in shares)
        mask, masked = Image.new("L", face.size), face.copy()
        mask.paste(255, (left, top, right, bottom))
        masked.paste((128, 128, 128), (left, top, right, bottom))
        yield face, (f"masked: {name}", masked), {"image": face, "mask_image": mask, "faces": "auto"}, prompts


def _upscale() -> Iterator[Row]:
    for scale, prompts in _UPSCALE:
        found = scale < 16  # smaller faces are not, so that image must show the face as the network learned it
        top, bottom, left, right = (10, 230, 113, 333) if found else (40, 161, 163, 284)
        face = _photo(data.astronaut()[top:bottom, left:right], 256)
        small = face.resize((256 // scale, 256 // scale), Image.Resampling.BICUBIC)
        shown = small.resize(face.size, Image.Resampling.NEAREST)
        faces = {"faces": "auto", "background": "restored"} if found else {}
        label = f"{small.width}x{small.height} pixels"
        yield face, (label, shown), {"image": small, "scale": scale} | faces, prompts


def _colorize() -> Iterator[Row]:
    for make, prompts in _COLORIZE:
        photo = _photo(make(), 256)
        gray = photo.convert("L")
        yield photo, ("gray", gray.convert("RGB")), {"image": gray}, prompts


DAMAGED: dict[str, tuple[Task, Callable[[], Iterator[Row]]]] = {
    "textir-mini-inpainting": (TASKS["inpainting"], _inpaint),
    "textir-mini-super-resolution": (TASKS["super-resolution"], _upscale),
    "textir-mini-colorization": (TASKS["colorization"], _colorize),
}
