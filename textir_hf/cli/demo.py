"""The demonstration: sample photos are damaged and restored under several prompts, on one labeled grid."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageOps
from skimage import data
from tqdm import tqdm

from textir_hf.cli.checkpoints import load_pipeline
from textir_hf.cli.jobs import check_folder
from textir_hf.imaging.files import save_image
from textir_hf.imaging.grid import Cell, draw_grid
from textir_hf.tasks import TASKS

_SIDE = 128  # of the portrait
_INPAINT = (  # what is masked, in shares of the side
    ("mouth", (0.28, 0.56, 0.72, 0.92), "a smiling woman, a serious woman, a man"),
    ("upper half", (0, 0, 1, 0.58), "a woman with brown hair, a man with brown hair, an old man"),
    ("right half", (0.5, 0, 1, 1), "a smiling young woman, a man with brown hair, a woman with blond hair"),
)
_SMILES = "a smiling woman, a serious woman, a man"
_UPSCALE = ((4, _SMILES), (8, _SMILES), (16, "a woman with blond hair, a man with black hair, an old man"))
_COLORIZE = (
    (data.coffee, "a red cup, a blue cup, a green cup"),
    (data.chelsea, "an orange cat, a brown cat, a gray cat"),
    (data.astronaut, "a woman in an orange jacket, a woman in a blue jacket, a woman in a red jacket"),
)
Row = tuple[Image.Image, Cell, dict, str]  # original, damaged, arguments of the pipeline, prompts


def add_arguments(command: argparse.ArgumentParser, name: str) -> None:
    command.set_defaults(run=_demo)
    command.add_argument("-o", "--output", type=Path, default="textir_demo", help="folder for the grid (%(default)s)")


def _demo(args: argparse.Namespace) -> int:
    check_folder(args.output)
    args.output.mkdir(parents=True, exist_ok=True)
    save_image(demo(), args.output / "demo.png")
    print(f"Grid: {args.output / 'demo.png'}")
    return 0


def demo() -> Image.Image:
    """Sample images restored with the embedded checkpoints, on one grid."""
    return draw_grid([row for task in tqdm(DAMAGED, "demo", delay=2) for row in restored_rows(task)])


def restored_rows(task: str) -> list[list[Cell]]:
    """A task's rows of the grid: a photo, the damaged photo, and three results."""
    pipe = load_pipeline(None, TASKS[task])
    pipe.set_progress_bar_config(disable=True)
    return [
        [("original", original), damaged, *((f"“{p}”", pipe(p, **arguments)[0][0]) for p in prompts.split(", "))]
        for original, damaged, arguments, prompts in DAMAGED[task]()
    ]


def _photo(pixels, side: int) -> Image.Image:
    return ImageOps.fit(Image.fromarray(pixels), (side, side), Image.Resampling.LANCZOS)


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


DAMAGED = {"inpainting": _inpaint, "super-resolution": _upscale, "colorization": _colorize}
