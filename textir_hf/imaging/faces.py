"""Faces in photos: their order, the frame in which a network knows them, and images warped to that frame and back."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from textir_hf.checks import Box, numbers, shown
from textir_hf.imaging.masks import match_border
from textir_hf.imaging.resample import resize

# Where aligned training faces have their eyes (the image's left one first) and the mouth's corners, shares of the side.
FACE_TEMPLATES = {
    "ffhq": ((0.37691, 0.46865), (0.62285, 0.46912), (0.39309, 0.72541), (0.6115, 0.7249)),
    "portrait": ((0.332, 0.5), (0.645, 0.5), (0.363, 0.8125), (0.621, 0.809)),  # of the embedded networks
}
CHOICES = ("all", "auto", "largest")  # of faces, besides their numbers
BORDER = 0.1  # share of a frame's side over which its content fades into what lies around it


class Face(NamedTuple):
    """A face that was found."""

    box: Box  # pixels; it may reach out of the image
    landmarks: np.ndarray  # [5, 2], x and y of the eyes (the image's left one first), the nose, the mouth's corners
    score: float  # how sure the detector is, 0 to 1


@dataclass(frozen=True)
class Frame:
    """The square in which a network sees a face: a similarity transform, `image = scale * frame + offset`."""

    scale: complex  # its length is the frame's side in pixels, its angle the face's rotation
    offset: complex  # the frame's top left corner in the image, x + iy

    @property
    def side(self) -> float:
        """Of the frame, pixels of the image."""
        return abs(self.scale)

    def bounds(self, size: Sequence[int], margin: int = 0, of: Sequence[int] | None = None) -> Box:
        """The box around the frame, cut at the borders of an image of `size` (height, width).

        `of` is the size of the frame's own image, where that is larger or smaller.
        """
        corners = self.offset + self.scale * np.array([0, 1, 1j, 1 + 1j])
        high, wide = ratios(size, of)
        rows, columns = corners.imag * high, corners.real * wide
        left, top = math.floor(columns.min()) - margin, math.floor(rows.min()) - margin
        right, bottom = math.ceil(columns.max()) + margin, math.ceil(rows.max()) + margin
        return max(left, 0), max(top, 0), max(min(right, size[1]), 0), max(min(bottom, size[0]), 0)


def ratios(size: Sequence[int], of: Sequence[int] | None) -> tuple[float, float]:
    """How many times as high and wide an image of `size` is as one of the size `of`; 1 if left out."""
    return (1.0, 1.0) if of is None else (size[0] / of[0], size[1] / of[1])


def reading_order(faces: Sequence[Face]) -> list[Face]:
    """Faces line by line from the top, each line from the left; a line's faces overlap its first one in height."""
    lines: list[list[Face]] = []
    for face in sorted(faces, key=lambda face: face.box[1] + face.box[3]):
        if lines and (face.box[1] + face.box[3]) / 2 <= lines[-1][0].box[3]:
            lines[-1].append(face)
        else:
            lines.append([face])
    return [face for line in lines for face in sorted(line, key=lambda face: face.box[0])]


def check_choice(choice) -> str | int | tuple[int, ...]:
    """Which faces a caller means: one of `CHOICES`, the number of a face in reading order from 1, or several."""
    if isinstance(choice, str) and choice in CHOICES:
        return str(choice)
    found = () if isinstance(choice, str) else numbers("faces", choice)
    if not found:
        raise ValueError(f'faces must be "all", "auto", "largest" or numbers from 1, got {shown(choice)}.')
    return found


def choose_faces(faces: Sequence[Face], choice: str | int | Sequence[int]) -> list[Face]:
    """The faces that a caller means, in reading order."""
    if choice == "largest":
        areas = [(face.box[2] - face.box[0]) * (face.box[3] - face.box[1]) for face in faces]
        return [faces[areas.index(max(areas))]] if faces else []
    if isinstance(choice, str):
        return list(faces)
    chosen = {choice} if isinstance(choice, int) else set(choice)
    if max(chosen) > len(faces):
        raise ValueError(f"faces must be numbers in 1..{len(faces)}, the faces found in the image, got {choice}.")
    return [faces[n - 1] for n in sorted(chosen)]


def draw_faces(image: Image.Image, faces: Sequence[Face]) -> Image.Image:
    """A copy of an image with a numbered box around each face."""
    canvas, longest = image.convert("RGB"), max(image.size)
    draw, width = ImageDraw.Draw(canvas), max(2, round(longest / 300))
    font = ImageFont.load_default(size=max(14, round(longest / 40)))
    for number, face in enumerate(faces, 1):
        corner = (max(face.box[0], 0), max(face.box[1], 0))
        draw.rectangle(face.box, outline="yellow", width=width)
        label = draw.textbbox(corner, str(number), font)
        draw.rectangle((label[0] - width, label[1] - width, label[2] + width, label[3] + width), fill="yellow")
        draw.text(corner, str(number), "black", font)
    return canvas


def align(landmarks: np.ndarray, template: Sequence[Sequence[float]]) -> Frame:
    """The frame in which a face's eyes and mouth lie as nearly as possible at the template's, by least squares."""
    points = landmarks[[0, 1, 3, 4]].astype(float) @ [1, 1j]
    targets = np.asarray(template, float) @ [1, 1j]
    centered = targets - targets.mean()
    scale = (centered.conj() @ (points - points.mean())) / (centered.conj() @ centered).real
    return Frame(complex(scale), complex(points.mean() - scale * targets.mean()))


