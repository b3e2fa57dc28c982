"""Objects in other colors than they had, so that a color word comes to mean the object alone."""

import math

import torch
from torch import Tensor

from textir_hf.imaging import color


def recolor(image: Tensor, mask: Tensor, chroma: float, hue: float) -> Tensor:
    """Gives an image's object another color, and leaves what lies around it.

    A sentence that names a color means the object. In most images, though, what lies around goes with the object's
    color, so a network that sees nothing else colors everything. The object's mean chroma becomes the one given, less
    where it is dark or bright; what differs from the mean turns with it.

    Args:
        image: `[1, 3, H, W]` in [0, 1].
        mask: `[1, 1, H, W]` in [0, 1], of the object, not empty.
        chroma: Length of the mean chroma, CIE Lab units.
        hue: Its angle, radians.

    Returns:
        `[1, 3, H, W]` in [0, 1].
    """
    light, ab = color.split_lab(image)
    mean = (ab * mask).sum((2, 3), keepdim=True) / mask.sum()
    turn = hue - torch.atan2(mean[:, 1], mean[:, 0])
    (a, b), cos, sin = (ab - mean).unbind(1), turn.cos(), turn.sin()
    new_mean = torch.tensor([math.cos(hue), math.sin(hue)])[None, :, None, None] * chroma
    new_mean = new_mean * (light / 50).clamp(max=1) * ((100 - light) / 30).clamp(max=1)
    recolored = new_mean + torch.stack([a * cos - b * sin, a * sin + b * cos], 1)
    return color.join_lab(light, ab.lerp(recolored, mask)).clamp(0, 1)
