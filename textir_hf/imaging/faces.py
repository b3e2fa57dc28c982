"""Faces in photos."""

from functools import cache

import numpy as np

from textir_hf.imaging.geometry import Box


@cache
def _detector():
    from skimage import data, feature

    return feature.Cascade(data.lbp_frontal_face_cascade_filename())


def find_faces(rgb: np.ndarray, longest: int = 480) -> list[Box]:
    """Boxes of upright frontal faces, the largest first, from scikit-image's LBP cascade.

    A box is a portrait's: hair and chin are in it, as in the aligned images that face networks learn from.

    Args:
        rgb: `[H, W, 3]` uint8.
        longest: The image is shrunk to this side for the search, pixels.
    """
    height, width = rgb.shape[:2]
    step = max(1, -(-max(height, width) // longest))
    small = rgb[: height // step * step, : width // step * step]
    small = small.reshape(height // step, step, width // step, step, 3).mean((1, 3)).astype(np.uint8)
    if min(small.shape[:2]) < 24:
        return []
    found = _detector().detect_multi_scale(
        small, scale_factor=1.1, step_ratio=1, min_size=(24, 24), max_size=small.shape[:2]
    )
    boxes = []
    for face in sorted(found, key=lambda f: (-f["width"] * f["height"], f["r"], f["c"])):
        side = 1.8 * step * (face["width"] + face["height"]) / 2
        center = step * (face["c"] + face["width"] / 2), step * (face["r"] + 0.42 * face["height"])
        side = min(side, width, height)
        left, top = (
            round(min(max(m - side / 2, 0), length - side)) for m, length in zip(center, (width, height), strict=True)
        )
        boxes.append((left, top, round(left + side), round(top + side)))
    return boxes


def largest_face(rgb: np.ndarray) -> Box:
    """The box of the largest face.

    Raises:
        ValueError: No face was found.
    """
    faces = find_faces(rgb)
    if not faces:
        raise ValueError(
            "No upright frontal face was found in the image. Give its box=(left, top, right, bottom) in pixels, or "
            "turn the image upright."
        )
    return faces[0]
