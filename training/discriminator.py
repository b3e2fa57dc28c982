"""StyleGAN2's residual discriminator, without the minibatch-deviation layer."""

import math
from contextlib import nullcontext
from itertools import pairwise

import torch
from torch import Tensor, nn

from textir_hf.models.layers import FIR, DownConv2d, EqualizedConv2d, EqualizedLinear, scaled_leaky_relu
from training.config import NetworkConfig


class ResidualBlock(nn.Module):
    """Two convolutions to half the size, added to a blurred 1x1 shortcut, divided by sqrt(2)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = EqualizedConv2d(in_channels, in_channels, activate=True)
        self.down = DownConv2d(in_channels, out_channels)
        self.blur = FIR(padding=1)
        self.skip = EqualizedConv2d(in_channels, out_channels, kernel=1)

    def forward(self, x: Tensor) -> Tensor:  # [N, I, H, W] -> [N, O, H/2, W/2]
        shortcut = self.skip(self.blur(x)[..., ::2, ::2])
        return (self.down(self.conv(x)) + shortcut) / math.sqrt(2)


class Discriminator(nn.Module):
    """Images to logits: higher means more real (Karras et al., StyleGAN2, Sec. 4.1).

    Args:
        sample_size: Side of the square images, pixels, a power of two from 8 on.
        channels: Width at each size, full size first; the last one is kept down to 4x4.
    """

    def __init__(self, sample_size: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        levels = int(math.log2(sample_size)) - 1  # sizes sample_size ... 4
        widths = [*channels, *[channels[-1]] * levels][:levels]
        self.first = EqualizedConv2d(3, widths[0], kernel=1, activate=True)
        self.blocks = nn.Sequential(*(ResidualBlock(i, o) for i, o in pairwise(widths)))
        self.last = EqualizedConv2d(widths[-1], widths[-1], activate=True)
        self.hidden = EqualizedLinear(16 * widths[-1], widths[-1])
        self.logit = EqualizedLinear(widths[-1], 1)

    def forward(self, images: Tensor, full_precision: bool = False) -> Tensor:  # [N, 3, S, S] in [0, 1] -> [N, 1]
        with torch.autocast(images.device.type, enabled=False) if full_precision else nullcontext():
            x = self.blocks(self.first(images * 2 - 1))
            x = self.last(x).flatten(1)
            return self.logit(scaled_leaky_relu(self.hidden(x)))


def build_discriminator(config: NetworkConfig) -> nn.Module:
    """The discriminator of a run: called with images `[N, 3, S, S]` in [0, 1], it gives logits `[N, 1]`."""
    return Discriminator(config.sample_size, tuple(config.discriminator_channels))
