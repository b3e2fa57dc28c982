"""The page's actions on tiny networks: files, masks and calls that its tests share."""

import numpy as np
from conftest import make_image
from PIL import Image

from textir_hf.imaging.files import open_image
from textir_hf.space import (
    actions,
    masks,
    storage,
)
from textir_hf.tasks import get_task

INPAINT, UPSCALE, COLORIZE = (get_task(n) for n in ("inpainting", "super-resolution", "colorization"))


def photo(width=48, height=40, name="photo.png", image: Image.Image | None = None) -> storage.Path:
    path = storage.new_path(name)
    (image or make_image(width, height)).save(path)
    return path


def box(size=(48, 40)) -> Image.Image:
    mask = Image.new("L", size)
    mask.paste(255, (8, 10, 30, 24))
    return mask


def painted(size):
    return masks.check(box(size), size)


def unpainted(size):
    return None


def guidance(prompt="a face", **changes) -> actions.Guidance:
    return actions.Guidance(prompt, **changes)


def restored(task=INPAINT, path=None, mask=painted, checkpoint=None, arguments=None, **changes) -> actions.Outcome:
    arguments = {} if arguments is None else arguments
    return actions.restore(task, path or photo(), mask, guidance(**changes), checkpoint or task.checkpoint, arguments)


def array(result: dict) -> np.ndarray:
    return np.asarray(open_image(result["after"]["path"]).convert("RGB"))


def fake() -> storage.Path:
    path = storage.new_path("x.png")
    path.write_text("hello")
    return path
