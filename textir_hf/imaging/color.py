"""CIE Lab: lightness and chroma apart, and back to 8-bit sRGB without a change of lightness."""

import torch
from kornia.color import linear_rgb_to_rgb, rgb_to_lab, xyz_to_rgb
from torch import Tensor

_WHITE = (0.95047, 1.0, 1.08883)  # D65, XYZ
_LIGHTNESS_STEP = 100 / 255  # an 8-bit step of L's range


def lightness(images: Tensor) -> Tensor:
    """L of CIE Lab (D65): `[N, 3, H, W]` sRGB in [0, 1] to `[N, 1, H, W]` in [0, 100]."""
    return rgb_to_lab(images.float())[:, :1]


def chroma(images: Tensor) -> Tensor:
    """a and b of CIE Lab (D65): `[N, 3, H, W]` sRGB in [0, 1] to `[N, 2, H, W]`, about -110 to 110."""
    return rgb_to_lab(images.float())[:, 1:]


def join_lab(lightness: Tensor, chroma: Tensor) -> Tensor:
    """`I_r = lab_to_rgb([I_d, I_o])` (TextIR, Sec. 3.3): `[N, 1, H, W]` and `[N, 2, H, W]` to sRGB `[N, 3, H, W]`.

    Clipped to [0, 1]; the lightness is kept wherever the color lies in the sRGB gamut.
    """
    return _lab_to_rgb(torch.cat([lightness.float(), chroma.float()], 1)).clamp(0, 1)


def _lab_to_rgb(lab: Tensor) -> Tensor:
    """As kornia's, `[N, 3, H, W]`, but not clipped, and without its copy from the CPU, which waits for the GPU."""
    light, a, b = lab.unbind(1)
    y = (light + 16) / 116
    x, z = y + a / 500, (y - b / 200).clamp(min=0)
    xyz = [
        white * torch.where(f > 0.2068966, f.pow(3), (f - 4 / 29) / 7.787)
        for white, f in zip(_WHITE, (x, y, z), strict=True)
    ]
    return linear_rgb_to_rgb(xyz_to_rgb(torch.stack(xyz, 1)))


def lab_to_bytes(lightness: Tensor, chroma: Tensor) -> Tensor:
    """CIE Lab to 8-bit sRGB that keeps the lightness within 0.5/255 of its range.

    Colors beyond sRGB lose chroma until they are in it, where clipping would change their lightness. Where the nearest
    8-bit color is too light or too dark, a neighboring one is taken. `[1, 1, H, W]` in [0, 100] and `[1, 2, H, W]` to
    `[3, H, W]` uint8.
    """
    target, ab = lightness[0, 0].flatten().float(), chroma[0].flatten(1).float()  # [P], [2, P]
    color = _rgb(target, ab)
    outside = _outside_gamut(color).nonzero()[:, 0]
    if len(outside):
        color[:, outside] = _reduce_chroma(target[outside], ab[:, outside])
    levels = color.clamp(0, 1) * 255
    result = levels.round()
    error = (_lightness_of(result) - target).abs()
    coarse = (error > 0.45 * _LIGHTNESS_STEP).nonzero()[:, 0]
    if len(coarse):
        result[:, coarse] = _nearest_in_lightness(levels[:, coarse], result[:, coarse], target[coarse])
    return result.byte().reshape(3, *lightness.shape[-2:])


def _rgb(lightness: Tensor, ab: Tensor) -> Tensor:  # [P], [2, P] -> [3, P], not clipped
    return _lab_to_rgb(torch.cat([lightness[None], ab])[None, :, :, None])[0, :, :, 0]


def _outside_gamut(color: Tensor) -> Tensor:  # [3, P] -> [P]
    return ((color < -1e-4) | (color > 1 + 1e-4)).any(0)


def _reduce_chroma(lightness: Tensor, ab: Tensor) -> Tensor:
    """The most saturated color in the gamut with this lightness and hue, by bisection: [P], [2, P] -> [3, P]."""
    low, high = torch.zeros_like(lightness), torch.ones_like(lightness)
    for _ in range(14):  # fewer, and a rounding error of the network becomes several levels in dark colors
        middle = (low + high) / 2
        outside = _outside_gamut(_rgb(lightness, ab * middle))
        low, high = torch.where(outside, low, middle), torch.where(outside, middle, high)
    return _rgb(lightness, ab * low)


def _nearest_in_lightness(levels: Tensor, rounded: Tensor, target: Tensor) -> Tensor:
    """Of the eight 8-bit colors around `levels` and the rounded one, the nearest in lightness: [3, P] -> [3, P]."""
    best, least = rounded, (_lightness_of(rounded) - target).abs()
    for corner in range(8):
        up = torch.tensor([corner >> i & 1 for i in range(3)], device=levels.device)[:, None]
        candidate = (levels.floor() + up).clamp(0, 255)
        error = (_lightness_of(candidate) - target).abs()
        best, least = torch.where(error < least, candidate, best), torch.minimum(error, least)
    return best


def _lightness_of(levels: Tensor) -> Tensor:  # [3, P] in 0..255 -> [P]
    return rgb_to_lab(levels[:, :, None] / 255)[0, :, 0]
