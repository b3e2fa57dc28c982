"""Objects in other colors than they had, so that a color word comes to mean the object alone."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from textir_hf.imaging import color

CLEAR = 0.4  # how much less the middle must look like the rim than the rim itself


def recolor(image: Tensor, chroma: float, hue: float) -> Tensor:
    """Gives an image's object another color, and leaves what lies around it.

    A sentence that names a color means the object. In most images, though, what lies around goes with the object's
    color, so a network that sees nothing else colors everything. The object is what does not look like the rim. Its
    mean chroma becomes the one given, less where it is dark or bright; what differs from the mean turns with it. Where
    the middle looks like the rim, the object is not known, and the image comes back as it is.

    Args:
        image: `[1, 3, H, W]` in [0, 1].
        chroma: Length of the mean chroma, CIE Lab units.
        hue: Its angle, radians.

    Returns:
        `[1, 3, H, W]` in [0, 1].
    """
    light, ab = color.split_lab(image)
    inside = F.avg_pool2d(1 - color.surroundings(light, ab), 5, stride=1, padding=2, count_include_pad=False)
    height, width = inside.shape[-2:]
    middle = inside[..., height // 4 : -(height // 4), width // 4 : -(width // 4)].mean()
    if middle - color.outer_strip(inside).mean() < CLEAR:
        return image
    mean = (ab * inside).sum((2, 3), keepdim=True) / inside.sum()
    turn = hue - torch.atan2(mean[:, 1], mean[:, 0])
    (a, b), cos, sin = (ab - mean).unbind(1), turn.cos(), turn.sin()
    new_mean = torch.tensor([math.cos(hue), math.sin(hue)])[None, :, None, None] * chroma
    new_mean = new_mean * (light / 50).clamp(max=1) * ((100 - light) / 30).clamp(max=1)
    recolored = new_mean + torch.stack([a * cos - b * sin, a * sin + b * cos], 1)
    return color.join_lab(light, ab.lerp(recolored, inside)).clamp(0, 1)
