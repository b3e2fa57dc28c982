"""Masks as the editor sends them, and boxes over parts of a face."""

import base64
import binascii
from pathlib import Path

import numpy as np
from PIL import Image

from textir_hf.checks import Box
from textir_hf.imaging.faces import FACE_TEMPLATES, align, choose_faces
from textir_hf.imaging.files import open_image
from textir_hf.space import texts

MAX_CHARACTERS = 8_000_000
PARTS = {  # left, top, right, bottom in shares of a portrait's box
    "Eyes": (0.1, 0.3, 0.9, 0.6),
    "Mouth": (0.2, 0.58, 0.8, 0.92),
    "Hair": (0.0, 0.0, 1.0, 0.34),
    "Upper half": (0.0, 0.0, 1.0, 0.58),
}
_PREFIX = "data:image/png;base64,"


def decode(mask: object, size: tuple[int, int]) -> Image.Image | None:
    """The mask that the editor drew.

    Args:
        mask: A PNG as a data URL, or None where nothing is painted.
        size: Width and height of its image.

    Raises:
        ValueError: It is something else, or of another size.
    """
    if mask is None:
        return None
    if not isinstance(mask, str) or not mask.startswith(_PREFIX) or len(mask) > MAX_CHARACTERS:
        raise ValueError(texts.BAD_MASK)
    try:
        content = base64.b64decode(mask.removeprefix(_PREFIX), validate=True)
    except (ValueError, binascii.Error) as error:
        raise ValueError(texts.BAD_MASK) from error
    return check(open_image(content, size[0] * size[1], "The mask"), size)


def read(path: Path, size: tuple[int, int]) -> Image.Image:
    """The mask of an uploaded file.

    Raises:
        ValueError: It cannot be read, or is of another size.
    """
    return check(open_image(path, size[0] * size[1], "The mask"), size)


def check(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A mask of an image's size, as gray.

    Raises:
        ValueError: Its size is another, or it leaves nothing to go by.
    """
    if mask.size != tuple(size):
        raise ValueError(texts.MASK_SIZE.format(*size, *mask.size))
    mask = mask.convert("L")
    if mask.getextrema()[0] > 127:
        raise ValueError(texts.ALL_MASKED)
    return mask


def face_part(image: Image.Image, part: str) -> Box:
    """The box of a part of the largest face; of the image itself, if it is a portrait where no face is found.

    Raises:
        ValueError: There is no such part, or no face was found and the image is no square portrait.
    """
    if part not in PARTS:
        raise ValueError(f"The part must be one of {', '.join(PARTS)}, got {str(part)[:80]!r}.")
    from textir_hf.pipeline.faces import find_faces

    faces = choose_faces(find_faces(np.asarray(image.convert("RGB"))), "largest")
    if not faces and image.width != image.height:
        raise ValueError(texts.NO_FACE)
    left, top, right, bottom = 0, 0, image.width, image.height
    if faces:
        left, top, right, bottom = align(faces[0].landmarks, FACE_TEMPLATES["portrait"]).bounds(
            (image.height, image.width)
        )
    width, height = right - left, bottom - top
    x0, y0, x1, y1 = PARTS[part]
    return round(left + x0 * width), round(top + y0 * height), round(left + x1 * width), round(top + y1 * height)
