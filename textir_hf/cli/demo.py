"""The demonstration: sample photos damaged, restored towards several sentences, on one labeled grid."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from tqdm import tqdm

from textir_hf.cli.checkpoints import load_pipeline
from textir_hf.imaging.files import save_image
from textir_hf.imaging.grid import Cell, draw_grid

if TYPE_CHECKING:
    from textir_hf.pipeline.pipeline import TextIRPipeline

_FACE = (153, 42, 291, 180)  # the astronaut's face and hair
_INPAINT = (
    ("mouth", (36, 72, 92, 118), ("a smiling woman", "a serious woman", "a man")),
    ("upper half", (0, 0, 128, 74), ("a woman with brown hair", "a man with brown hair", "an old man")),
    ("right half", (64, 0, 128, 128), ("a smiling young woman", "a man with brown hair", "a woman with blond hair")),
)
_UPSCALE = (
    (4, ("a smiling woman", "a serious woman", "a man")),
    (8, ("a smiling woman", "a serious woman", "a man")),
    (16, ("a woman with blond hair", "a man with black hair", "an old man")),
)
_COLORIZE = (
    ("coffee", ("a red cup", "a blue cup", "a green cup")),
    ("chelsea", ("an orange cat", "a brown cat", "a gray cat")),
    ("astronaut", ("a woman in an orange jacket", "a woman in a blue jacket", "a woman in a red jacket")),
)


def demo(output: Path) -> Path:
    """Restores sample images with the three embedded checkpoints.

    Args:
        output: Folder for the grid; made if it is missing.

    Returns:
        Path of the grid, a PNG.

    Raises:
        ValueError: `output` is a file.
    """
    if output.exists() and not output.is_dir():
        raise ValueError(f"The output {output} must be a folder, but it is a file.")
    output.mkdir(parents=True, exist_ok=True)
    rows: list[list[Cell]] = []
    with tqdm(total=sum(len(p) for *_, p in (*_INPAINT, *_UPSCALE, *_COLORIZE)), desc="demo", delay=2) as bar:
        for checkpoint in DAMAGED:
            rows += restored_rows(checkpoint, bar.update)
    path = output / "demo.png"
    save_image(draw_grid(rows), path)
    return path


def restored_rows(checkpoint: str, advance: Callable[[], object] = lambda: None) -> list[list[Cell]]:
    """An embedded checkpoint's rows of the grid: a photo, the damaged photo, and three results.

    Args:
        checkpoint: One of `DAMAGED`.
        advance: Called after each result.
    """
    rows = []
    for row, prompts, pipe, arguments in DAMAGED[checkpoint](_load(checkpoint)):
        for prompt in prompts:
            row.append((f"“{prompt}”", pipe(prompt, **arguments)[0][0]))
            advance()
        rows.append(row)
    return rows


Row = tuple[list[Cell], tuple[str, ...], "TextIRPipeline", dict]  # its first cells, and what makes the others


def _load(checkpoint: str) -> "TextIRPipeline":
    pipe = load_pipeline(checkpoint)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _portrait() -> Image.Image:
    from skimage import data

    return Image.fromarray(data.astronaut()).crop(_FACE).resize((128, 128), Image.Resampling.LANCZOS)


def _inpaint(pipe: "TextIRPipeline") -> Iterator[Row]:
    face = _portrait()
    for name, box, prompts in _INPAINT:
        mask = Image.new("L", face.size)
        mask.paste(255, box)
        masked = face.copy()
        masked.paste((128, 128, 128), box)
        arguments = {"image": face, "mask_image": mask, "faces": "auto"}
        yield [("original", face), (f"masked: {name}", masked)], prompts, pipe, arguments


def _upscale(pipe: "TextIRPipeline") -> Iterator[Row]:
    face = _portrait()
    for scale, prompts in _UPSCALE:
        small = face.resize((face.width // scale, face.height // scale), Image.Resampling.BICUBIC)
        label = f"{small.width}x{small.height} pixels"
        shown = small.resize(face.size, Image.Resampling.NEAREST)
        yield [("original", face), (label, shown)], prompts, pipe, {"image": small, "scale": scale} | _faces(scale)


def _faces(scale: int) -> dict:
    """Faces are aligned where they are large enough to be found."""
    return {"faces": "auto", "background": "restored"} if scale == 4 else {}


def _colorize(pipe: "TextIRPipeline") -> Iterator[Row]:
    from skimage import data

    for name, prompts in _COLORIZE:
        photo = np.asarray(getattr(data, name)())
        side = min(photo.shape[:2])
        top, left = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
        square = Image.fromarray(photo[top : top + side, left : left + side])
        square = square.resize((256, 256), Image.Resampling.LANCZOS)
        gray = square.convert("L")
        yield [("original", square), ("gray", gray.convert("RGB"))], prompts, pipe, {"image": gray}


DAMAGED = {
    "textir-mini-inpainting": _inpaint,
    "textir-mini-super-resolution": _upscale,
    "textir-mini-colorization": _colorize,
}
