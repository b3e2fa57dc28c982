"""Draws the examples that the page opens with, from photos that scikit-image contains and a drawn cup.

python -m docs.samples  # when an embedded checkpoint has changed
"""

from PIL import Image, ImageDraw

from docs import still_life
from textir_hf.imaging.files import open_image, save_image
from textir_hf.space import examples, networks
from textir_hf.tasks import TASKS

_FACE = (153, 42, 291, 180)  # the astronaut's face and hair


def draw_input(example: examples.Example) -> Image.Image:
    """The image that an example starts from: a square of its photo, without colors where they are to be made."""
    from skimage import data

    if example.photo == "cup":
        return still_life.draw(example.side)
    photo = Image.fromarray(getattr(data, example.photo)())
    side = min(photo.size)
    left, top = (photo.width - side) // 2, (photo.height - side) // 2
    photo = photo.crop(_FACE if example.photo == "astronaut" else (left, top, left + side, top + side))
    photo = photo.resize((example.side, example.side), Image.Resampling.LANCZOS)
    return photo.convert("L") if TASKS[example.task].in_channels == 1 else photo


def mask(example: examples.Example) -> Image.Image:
    mask = Image.new("L", (example.side, example.side))
    mask.paste(255, example.box)
    return mask


def polygon(side: int, corners: tuple) -> Image.Image:
    mask = Image.new("L", (side, side))
    ImageDraw.Draw(mask).polygon(corners, fill=255)
    return mask


def restored(example: examples.Example) -> Image.Image:
    """An example's result, with its settings."""
    import torch

    pipe = networks.load(TASKS[example.task].checkpoint)
    arguments = dict(example.arguments)
    if example.box:
        arguments |= {"mask_image": mask(example), "refiner": networks.refiner(pipe)}
    if example.regions:
        arguments["regions"] = [(polygon(example.side, corners), prompt) for corners, prompt in example.regions]
    generator = torch.Generator().manual_seed(0)
    return pipe(example.prompt, open_image(example.input), generator=generator, **arguments).images[0]


if __name__ == "__main__":
    for each in examples.EXAMPLES:
        save_image(draw_input(each), each.input)
        save_image(restored(each), each.output)
        print(each.output.name)
