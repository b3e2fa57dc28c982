"""Draws the samples of the embedded checkpoints' cards, from photos that anyone may use and show.

python -m model_cards.samples  # or: make samples
"""

from pathlib import Path

from PIL import Image
from skimage import data

from docs.figures import astronaut, cup
from textir_hf import TextIRPipeline, save_image
from textir_hf.imaging.grid import Cell, draw_grid

SAMPLES = Path(__file__).parent / "samples"
_CELL = 144
_GRAY = (128, 128, 128)
_MASKS = {  # of the portrait, 128x128: left, top, right, bottom
    "mouth": (35, 72, 92, 118),
    "upper half": (0, 0, 128, 74),
    "right half": (64, 0, 128, 128),
}


def draw_inpainting() -> Image.Image:
    """A portrait with three masks, each under three prompts."""
    prompts = {
        "mouth": ("a smiling woman", "a serious woman", "a man"),
        "upper half": ("a woman with brown hair", "a man with brown hair", "an old man"),
        "right half": ("a smiling young woman", "a man with brown hair", "a woman with blond hair"),
    }
    face, rows = astronaut(), []
    for name, box in _MASKS.items():
        mask, masked = Image.new("L", face.size), face.copy()
        mask.paste(255, box)
        masked.paste(_GRAY, box)
        arguments = {"image": face, "mask_image": mask, "faces": "auto"}
        rows.append(_row("inpainting", face, (f"masked: {name}", masked), prompts[name], arguments))
    return draw_grid(rows, _CELL)


def draw_super_resolution() -> Image.Image:
    """A portrait shrunk 4, 8 and 16 times, each restored under three prompts."""
    prompts = {
        4: ("a smiling woman", "a serious woman", "a man"),
        8: ("a smiling woman", "a serious woman", "a man"),
        16: ("a woman with blond hair", "a man with black hair", "an old man"),
    }
    face, rows = astronaut(), []
    for scale, sentences in prompts.items():
        small = face.resize((face.width // scale, face.height // scale), Image.Resampling.BICUBIC)
        damaged, arguments = (f"{small.width}x{small.height} pixels", small), {"image": small, "scale": scale}
        if scale == 4:  # the face is large enough to be aligned
            arguments |= {"faces": "auto", "background": "restored"}
        rows.append(_row("super-resolution", face, damaged, sentences, arguments))
    return draw_grid(rows, _CELL)


def draw_colorization() -> Image.Image:
    """A cup, a cat and an astronaut in gray, each under three prompts."""
    jackets = tuple(f"a woman in {color} jacket" for color in ("an orange", "a blue", "a red"))
    photos = (
        (cup(), ("a red cup", "a blue cup", "a green cup")),
        (_square(data.chelsea(), (60, 0, 360, 300)), ("an orange cat", "a brown cat", "a gray cat")),
        (_square(data.astronaut(), (0, 0, 512, 512)), jackets),
    )
    rows = []
    for photo, prompts in photos:
        gray = photo.convert("L")
        rows.append(_row("colorization", photo, ("gray", gray), prompts, {"image": gray}))
    return draw_grid(rows, _CELL)


SHEETS = {
    "inpainting": draw_inpainting,
    "super-resolution": draw_super_resolution,
    "colorization": draw_colorization,
}


def _row(task: str, original: Image.Image, damaged: Cell, prompts: tuple[str, ...], arguments: dict) -> list[Cell]:
    pipe = TextIRPipeline.from_pretrained(f"textir-mini-{task}")
    pipe.set_progress_bar_config(disable=True)
    results = [(f"“{prompt}”", pipe(prompt, **arguments).images[0]) for prompt in prompts]
    return [("original", original), damaged, *results]


def _square(pixels, box: tuple[int, int, int, int]) -> Image.Image:
    return Image.fromarray(pixels).crop(box).resize((256, 256), Image.Resampling.LANCZOS)


def main() -> None:
    """Writes a sheet of samples for each checkpoint."""
    for task, draw in SHEETS.items():
        path = SAMPLES / f"textir-mini-{task}.jpg"
        save_image(draw(), path)
        print(path.name)


if __name__ == "__main__":
    main()
