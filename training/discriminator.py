"""What tells restored images from real ones: StyleGAN2's discriminator, and patch heads on frozen features.

Both are called alike, with everything that a discriminator may look at, and give maps of logits.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from textir_hf.models.autoencoder import CELL, LATENT_CHANNELS
from textir_hf.models.layers import FIR, DownConv2d, EqualizedConv2d, EqualizedLinear, scaled_leaky_relu
from textir_hf.tasks import get_task
from training.config import NetworkConfig
from training.perceptual import FEATURE_CHANNELS


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
    """One logit for an image (Karras et al., StyleGAN2, Sec. 4.1), without the minibatch-deviation layer.

    It looks at the image alone.

    Args:
        sample_size: Side of the square images, pixels, a power of two from 8 on.
        channels: Width at each size, full size first; the last one is kept down to 4x4.
    """

    uses_features = False

    def __init__(self, sample_size: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        levels = int(math.log2(sample_size)) - 1  # sizes sample_size ... 4
        widths = [*channels, *[channels[-1]] * levels][:levels]
        self.first = EqualizedConv2d(3, widths[0], kernel=1, activate=True)
        self.blocks = nn.Sequential(*(ResidualBlock(i, o) for i, o in pairwise(widths)))
        self.last = EqualizedConv2d(widths[-1], widths[-1], activate=True)
        self.hidden = EqualizedLinear(16 * widths[-1], widths[-1])
        self.logit = EqualizedLinear(widths[-1], 1)

    def forward(
        self, images: Tensor, features: list[Tensor], condition: Tensor, mask: Tensor, full_precision: bool = False
    ) -> list[Tensor]:
        """As `ProjectedDiscriminator`; the only map is `[N, 1, 1, 1]`, higher means more real."""
        with _precision(images, full_precision):
            x = self.blocks(self.first(images * 2 - 1))
            x = self.last(x).flatten(1)
            return [self.logit(scaled_leaky_relu(self.hidden(x)))[..., None, None]]


class RandomMixing(nn.Module):
    """Frozen random convolutions that mix the channels of each stage, and each stage with all coarser ones.

    Sauer et al., "Projected GANs Converge Faster", 2021, Sec. 3.2: else a head would attend to few of the features.

    Args:
        width: Channels that every stage is mixed to.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        for i, channels in enumerate(FEATURE_CHANNELS):
            self.register_buffer(f"channels{i}", torch.randn(width, channels, 1, 1) / math.sqrt(channels))
            self.register_buffer(f"scales{i}", torch.randn(width, width, 3, 3) / math.sqrt(9 * width))

    def forward(self, features: list[Tensor]) -> list[Tensor]:  # finest first, unit deviation
        mixed, coarser = [], None
        for i in reversed(range(len(features))):
            x = features[i]
            x = F.conv2d(x, self.get_buffer(f"channels{i}").to(x.dtype))
            if coarser is not None:
                x = (x + F.interpolate(coarser, x.shape[-2:])) / math.sqrt(2)
            coarser = F.conv2d(x, self.get_buffer(f"scales{i}").to(x.dtype), padding=1)
            mixed.append(coarser)
        return mixed[::-1]


class PatchHead(nn.Module):
    """A logit for each place of a feature map, as far as it fits the condition.

    The condition enters by its inner product with the features (Miyato and Koyama, "cGANs with Projection
    Discriminator", 2018, Eq. 8).

    Args:
        in_channels: Of the features.
        width: Of the hidden layers.
        embedding_dim: Length of the condition.
    """

    def __init__(self, in_channels: int, width: int, embedding_dim: int) -> None:
        super().__init__()
        self.first = EqualizedConv2d(in_channels + 1, width, activate=True)
        self.second = EqualizedConv2d(width, width, activate=True)
        self.logit = EqualizedConv2d(width, 1, kernel=1)
        self.condition = EqualizedLinear(embedding_dim, width)

    def forward(self, x: Tensor, condition: Tensor, mask: Tensor) -> Tensor:  # -> [N, 1, h, w]
        mask = F.adaptive_avg_pool2d(mask, x.shape[-2:]).to(x.dtype)
        x = self.second(self.first(torch.cat([x, mask], 1)))
        direction = self.condition(condition * math.sqrt(condition.shape[1]))[..., None, None]
        fit = (x * direction.to(x.dtype)).sum(1, keepdim=True) / math.sqrt(x.shape[1])
        return self.logit(x) + fit


