"""Finds the faces in an image, at every size and turned by any angle up to a right one."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from textir_hf.imaging.faces import FACE_TEMPLATES, Face, Frame, align, choose_faces, reading_order, warp_to_frame
from textir_hf.imaging.resample import resize
from textir_hf.models.detector import Detections, face_detector, keep_surest

_PORTRAIT = FACE_TEMPLATES["portrait"]  # the detector finds landmarks again in this frame
SIDES = (320, 1280)  # longest side of the image as the detector sees it: it finds faces of 10 to 300 pixels
MIRRORED = [1, 0, 2, 4, 3]  # landmarks that a mirror image swaps
UPRIGHT = 256  # side of a face's frame in which its landmarks are found again
# Views of that frame, over which landmarks are averaged: its size, its turn in radians, mirrored or not.
VIEWS = [(size, turn, mirror) for size in (0.92, 1.08) for turn in (-0.1, 0.1) for mirror in (False, True)]


def find_faces(rgb: np.ndarray) -> list[Face]:
    """Finds the faces of an image `[H, W, 3]` uint8, in reading order.

    A face is found in the image first, and its landmarks then once more in its own upright frame, where the detector
    is most exact.
    """
    image, longest = torch.tensor(rgb, device="cpu").movedim(-1, 0), max(rgb.shape[:2])
    found = [_detect(image, SIDES[0])]
    if longest > SIDES[0]:
        found.append(_detect(image, min(SIDES[1], longest)))
    boxes, landmarks, scores = keep_surest(*[torch.cat(parts) for parts in zip(*found, strict=True)])
    faces = []
    for box, points, score in zip(boxes.round().int().tolist(), landmarks.numpy(), scores.tolist(), strict=True):
        left, top, right, bottom = box
        faces.append(Face((left, top, right, bottom), _refine(image, points), score))
    return reading_order(faces)


def find_largest_face(rgb: np.ndarray) -> Face | None:
    """Finds the largest face of a portrait at a fifth of the cost of `find_faces`; it misses small faces."""
    image = torch.tensor(rgb, device="cpu").movedim(-1, 0)
    found = _detect(image, SIDES[0])
    if not len(found.scores):
        return None
    largest = int((found.boxes[:, 2:] - found.boxes[:, :2]).prod(1).argmax())
    left, top, right, bottom = found.boxes[largest].round().int().tolist()
    landmarks = _refine(image, found.landmarks[largest].numpy(), steps=0, views=[(1.0, 0.0, False), (1.0, 0.0, True)])
    return Face((left, top, right, bottom), landmarks, float(found.scores[largest]))


def _detect(image: Tensor, side: int) -> Detections:
    """Faces of an image `[3, H, W]`, in its pixels, as found where its longest side is so many pixels."""
    height, width = image.shape[-2:]
    scale = side / max(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    boxes, landmarks, scores = face_detector()(resize(image[None], size)[0])
    steps = boxes.new_tensor([width / size[1], height / size[0]])
    return Detections(boxes * steps.repeat(2), landmarks * steps, scores)


def _refine(image: Tensor, landmarks: np.ndarray, steps: int = 2, views=VIEWS) -> np.ndarray:
    """Some steps towards the face's own frame, then the mean over views of it."""
    frame = align(landmarks, _PORTRAIT)
    left, top, right, bottom = frame.bounds(image.shape[-2:], margin=round(frame.side / 4))
    if left >= right or top >= bottom:
        return landmarks
    near = image[None, :, top:bottom, left:right]
    shrink = max(1.0, frame.side / (2 * UPRIGHT))  # a large face is looked at in a smaller image
    size = (max(1, round((bottom - top) / shrink)), max(1, round((right - left) / shrink)))
    near, pixels = resize(near, size)[0], np.array([(right - left) / size[1], (bottom - top) / size[0]])
    points = (landmarks - (left, top)) / pixels
    for _ in range(steps):
        points = next(_seen_in(near, points, [(1.0, 0.0, False)]), points)
    found = list(_seen_in(near, points, views))
    return (np.mean(found, 0) if found else points) * pixels + (left, top)


def _seen_in(image: Tensor, landmarks: np.ndarray, views: list[tuple[float, float, bool]]) -> Iterator[np.ndarray]:
    """The landmarks `[5, 2]` as found in views of the face's frame: its size, its turn in radians, mirrored or not."""
    frame = align(landmarks, _PORTRAIT)
    center = frame.offset + frame.scale * (0.5 + 0.5j)
    for size, turn, mirror in views:
        scale = frame.scale * size * complex(np.exp(1j * turn))
        view = Frame(scale, center - scale * (0.5 + 0.5j))
        seen = warp_to_frame(image, view, UPRIGHT).clamp(0, 255)
        found = face_detector()(seen.flip(-1) if mirror else seen, threshold=0.5)
        if len(found.scores):
            middles = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
            points = found.landmarks[(middles - UPRIGHT / 2).norm(dim=1).argmin()].numpy()
            points = points[MIRRORED] * (-1, 1) + (UPRIGHT, 0) if mirror else points
            points = view.scale * (points @ [1, 1j]) / UPRIGHT + view.offset
            yield np.stack([points.real, points.imag], 1)


def check_template(template) -> None:
    """Checks that a network knows faces."""
    if template is None:
        raise ValueError("faces cannot be used with this checkpoint: its config has no face_template.")


def frames_of(rgb: np.ndarray, choice: str | int | Sequence[int], template) -> tuple[Frame, ...]:
    """The frames in which a network sees the chosen faces of an image, in reading order."""
    check_template(template)
    chosen = choose_faces(find_faces(rgb), choice)
    if not chosen and choice != "auto":
        raise ValueError('No face was found in the image. Leave faces out, use "auto", or give a box.')
    return tuple(align(face.landmarks, template) for face in chosen)
