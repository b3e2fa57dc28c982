"""The demonstration: sample photos damaged, restored towards several sentences, on one labeled sheet."""

from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data
from tqdm import tqdm

from textir_hf.imaging.files import save_image
from textir_hf.imaging.grid import draw_grid
from textir_hf.pipeline.pipeline import TextIRPipeline

_FACE = (153, 42, 291, 180)  # the astronaut's face and hair
_FILL = (
    ("mouth", (36, 72, 92, 118), ("a smiling woman", "a serious woman", "a man")),
    ("upper half", (0, 0, 128, 74), ("a woman with bangs", "a man with black hair", "an old man")),
    ("right half", (64, 0, 128, 128), ("a smiling young woman", "a man with black hair", "an old man with gray hair")),
)
_ENLARGE = (
    (4, ("a smiling woman", "a serious woman", "a man")),
    (8, ("a smiling woman", "a serious woman", "a man")),
    (16, ("a woman with blond hair", "a man with black hair", "an old man")),
)
_COLOR = (
    ("coffee", ("a red cup", "a blue cup", "a green cup")),
    ("chelsea", ("an orange cat", "a brown cat", "a gray cat")),
    ("rocket", ("a rocket in a blue sky", "a rocket at sunset", "a rocket in a red sky")),
)


def demo(output: Path) -> Path:
    """Restores sample pictures with the three embedded checkpoints.

    Args:
        output: Folder for the sheet; made if it is missing.

    Returns:
        Path of the sheet, a PNG.

    Raises:
        ValueError: `output` is a file.
    """
    if output.exists() and not output.is_dir():
        raise ValueError(f"The output {output} must be a folder, but it is a file.")
    output.mkdir(parents=True, exist_ok=True)
    face = Image.fromarray(data.astronaut()).crop(_FACE).resize((128, 128), Image.LANCZOS)
    rows = []
    with tqdm(total=sum(len(p) for *_, p in (*_FILL, *_ENLARGE, *_COLOR)), desc="demo") as bar:
        for fill in (_fill, _enlarge, _color):
            rows += fill(face, bar)
    path = output / "demo.png"
    save_image(draw_grid(rows), path)
    return path


def _load(task: str) -> TextIRPipeline:
    pipe = TextIRPipeline.from_pretrained(f"textir-mini-{task}")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _restored(pipe: TextIRPipeline, prompts, bar, **arguments) -> list[tuple[str, Image.Image]]:
    results = []
    for prompt in prompts:
        results.append((f"“{prompt}”", pipe(prompt, **arguments).images[0]))
        bar.update()
    return results


def _fill(face: Image.Image, bar) -> list[list[tuple[str, Image.Image]]]:
    pipe, rows = _load("inpainting"), []
    for name, box, prompts in _FILL:
        mask = Image.new("L", face.size)
        mask.paste(255, box)
        shown = face.copy()
        shown.paste((128, 128, 128), box)
        rows.append(
            [("original", face), (f"hole: {name}", shown), *_restored(pipe, prompts, bar, image=face, mask_image=mask)]
        )
    return rows


def _enlarge(face: Image.Image, bar) -> list[list[tuple[str, Image.Image]]]:
    pipe, rows = _load("super-resolution"), []
    for scale, prompts in _ENLARGE:
        small = face.resize((face.width // scale, face.height // scale), Image.BICUBIC)
        shown = small.resize(face.size, Image.NEAREST)
        rows.append(
            [
                ("original", face),
                (f"{small.width}x{small.height} pixels", shown),
                *_restored(pipe, prompts, bar, image=small, scale=scale),
            ]
        )
    return rows


def _color(_: Image.Image, bar) -> list[list[tuple[str, Image.Image]]]:
    pipe, rows = _load("colorization"), []
    for name, prompts in _COLOR:
        photo = np.asarray(getattr(data, name)())
        side = min(photo.shape[:2])
        top, left = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
        photo = Image.fromarray(photo[top : top + side, left : left + side]).resize((256, 256), Image.LANCZOS)
        gray = photo.convert("L")
        rows.append([("original", photo), ("gray", gray.convert("RGB")), *_restored(pipe, prompts, bar, image=gray)])
    return rows