class ProjectedDiscriminator(nn.Module):
    """Patch heads on random mixtures of frozen features (Sauer et al., 2021), and one on the pixels.

    The features see what an image shows and whether it fits the condition; the pixels show fine texture and seams,
    which the features hardly carry. The pixels' head sees the image's high frequencies apart, ten times as strong: in
    the image they are too weak to be noticed soon. All heads see which pixels were repainted.

    Args:
        channels: Width of the pixels' head at each size, full size first.
        embedding_dim: Length of the condition.
        width: Channels of the mixtures and of their heads.
    """

    uses_features = True

    def __init__(self, channels: tuple[int, ...], embedding_dim: int, width: int = 64) -> None:
        super().__init__()
        self.mixing = RandomMixing(width)
        self.heads = nn.ModuleList(PatchHead(width, width, embedding_dim) for _ in FEATURE_CHANNELS)
        self.first = EqualizedConv2d(7, channels[0], activate=True)
        self.blocks = nn.Sequential(*(ResidualBlock(i, o) for i, o in pairwise(channels)))
        self.pixels = PatchHead(channels[-1], channels[-1], embedding_dim)

    def forward(
        self, images: Tensor, features: list[Tensor], condition: Tensor, mask: Tensor, full_precision: bool = False
    ) -> list[Tensor]:
        """Maps of logits, `[N, 1, h, w]` for each stage of the features and one for the pixels; higher is more real.

        Args:
            images: `[N, 3, S, S]` in [0, 1].
            features: `FrozenFeatures` of the images.
            condition: `[N, D]` at unit length, that the images should fit.
            mask: `[N, 1, S, S]`, 1 = repainted.
            full_precision: Leave autocast, for derivatives of derivatives.
        """
        with _precision(images, full_precision):
            heads = zip(self.heads, self.mixing(features), strict=True)
            logits = [head(x, condition, mask) for head, x in heads]
            fine = images - F.avg_pool2d(images, 5, stride=1, padding=2, count_include_pad=False)
            x = self.blocks(self.first(torch.cat([images * 2 - 1, 10 * fine, mask], 1)))
            return [*logits, self.pixels(x, condition, mask)]


class LatentDiscriminator(nn.Module):
    """Judges latents at three sizes, beside the degraded image and the condition.

    Spectral normalization (Miyato et al., 2018) bounds how fast its logits change, in place of R1.

    Args:
        in_channels: Of the degraded image.
        embedding_dim: Length of the condition.
        channels: Width at 1, 1/2 and 1/4 of the latents' side.
    """

    uses_features = False

    def __init__(self, in_channels: int, embedding_dim: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        seen = LATENT_CHANNELS + 4 * in_channels + 1
        self.first = spectral_norm(nn.Conv2d(seen, channels[0], 3, padding=1))
        self.convs = nn.ModuleList(spectral_norm(nn.Conv2d(c, c, 3, padding=1)) for c in channels)
        self.down = nn.ModuleList(spectral_norm(nn.Conv2d(i, o, 4, 2, 1)) for i, o in pairwise(channels))
        self.logits = nn.ModuleList(spectral_norm(nn.Conv2d(c, 1, 1)) for c in channels)
        self.conditions = nn.ModuleList(spectral_norm(nn.Linear(embedding_dim, c)) for c in channels)

    def forward(
        self, latents: Tensor, degraded: Tensor, condition: Tensor, mask: Tensor
    ) -> list[tuple[Tensor, Tensor]]:
        """A map of logits `[N, 1, h, w]`, higher is more real, and the features `[N, C, h, w]` that it is of, a size.

        The condition enters by its inner product with the features (Miyato and Koyama, "cGANs with Projection
        Discriminator", 2018, Eq. 8).

        Args:
            latents: `[N, 32, h, w]`, standardized.
            degraded: `[N, C, 8h, 8w]`; it is seen at a quarter of its side.
            condition: `[N, D]` at unit length, that the latents should fit.
            mask: `[N, 1, h, w]`, 1 = predicted.
        """
        hint = F.pixel_unshuffle(F.avg_pool2d(degraded, CELL // 2), 2)
        x = F.leaky_relu(self.first(torch.cat([latents, hint, mask], 1)), 0.2)
        found = []
        for i, (conv, logit, direction) in enumerate(zip(self.convs, self.logits, self.conditions, strict=True)):
            if i:
                x = F.leaky_relu(self.down[i - 1](x), 0.2)
            x = F.leaky_relu(conv(x), 0.2)
            fit = (x * direction(condition)[..., None, None]).sum(1, keepdim=True)
            found.append((logit(x) + fit, x))
        return found


def build_discriminator(config: NetworkConfig, embedding_dim: int) -> nn.Module:
    """The discriminator of a run."""
    channels = tuple(config.discriminator_channels)
    if config.discriminator == "latent":
        return LatentDiscriminator(get_task(config.task).in_channels, embedding_dim, channels)
    if config.discriminator == "projected":
        return ProjectedDiscriminator(channels, embedding_dim)
    return Discriminator(config.sample_size, channels)


def _precision(images: Tensor, full: bool) -> AbstractContextManager:
    return torch.autocast(images.device.type, enabled=False) if full else nullcontext()
