"""From what was painted to a mask, and masks for parts of a face."""

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt

from textir_hf.imaging.faces import align, choose_faces
from textir_hf.imaging.raster import to_mask
from textir_hf.pipeline.faces import PORTRAIT, find_faces

PARTS = {  # left, top, right, bottom in shares of a portrait's box
    "Eyes": (0.1, 0.3, 0.9, 0.6),
    "Mouth": (0.2, 0.58, 0.8, 0.92),
    "Hair": (0.0, 0.0, 1.0, 0.34),
    "Upper half": (0.0, 0.0, 1.0, 0.58),
}


def painted(layers: list[Image.Image], size: tuple[int, int]) -> np.ndarray:
    """The union of what all layers cover: `[H, W]` boolean.

    Args:
        layers: Transparent where nothing was painted; their colors mean nothing.
        size: Width and height.
    """
    mask = np.zeros(size[::-1], bool)
    for layer in layers:
        alpha = np.asarray(layer.convert("RGBA"))[..., 3] > 0
        if alpha.shape != mask.shape:
            raise ValueError(
                f"A layer must have the picture's size {size[0]}x{size[1]}, got {layer.width}x{layer.height}."
            )
        mask |= alpha
    return mask


def combine(mask: np.ndarray, file: Image.Image | None, invert: bool, grow: float) -> np.ndarray:
    """A painted mask with that of a file, inverted, then grown by so many pixels, or shrunk by a negative number.

    Raises:
        ValueError: The file has another size.
    """
    if file is not None:
        mask = mask | to_mask(file, mask.shape)
    if invert:
        mask = ~mask
    if grow > 0 and mask.any():
        mask = distance_transform_edt(~mask) <= grow
    if grow < 0 and not mask.all():
        mask = distance_transform_edt(mask) > -grow
    return mask


def face_part(image: Image.Image, part: str) -> np.ndarray:
    """A box over a part of the largest face; of the whole picture, if it is a portrait where none is found.

    Raises:
        ValueError: No face was found, and the picture is no square portrait.
    """
    faces = choose_faces(find_faces(np.asarray(image.convert("RGB"))), "largest")
    if not faces and image.width != image.height:
        raise ValueError("No upright frontal face was found. Paint the mask by hand.")
    left, top, right, bottom = 0, 0, image.width, image.height
    if faces:
        left, top, right, bottom = align(faces[0].landmarks, PORTRAIT).bounds((image.height, image.width))
    width, height = right - left, bottom - top
    shares = np.array(PARTS[part]) * [width, height, width, height]
    x0, y0, x1, y1 = (shares + np.array([left, top, left, top])).round().astype(int)
    mask = np.zeros((image.height, image.width), bool)
    mask[max(y0, 0) : y1, max(x0, 0) : x1] = True
    return mask


def as_layer(mask: np.ndarray) -> Image.Image:
    """A mask as a layer of the editor: white where masked, transparent elsewhere."""
    layer = np.zeros((*mask.shape, 4), np.uint8)
    layer[mask] = 255
    return Image.fromarray(layer)
