"""Where in a picture to look: around a hole, at a face, in a box."""

from functools import cache

import numpy as np
from scipy import ndimage

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels
CONTEXT = 3.0


def hole_crops(mask: np.ndarray, size: int, context: float = CONTEXT) -> list[tuple[Box, np.ndarray]]:
    """Crops that show every hole with its surroundings.

    A crop is `context` times as long as its hole, at least `size`, and lies within the picture. Holes that a crop shows
    whole share it.

    Args:
        mask: `[H, W]` bool, True = hole.
        size: Side that the network was trained at, pixels.
        context: Sides of crop and hole.

    Returns:
        Boxes, each with a `[bottom - top, right - left]` bool mask of the holes that are restored in it.
    """
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    slices = ndimage.find_objects(labels)
    areas = [(s[0].stop - s[0].start) * (s[1].stop - s[1].start) for s in slices]
    crops, taken = [], set()
    for i in sorted(range(count), key=lambda i: (-areas[i], i)):
        if i in taken:
            continue
        box = _around(slices[i], mask.shape, size, context)
        inside = [j for j in range(count) if j not in taken and _within(slices[j], box)]
        taken.update(inside)
        left, top, right, bottom = box
        crops.append((box, np.isin(labels[top:bottom, left:right], np.array(inside) + 1)))
    return crops


def _around(hole: tuple[slice, slice], shape: tuple[int, int], size: int, context: float) -> Box:
    length = round(max(size, context * max(s.stop - s.start for s in hole)))
    spans = []
    for part, whole in zip(hole, shape, strict=True):
        side = min(whole, length)
        start = min(max((part.start + part.stop - side) // 2, 0), whole - side)
        spans.append((start, start + side))
    (top, bottom), (left, right) = spans
    return left, top, right, bottom


def _within(hole: tuple[slice, slice], box: Box) -> bool:
    left, top, right, bottom = box
    return hole[0].start >= top and hole[0].stop <= bottom and hole[1].start >= left and hole[1].stop <= right


def check_box(box: Box, shape: tuple[int, int]) -> Box:
    """A box that lies in a picture of `shape` (height, width).

    Raises:
        ValueError: It is no box, empty, or reaches out of the picture.
    """
    try:
        left, top, right, bottom = (int(v) for v in box)
    except (TypeError, ValueError) as error:
        raise ValueError(f'box must be "face" or (left, top, right, bottom) in pixels, got {box!r}.') from error
    if not (0 <= left < right <= shape[1] and 0 <= top < bottom <= shape[0]):
        raise ValueError(
            f"box must lie in the picture of {shape[1]}x{shape[0]} pixels, got {(left, top, right, bottom)}."
        )
    return left, top, right, bottom


@cache
def _face_detector():
    from skimage import data, feature

    return feature.Cascade(data.lbp_frontal_face_cascade_filename())


def find_faces(rgb: np.ndarray, longest: int = 480) -> list[Box]:
    """Boxes of upright frontal faces, the largest first, from scikit-image's LBP cascade.

    A box is a portrait's: hair and chin are in it, as in the aligned pictures that face networks learn from.

    Args:
        rgb: `[H, W, 3]` uint8.
        longest: The picture is shrunk to this side for the search, pixels.
    """
    height, width = rgb.shape[:2]
    step = max(1, -(-max(height, width) // longest))
    small = rgb[: height // step * step, : width // step * step]
    small = small.reshape(height // step, step, width // step, step, 3).mean((1, 3)).astype(np.uint8)
    if min(small.shape[:2]) < 24:
        return []
    found = _face_detector().detect_multi_scale(
        small, scale_factor=1.1, step_ratio=1, min_size=(24, 24), max_size=small.shape[:2]
    )
    boxes = []
    for face in sorted(found, key=lambda f: (-f["width"] * f["height"], f["r"], f["c"])):
        side = 1.8 * step * (face["width"] + face["height"]) / 2
        middle = step * (face["c"] + face["width"] / 2), step * (face["r"] + 0.42 * face["height"])
        side = min(side, width, height)
        left, top = (
            round(min(max(m - side / 2, 0), whole - side)) for m, whole in zip(middle, (width, height), strict=True)
        )
        boxes.append((left, top, round(left + side), round(top + side)))
    return boxes


def resolve_box(box: str | Box, rgb: np.ndarray) -> Box:
    """The box that the caller means: the largest face, or the box itself.

    Raises:
        ValueError: No face was found, or the box does not lie in the picture.
    """
    if box != "face":
        return check_box(box, rgb.shape[:2])
    faces = find_faces(rgb)
    if not faces:
        raise ValueError(
            "No upright frontal face was found in the picture. Give its box=(left, top, right, bottom) in pixels, or "
            "turn the picture upright."
        )
    return faces[0]
