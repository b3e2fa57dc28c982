"""The damages that TextIR repairs, as pure tensor functions: holes, lost resolution, lost colour."""

import random

import numpy as np
import torch
from kornia.color import lab_to_rgb, rgb_to_lab
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

FACTORS = (4, 8, 16, 32, 64)
MAX_FACTOR = 64


def mask_out(images: Tensor, mask: Tensor) -> Tensor:
    """Cuts holes (TextIR, Sec. 3.3; the mask's polarity is that of diffusers and of the authors' release).

    Args:
        images: `[N, 3, H, W]` in [0, 1].
        mask: `[N, 1, H, W]`, 1 = hole, 0 = known.

    Returns:
        `[N, 4, H, W]`: the image with the hole at 0, and the mask.
    """
    return torch.cat([images * (1 - mask), mask], 1)


def composite(known: Tensor, restored: Tensor, mask: Tensor) -> Tensor:
    """The restored pixels where `mask` is 1, the known ones elsewhere, unchanged to the bit."""
    return torch.where(mask > 0.5, restored, known)


def downsample(images: Tensor, factor: float) -> Tensor:
    """Shrinks by `factor` with an antialiased bicubic filter and rounds to 8 bits.

    Args:
        images: `[N, C, H, W]` in [0, 1].
        factor: How many times smaller; sides are rounded, and never fall under one pixel.

    Returns:
        `[N, C, H / factor, W / factor]` in [0, 1], multiples of 1/255.
    """
    return round_to_8_bits(shrink(images, factor))


def shrink(images: Tensor, factor: float) -> Tensor:
    """`downsample` before the rounding, which has no gradient."""
    size = [max(1, round(side / factor)) for side in images.shape[-2:]]
    return F.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False)


def upsample(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarges to `size` (height, width) by bicubic interpolation and rounds to 8 bits."""
    large = F.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False)
    return round_to_8_bits(large)


def round_to_8_bits(images: Tensor) -> Tensor:
    """Clamps to [0, 1] and rounds to multiples of 1/255, as a picture file does."""
    return (images.clamp(0, 1) * 255).round() / 255


def lose_resolution(images: Tensor, factor: float) -> Tensor:
    """Down and up again (TextIR, Sec. 3.3): the degraded input of super-resolution, `[N, C, H, W]` in [0, 1]."""
    return upsample(downsample(images, factor), images.shape[-2:])


def lightness(images: Tensor) -> Tensor:
    """L of CIE Lab (D65): `[N, 3, H, W]` sRGB in [0, 1] to `[N, 1, H, W]` in [0, 100]."""
    return rgb_to_lab(images.float())[:, :1]


def chroma(images: Tensor) -> Tensor:
    """a and b of CIE Lab (D65): `[N, 3, H, W]` sRGB in [0, 1] to `[N, 2, H, W]`, about -110 to 110."""
    return rgb_to_lab(images.float())[:, 1:]


def join_lab(lightness: Tensor, chroma: Tensor) -> Tensor:
    """`I_r = lab_to_rgb([I_d, I_o])` (TextIR, Sec. 3.3).

    Args:
        lightness: `[N, 1, H, W]` in [0, 100].
        chroma: `[N, 2, H, W]`, a and b.

    Returns:
        `[N, 3, H, W]` sRGB, clipped to [0, 1]; the lightness is kept wherever the colour lies in the sRGB gamut.
    """
    return lab_to_rgb(torch.cat([lightness.float(), chroma.float()], 1), clip=True)


def lab_to_8_bits(lightness: Tensor, chroma: Tensor) -> np.ndarray:
    """CIE Lab to 8-bit sRGB that keeps the lightness.

    Colours beyond sRGB lose chroma until they are in it, where clipping would change their lightness. Rounding keeps L
    within 0.5/255 of its range: where the nearest 8-bit colour does not, a neighbouring one is taken.

    Args:
        lightness: `[1, 1, H, W]` in [0, 100].
        chroma: `[1, 2, H, W]`, a and b.

    Returns:
        `[H, W, 3]` uint8.
    """
    wanted, ab = lightness[0, 0].flatten().float(), chroma[0].flatten(1).float()  # [P], [2, P]

    def rgb(share: Tensor, at: Tensor | slice) -> Tensor:  # -> [3, P]
        lab = torch.cat([wanted[None, at], ab[:, at] * share])
        return lab_to_rgb(lab[:, :, None], clip=False)[:, :, 0]

    colour = rgb(torch.ones(()), slice(None))
    outside = ((colour < -1e-4) | (colour > 1 + 1e-4)).any(0).nonzero()[:, 0]
    if len(outside):
        low, high = torch.zeros(len(outside)), torch.ones(len(outside))
        for _ in range(8):
            middle = (low + high) / 2
            tried = rgb(middle, outside)
            fits = ((tried >= -1e-4) & (tried <= 1 + 1e-4)).all(0)
            low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
        colour[:, outside] = rgb(low, outside)
    levels = colour.clamp(0, 1) * 255
    result = levels.round()
    error = (_lightness_of(result) - wanted).abs()
    coarse = (error > 0.45 / 255 * 100).nonzero()[:, 0]
    if len(coarse):
        best, least = result[:, coarse], error[coarse]
        for corner in range(8):
            up = torch.tensor([corner >> i & 1 for i in range(3)])[:, None]
            tried = (levels[:, coarse].floor() + up).clamp(0, 255)
            error = (_lightness_of(tried) - wanted[coarse]).abs()
            best, least = torch.where(error < least, tried, best), torch.minimum(error, least)
        result[:, coarse] = best
    return result.byte().T.reshape(*lightness.shape[-2:], 3).numpy()


def _lightness_of(levels: Tensor) -> Tensor:  # [3, P] in 0..255 -> [P]
    return rgb_to_lab(levels[:, :, None] / 255)[0, :, 0]


def free_form_mask(height: int, width: int, rng: random.Random, strokes: tuple[int, int] = (1, 5)) -> Tensor:
    """Brush strokes of random walk and width.

    Args:
        height: Of the mask, pixels.
        width: Of the mask, pixels.
        rng: Source of all choices.
        strokes: Least and greatest number of strokes.

    Returns:
        `[1, H, W]`, 1 = hole.
    """
    canvas = Image.new("L", (width, height))
    draw = ImageDraw.Draw(canvas)
    side = min(height, width)
    for _ in range(rng.randint(*strokes)):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        angle, brush = rng.uniform(0, 2 * np.pi), rng.uniform(0.06, 0.22) * side
        for _ in range(rng.randint(3, 10)):
            angle += rng.uniform(-1.2, 1.2)
            step = rng.uniform(0.05, 0.2) * side
            end = (x + step * np.cos(angle), y + step * np.sin(angle))
            draw.line((x, y, *end), fill=255, width=round(brush))
            for cx, cy in ((x, y), end):
                draw.ellipse((cx - brush / 2, cy - brush / 2, cx + brush / 2, cy + brush / 2), fill=255)
            x, y = min(max(end[0], 0), width), min(max(end[1], 0), height)
    return torch.from_numpy(np.array(canvas))[None].float() / 255


def box_mask(height: int, width: int, rng: random.Random, share: tuple[float, float] = (0.2, 0.6)) -> Tensor:
    """One box, each side a random `share` of the image's: `[1, H, W]`, 1 = hole."""
    mask = torch.zeros(1, height, width)
    h, w = (max(1, round(side * rng.uniform(*share))) for side in (height, width))
    top, left = rng.randint(0, height - h), rng.randint(0, width - w)
    mask[:, top : top + h, left : left + w] = 1
    return mask
