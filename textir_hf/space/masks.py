"""Masks as the editor sends them, and boxes over parts of a face."""

import base64
from pathlib import Path

import numpy as np
from PIL import Image

from textir_hf.imaging.faces import FACE_TEMPLATES, align
from textir_hf.imaging.files import open_image
from textir_hf.space import texts
from textir_hf.space.settings import check_number, check_text

MAX_CHARACTERS, MAX_REGIONS = 8_000_000, 6
EDITOR_PIXELS = 4_000_000  # of the mask in the browser: MASK_PIXELS in web/mask.js
PARTS = {  # left, top, right, bottom in shares of a portrait's box
    "Eyes": (0.1, 0.3, 0.9, 0.6),
    "Mouth": (0.2, 0.58, 0.8, 0.92),
    "Hair": (0.0, 0.0, 1.0, 0.34),
    "Upper half": (0.0, 0.0, 1.0, 0.58),
}
_PREFIX = "data:image/png;base64,"


def decode(mask: object, size: tuple[int, int], whole: bool = False) -> Image.Image:
    """A mask: the data URL of a PNG that the editor drew, or an uploaded file."""
    if isinstance(mask, Path):
        return check(open_image(mask, size[0] * size[1], "The mask"), size)
    if not isinstance(mask, str) or not mask.startswith(_PREFIX) or len(mask) > MAX_CHARACTERS:
        raise ValueError(texts.BAD_MASK)
    try:
        content = base64.b64decode(mask.removeprefix(_PREFIX), validate=True)
    except ValueError as error:
        raise ValueError(texts.BAD_MASK) from error
    mask = open_image(content, size[0] * size[1], "The mask")
    if size[0] * size[1] > EDITOR_PIXELS:  # then the editor paints on a smaller sheet of the same shape
        share = (EDITOR_PIXELS / (size[0] * size[1])) ** 0.5
        if all(abs(side - whole * share) <= 1 for side, whole in zip(mask.size, size, strict=True)):
            mask = mask.resize(size, Image.Resampling.NEAREST)
    return check(mask, size, whole)


def regions(given: object, size: tuple[int, int]) -> list[tuple]:
    """Mask and sentence of each region that the editor drew, and its text strength if it has one."""
    given, found = given or [], []
    if not isinstance(given, list) or len(given) > MAX_REGIONS or not all(isinstance(one, dict) for one in given):
        raise ValueError(texts.BAD_MASK)
    for i, region in enumerate(given, 1):
        prompt, mask = check_text("prompt", region.get("prompt")), region.get("mask")
        if not prompt or mask is None:
            raise ValueError((texts.NO_REGION if prompt else texts.NO_REGION_PROMPT).format(i))
        own = [] if region.get("beta") is None else [check_number("beta", region["beta"])]
        mask = decode(mask, size, whole=True)
        if not mask.getextrema()[1]:
            raise ValueError(texts.NO_REGION.format(i))
        found.append((mask, prompt, *own))
    return found


def check(mask: Image.Image, size: tuple[int, int], whole: bool = False) -> Image.Image:
    if mask.size != tuple(size):
        raise ValueError(texts.MASK_SIZE.format(*size, *mask.size))
    mask = mask.convert("L")
    if not whole and mask.getextrema()[0] > 127:
        raise ValueError(texts.ALL_MASKED)
    return mask


def faces_with_parts(image: Image.Image) -> list[dict]:
    """The faces of an image in reading order: `box`, and `parts`, the box of each of `PARTS` by name."""
    from textir_hf.pipeline.faces import find_faces

    found = []
    for face in find_faces(np.asarray(image.convert("RGB"))):
        frame = align(face.landmarks, FACE_TEMPLATES["portrait"])
        left, top, right, bottom = frame.bounds((image.height, image.width))
        width, height = right - left, bottom - top
        corner, sides = np.array([left, top] * 2), np.array([width, height] * 2)
        parts = {name: (corner + np.array(box) * sides).round().astype(int).tolist() for name, box in PARTS.items()}
        found.append({"box": [int(v) for v in face.box], "parts": parts})
    return found