def warp_to_frame(
    image: Tensor, frame: Frame, size: int, mode: str = "bicubic", of: Sequence[int] | None = None
) -> Tensor:
    """An image `[C, H, W]` as seen in a frame, `[C, size, size]` float; beyond the image's border is its reflection.

    `of` is the size (height, width) of the frame's own image, where `image` is that image, larger or smaller.
    """
    left, top, right, bottom = frame.bounds(image.shape[-2:], 4, of)
    if left >= right or top >= bottom:
        raise ValueError("The face's frame lies outside the image.")
    part = image[None, :, top:bottom, left:right].float()
    high, wide = ratios(image.shape[-2:], of)
    finer = max(1, round(frame.side * max(high, wide) / size))  # samples a pixel, against aliasing
    steps = (torch.arange(size * finer, dtype=torch.float32, device=image.device) + 0.5) / (size * finer)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    a, b = frame.scale, frame.offset
    columns = (a.real * x - a.imag * y) * wide + (b.real * wide - left)
    rows = (a.imag * x + a.real * y) * high + (b.imag * high - top)
    grid = torch.stack([2 * columns / part.shape[-1] - 1, 2 * rows / part.shape[-2] - 1], -1)[None]
    warped = F.grid_sample(part, grid, mode=mode, padding_mode="reflection", align_corners=False)
    return F.avg_pool2d(warped, finer)[0] if finer > 1 else warped[0]


def frame_places(
    frame: Frame, size: Sequence[int], frames: Sequence[Frame] = (), of: Sequence[int] | None = None
) -> tuple[Box, Tensor, Tensor]:
    """Where the pixels of an image of `size` (height, width) are in a frame.

    The box around the frame, in the image; its pixels' places in the frame, `[h, w, 2]` in shares of the side; and
    their weights `[h, w]`, 1 in the frame's middle, falling to 0 at its border. Of several `frames`, pasted in their
    order, a pixel shows the one from whose border it is farthest; between two of them, the later one fades in. `of` is
    the size of the frame's own image, if that is another.
    """
    left, top, right, bottom = box = frame.bounds(size, of=of)
    high, wide = ratios(size, of)
    rows = (torch.arange(top, bottom, dtype=torch.float32, device="cpu") + 0.5) / high
    columns = (torch.arange(left, right, dtype=torch.float32, device="cpu") + 0.5) / wide
    y, x = torch.meshgrid(rows, columns, indexing="ij")

    def places_in(frame: Frame) -> Tensor:
        a, dy, dx = 1 / frame.scale, y - frame.offset.imag, x - frame.offset.real
        return torch.stack([a.real * dx - a.imag * dy, a.imag * dx + a.real * dy], -1)

    def depth(places: Tensor) -> Tensor:  # from the frame's border, in shares of its side
        return torch.cat([places, 1 - places], -1).amin(-1)

    places = places_in(frame)
    own = depth(places)
    weights = (own / BORDER).clamp(0, 1)
    below = True  # whether the other frame is pasted before this one
    for other in frames:
        centers = [f.offset + f.scale * (0.5 + 0.5j) for f in (frame, other)]
        if other is not frame and abs(centers[0] - centers[1]) < 0.75 * (frame.side + other.side):
            lead = (own - depth(places_in(other))) / BORDER + 0.5
            weights = weights * (lead.clamp(0, 1) if below else lead >= 0)
        below = below and other is not frame
    return box, places, weights


def paste_from_frame(
    canvas: Tensor,
    content: Tensor,
    frame: Frame,
    where: Tensor | None = None,
    frames: Sequence[Frame] = (),
    of: Sequence[int] | None = None,
) -> None:
    """Blends what was made in a frame into an image, in place; pixels outside the frame stay bit for bit.

    `canvas` is `[C, H, W]` uint8, `content` `[C, S, S]` in [0, 1], `where` `[H, W]` bool: pixels that may change, in
    which the content continues the canvas around them without a seam; all if left out. `frames` and `of` as for
    `frame_places`.
    """
    size = canvas.shape[-2:]
    (left, top, right, bottom), places, weights = frame_places(frame, size, frames, of)
    if not weights.numel():
        return
    side = max(round(frame.side * max(ratios(size, of))), 1)
    if side < content.shape[-1]:
        content = resize(content[None], (side, side))[0]
    grid = (2 * places - 1)[None].to(content)
    warped = F.grid_sample(content[None], grid, mode="bicubic", padding_mode="border", align_corners=False)[0]
    weights, window = weights.to(content), canvas[:, top:bottom, left:right]
    if where is not None:
        inside = where[top:bottom, left:right]
        replaced = inside | (weights == 0)  # beyond the frame, the content shows nothing to compare the canvas with
        warped = match_border(warped[None], window[None].float() / 255, replaced[None, None].to(content))[0]
        weights = weights * inside
    blended = window + weights * (warped.clamp(0, 1) * 255 - window)
    window.copy_(torch.where(weights > 0, blended.round().byte(), window))
