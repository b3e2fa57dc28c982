"""The page's actions on tiny networks: files, masks and calls that its tests share."""

import base64
import io

import numpy as np
from conftest import make_image
from PIL import Image

from textir_hf.imaging.files import open_image
from textir_hf.space import (
    actions,
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


PAINTED = box()


def url(mask: Image.Image) -> str:
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def painted(path=None, mask=PAINTED, regions=None) -> actions.Given:
    return actions.Given(path or photo(), None if mask is None else photo(image=mask, name="mask.png"), regions)


def guidance(prompt="a face", **changes) -> actions.Guidance:
    return actions.Guidance(prompt, **changes)


def restored(
    task=INPAINT, path=None, mask=PAINTED, checkpoint=None, arguments=None, regions=None, **changes
) -> actions.Outcome:
    given, checkpoint = painted(path, mask, regions), checkpoint or task.checkpoint
    return actions.restore(task, given, guidance(**changes), checkpoint, arguments or {})


def array(result: dict) -> np.ndarray:
    return np.asarray(open_image(result["after"]["path"]).convert("RGB"))


def fake() -> storage.Path:
    path = storage.new_path("x.png")
    path.write_text("hello")
    return path
