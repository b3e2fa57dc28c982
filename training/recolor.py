"""Objects in other colors than they had, so that a color word comes to mean the object alone."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from textir_hf.imaging import color

CLEAR = 0.4  # how much less the middle must look like the rim than the rim itself


def recolor(image: Tensor, chroma: float, hue: float) -> Tensor:
    """Gives a picture's object another color, and leaves what lies around it.

    A sentence that names a color means the object. In most pictures, though, what lies around goes with the object's
    color, so a network that sees nothing else colors everything. The object is what does not look like the rim. Its
    mean chroma becomes the one given, less where it is dark or bright; what differs from the mean turns with it. Where
    the middle looks like the rim, the object is not known, and the picture comes back as it is.

    Args:
        image: `[1, 3, H, W]` in [0, 1].
        chroma: Length of the mean chroma, CIE Lab units.
        hue: Its angle, radians.

    Returns:
        `[1, 3, H, W]` in [0, 1].
    """
    light, ab = color.lightness(image), color.chroma(image)
    thing = F.avg_pool2d(1 - surroundings(light, ab), 5, stride=1, padding=2, count_include_pad=False)
    height, width = thing.shape[-2:]
    middle = thing[..., height // 4 : -(height // 4), width // 4 : -(width // 4)].mean()
    if middle - _outer_strip(thing).mean() < CLEAR:
        return image
    mean = (ab * thing).sum((2, 3), keepdim=True) / thing.sum()
    turn = hue - torch.atan2(mean[:, 1], mean[:, 0])
    (a, b), cos, sin = (ab - mean).unbind(1), turn.cos(), turn.sin()
    wanted = torch.tensor([math.cos(hue), math.sin(hue)])[None, :, None, None] * chroma
    wanted = wanted * (light / 50).clamp(max=1) * ((100 - light) / 30).clamp(max=1)
    other = wanted + torch.stack([a * cos - b * sin, a * sin + b * cos], 1)
    return color.join_lab(light, ab.lerp(other, thing)).clamp(0, 1)


def surroundings(lightness: Tensor, chroma: Tensor) -> Tensor:
    """How much every pixel looks like the picture's rim: `exp(-(d / 15)^2)`, d its distance to the rim's median color.

    Args:
        lightness: `[N, 1, H, W]`, L of CIE Lab.
        chroma: `[N, 2, H, W]`, a and b.

    Returns:
        `[N, 1, H, W]` in [0, 1].
    """
    lab = torch.cat([lightness, chroma], 1)
    edge = _outer_strip(lab).median(2).values[:, :, None, None]
    return torch.exp(-((lab - edge).square().sum(1, keepdim=True) / 15**2))


def _outer_strip(x: Tensor) -> Tensor:
    """The pixels of the outer tenth on each side, `[N, C, H, W]` to `[N, C, P]`; corners come twice."""
    width = max(1, min(x.shape[-2:]) // 10)
    ends = [*range(width), *range(-width, 0)]
    return torch.cat([x[..., ends, :].flatten(2), x[..., ends].flatten(2)], 2)
