"""TextIR's network: a plain encoder, a style-based generator, and channel-weighted skips between them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from diffusers import ConfigMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from torch import Tensor, nn
from torch.nn import functional as F

from textir_hf.models.autoencoder import CELL, LATENT_CHANNELS, LIMIT, load_taef2
from textir_hf.models.checkpoint import CheckedWeights, check_bounds
from textir_hf.models.layers import (
    DownConv2d,
    EqualizedConv2d,
    EqualizedLinear,
    StyleConv2d,
    ToImage,
    scaled_leaky_relu,
)


@dataclass
class TextIRGeneratorOutput(BaseOutput):
    """Output of `TextIRGenerator`."""

    sample: Tensor  # [N, out_channels, H, W], not clamped; or latents, if they were asked for


class ResidualBlock(nn.Module):
    """`(x + f(x)) / sqrt(2)`, f being two convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(*(EqualizedConv2d(channels, channels, activate=True) for _ in range(2)))

    def forward(self, x: Tensor) -> Tensor:  # [N, C, H, W] -> the same
        return (x + self.convs(x)) * math.sqrt(0.5)


class Encoder(nn.Module):
    """Convolutions from the degraded image to features f^0 ... f^l, each half the size of the one before (Sec. 3.2)."""

    def __init__(self, in_channels: int, channels: tuple[int, ...], blocks: int) -> None:
        super().__init__()
        self.first = EqualizedConv2d(in_channels, channels[0], activate=True)
        self.down = nn.ModuleList(DownConv2d(i, o) for i, o in pairwise(channels))
        self.blocks = nn.ModuleList(nn.Sequential(*(ResidualBlock(c) for _ in range(blocks))) for c in channels)
        self.last = EqualizedConv2d(channels[-1], channels[-1], activate=True)

    def forward(self, degraded: Tensor) -> tuple[list[Tensor], Tensor]:
        """`[N, C, H, W]` to the features, full size first, and the one that the generator starts from."""
        features = [self.blocks[0](self.first(degraded))]
        for down, blocks in zip(self.down, self.blocks[1:], strict=True):
            features.append(blocks(down(features[-1])))
        return features, self.last(features[-1])


class FusionWeights(nn.Module):
    """From a skip strength to the two channel weights of every level (Eq. 4 and 5).

    `alpha = Reshape(MLP(s))`, then `|alpha_1/2| / sqrt(alpha_1^2 + alpha_2^2 + 1e-8)`; without the absolute value where
    `signed`. Arguments as in `TextIRGenerator`; `in_features` is 1 for a skip strength.
    """

    def __init__(self, in_features: int, hidden: int, channels: tuple[int, ...], signed: bool) -> None:
        super().__init__()
        self.hidden = EqualizedLinear(in_features, hidden) if hidden else None
        self.alpha = EqualizedLinear(hidden or in_features, 2 * sum(channels), bias=1.0)
        self.channels, self.signed = channels, signed

    def forward(self, skip_strength: Tensor) -> list[tuple[Tensor, Tensor]]:  # [N, S] -> per level, 2 x [N, C]
        x = skip_strength if self.hidden is None else scaled_leaky_relu(self.hidden(skip_strength))
        alpha = self.alpha(x).unflatten(1, (2, -1))  # [N, 2, sum(C)]: encoder, generator
        norm = torch.rsqrt(alpha.square().sum(1, keepdim=True) + 1e-8)
        weights = (alpha if self.signed else alpha.abs()) * norm
        encoder, generator = weights.unbind(1)
        return list(zip(encoder.split(self.channels, 1), generator.split(self.channels, 1), strict=True))


class StyleBlock(nn.Module):
    """`(x + f(x)) / sqrt(2)`, f being two style convolutions under one style code."""

    def __init__(self, channels: int, style_dim: int) -> None:
        super().__init__()
        self.first = StyleConv2d(channels, channels, style_dim, noise=False)
        self.second = StyleConv2d(channels, channels, style_dim, noise=False)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:  # [N, C, H, W], [N, S] -> [N, C, H, W]
        y = self.first(x.clone(), style)  # without gradients, a style convolution overwrites its input
        return (x + self.second(y, style)) * math.sqrt(0.5)


class StyleLevel(nn.Module):
    """One level of the generator after the first: up, then the convolution that fuses (Eq. 3)."""

    def __init__(self, in_channels: int, out_channels: int, image_channels: int, style_dim: int, blocks: int) -> None:
        super().__init__()
        self.up = StyleConv2d(in_channels, out_channels, style_dim, upsample=True)
        self.conv = StyleConv2d(out_channels, out_channels, style_dim)
        self.blocks = nn.ModuleList(StyleBlock(out_channels, style_dim) for _ in range(blocks))
        self.to_image = ToImage(out_channels, image_channels, style_dim)

    def forward(self, x, image, codes, fuse, noise):
        x = self.up(x, codes[0], noise[0])
        x = self.conv(x, codes[1], noise[1], fuse)
        for block in self.blocks:
            x = block(x, codes[1])
        return x, self.to_image(x, codes[2], image)


class TextIRGenerator(CheckedWeights, ConfigMixin):
    """The network of TextIR (Bai et al., 2023, Sec. 3.2), one class for every task.

    It is fully convolutional: any height and width that are multiples of `stride` work, though it was trained at
    `sample_size` and features of another scale may confuse it.

    | task | `in_channels` | `out_channels` | `skip_strength_source` |
    |---|---|---|---|
    | inpainting | 4: RGB with the masked region zeroed, mask (1 = repaint) | 3 | encoder |
    | super-resolution | 3: RGB upscaled to full size | 3 | input |
    | colorization | 1: L of CIE Lab, 0..100 | 2: a and b | encoder |

    Args:
        task: What the weights do, a name in `textir_hf.tasks.TASKS`.
        sample_size: Side in pixels of the square images it was trained on.
        in_channels: Channels of the degraded image.
        out_channels: Channels of the restored image. Other than 3, a 3x3 convolution leads there from three.
        channels: Width of each level, from full size down to the smallest feature map.
        embedding_dim: Length of the CLIP embedding.
        style_dim: Length of each style code.
        skip_strength_source: Where s of Eq. 4 comes from: "input" (the downscaling factor over 64, given by the
            caller), "encoder" (pooled features through an MLP), or "embedding" (the authors' release: the condition
            itself takes the place of s).
        skip_strength_hidden: Width of the hidden layer of Eq. 4's MLP; 0 makes it one linear layer.
        signed_fusion: Leave out the absolute value of Eq. 5, as the authors' release does.
        input_scale: The degraded image is multiplied by this.
        output_scale: The network's output is multiplied by this.
        face_template: For a network that was trained on aligned faces: x and y of their eyes (the image's left one
            first) and of the mouth's corners, in shares of the side.
        patch_size: Side of the squares of pixels that are the encoder's first cells; 1, as in the paper, are pixels.
        blocks: Residual blocks in each level of the encoder and of the generator, besides the paper's convolutions.
        decoder: "taef2": the levels end at 1/8 of the image's side, with latents that the frozen decoder of TAEF2
            makes an image of. None, as in the paper: they end with the image.
    """

    # for device_map
    _no_split_modules = ["DownConv2d", "ResidualBlock", "StyleBlock", "StyleConv2d", "StyleLevel", "ToImage"]

    @register_to_config
    def __init__(
        self,
        task: str = "inpainting",
        sample_size: int = 256,
        in_channels: int = 4,
        out_channels: int = 3,
        channels: tuple[int, ...] = (128, 256, 512, 512, 512),
        embedding_dim: int = 512,
        style_dim: int = 512,
        skip_strength_source: Literal["input", "encoder", "embedding"] = "encoder",
        skip_strength_hidden: int = 64,
        signed_fusion: bool = False,
        input_scale: float = 1.0,
        output_scale: float = 1.0,
        face_template: tuple[tuple[float, float], ...] | None = None,
        patch_size: int = 1,
        blocks: int = 0,
        decoder: Literal["taef2"] | None = None,
    ) -> None:
        super().__init__()
        _check_config(self.config)
        channels = tuple(channels)
        self.stride = patch_size * 2 ** (len(channels) - 1)
        image_channels = LATENT_CHANNELS if decoder else 3
        self.encoder = Encoder(in_channels * patch_size**2, channels, blocks)
        self.style = EqualizedLinear(embedding_dim, 2 * len(channels) * style_dim)
        if skip_strength_source == "encoder":
            self.strength = nn.ModuleList([EqualizedLinear(channels[-1], 64), EqualizedLinear(64, 1)])
        inputs = embedding_dim if skip_strength_source == "embedding" else 1
        self.fusion = FusionWeights(inputs, skip_strength_hidden, channels, signed_fusion)
        self.skips = nn.ModuleList(EqualizedConv2d(c, c) for c in channels)  # Conv of Eq. 5
        self.first = StyleConv2d(channels[-1], channels[-1], style_dim)
        self.first_blocks = nn.ModuleList(StyleBlock(channels[-1], style_dim) for _ in range(blocks))
        self.first_image = ToImage(channels[-1], image_channels, style_dim, upsample=False)
        pairs = list(zip(channels[:0:-1], channels[-2::-1], strict=True))
        self.levels = nn.ModuleList(StyleLevel(i, o, image_channels, style_dim, blocks) for i, o in pairs)
        self.out = EqualizedConv2d(3, out_channels) if out_channels != 3 and not decoder else None
        self.latent_decoder = load_taef2("decoder") if decoder else None

    def forward(
        self,
        degraded: Tensor,
        clip_embedding: Tensor,
        skip_strength: Tensor | float | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        return_dict: bool = True,
        noise: list[Tensor] | None = None,
        output_type: Literal["image", "latent"] = "image",
    ) -> TextIRGeneratorOutput | tuple[Tensor]:
        """Restores degraded images.

        Args:
            degraded: `[N, in_channels, H, W]`, H and W multiples of `stride`; ranges as in the class's table.
            clip_embedding: `[N, embedding_dim]` at unit length.
            skip_strength: s of Eq. 4, a number, `[N]`, or `[N, L]` for each level, full size first: downscaling factor
                / 64 for super-resolution, where it is needed; elsewhere it overrides the encoder's, in [0, 1].
            generator: Source of the noise of the style convolutions; a list has one for each image. Without it there
                is no noise. Image i's noise does not depend on how many images follow it.
            return_dict: Return a `TextIRGeneratorOutput` instead of a tuple.
            noise: The noise itself in place of a generator: for each of `noise_sizes` a map `[N, 1, h, w]`.
            output_type: "latent" leaves out the decoder: standardized latents `[N, 32, H / 8, W / 8]`.

        Returns:
            The restored images, `.sample` or `[0]`: `[N, out_channels, H, W]`.

        Raises:
            ValueError: A shape, the skip strength or the number of generators does not fit.
        """
        if not torch.compiler.is_compiling():  # or the program would be for these sizes alone
            self._check(degraded, clip_embedding, skip_strength, generator)
        if generator is not None:
            noise = self.draw_noise(degraded, generator)
        degraded = degraded.to(self.dtype) * self.config.input_scale
        features, x = self.encoder(F.pixel_unshuffle(degraded, self.config.patch_size))
        # Eq. 2. A unit vector's components are small; at unit variance the condition counts from the first step on.
        condition = clip_embedding.float() * math.sqrt(clip_embedding.shape[1])
        codes = scaled_leaky_relu(self.style(condition)).unflatten(1, (-1, self.config.style_dim))
        fuse = []
        weights = self._fusion_weights(self._strength(features[-1], clip_embedding, skip_strength))
        for skip, feature, pair in zip(self.skips, features, weights, strict=True):
            fuse.append((skip(feature), *pair))
        maps: Sequence[Tensor | None] = [None] * (2 * len(self.levels) + 1) if noise is None else noise

        x = self.first(x, codes[:, 0], maps[0], fuse[-1])
        for block in self.first_blocks:
            x = block(x, codes[:, 0])
        image = self.first_image(x, codes[:, 1])
        for i, level in enumerate(self.levels):
            code = codes[:, 2 * i + 1 : 2 * i + 4].unbind(1)
            x, image = level(x, image, code, fuse[-2 - i], maps[2 * i + 1 : 2 * i + 3])
        if self.latent_decoder is not None:
            latents = LIMIT * torch.tanh(image / LIMIT)
            sample = latents if output_type == "latent" else self.latent_decoder(latents)
        else:
            sample = (image if self.out is None else self.out(image)) * self.config.output_scale
        return TextIRGeneratorOutput(sample=sample) if return_dict else (sample,)

    def enable_layerwise_casting(self, *args, **kwargs) -> None:
        """Refused, since diffusers would cast the bias and the noise strength of a layer too."""
        raise ValueError("enable_layerwise_casting is not supported: load the network with dtype=torch.bfloat16.")

    def _fusion_weights(self, skip_strength: Tensor) -> list[tuple[Tensor, Tensor]]:
        if self.config.skip_strength_source == "embedding" or skip_strength.shape[1] == 1:
            return self.fusion(skip_strength)
        return [self.fusion(s[:, None])[level] for level, s in enumerate(skip_strength.unbind(1))]

    def _strength(self, feature: Tensor, clip_embedding: Tensor, skip_strength: Tensor | float | None) -> Tensor:
        if self.config.skip_strength_source == "embedding":
            return clip_embedding
        if skip_strength is not None:
            skip_strength = torch.as_tensor(skip_strength, dtype=torch.float32, device=feature.device)
            skip_strength = skip_strength if skip_strength.ndim == 2 else skip_strength.reshape(-1, 1)
            return skip_strength.expand(feature.shape[0], -1)
        pooled = feature.mean((2, 3), dtype=torch.float32)
        return torch.sigmoid(self.strength[1](scaled_leaky_relu(self.strength[0](pooled))))

    def noise_sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Height and width of the noise of the paper's style convolutions, smallest first, for an image's size."""
        height, width = height // self.stride, width // self.stride
        sizes = [(height, width)]
        for level in range(1, len(self.levels) + 1):
            sizes += [(height << level, width << level)] * 2
        return sizes

    def draw_noise(self, degraded: Tensor, generator: torch.Generator | list[torch.Generator]) -> list[Tensor]:
        """Unit normal noise for every style convolution, all maps of one image before the next image's."""
        sizes = self.noise_sizes(*degraded.shape[-2:])
        maps: list[list[Tensor]] = [[] for _ in sizes]
        for source in generator if isinstance(generator, (list, tuple)) else [generator] * len(degraded):
            for level, size in zip(maps, sizes, strict=True):  # of another type, a generator draws other numbers
                level.append(torch.randn(1, *size, generator=source, device=source.device, dtype=torch.float32))
        return [torch.stack(level).to(degraded) for level in maps]

    def _check(self, degraded: Tensor, clip_embedding: Tensor, skip_strength, generator) -> None:
        config, shape = self.config, list(degraded.shape)
        if len(shape) != 4 or shape[1] != config.in_channels:
            raise ValueError(f"degraded must be [N, {config.in_channels}, H, W] for {config.task}, got {shape}.")
        count, levels, width = shape[0], len(config.channels), config.embedding_dim
        if shape[2] % self.stride or shape[3] % self.stride:
            sides = f"{shape[2]}x{shape[3]}"
            raise ValueError(f"degraded must have sides in multiples of {self.stride}, got {sides}. Pad it.")
        if list(clip_embedding.shape) != [count, width]:
            raise ValueError(f"clip_embedding must be [{count}, {width}], got {list(clip_embedding.shape)}.")
        if config.skip_strength_source == "input" and skip_strength is None:
            raise ValueError(f"skip_strength must be given for {config.task}: the downscaling factor over 64.")
        if config.skip_strength_source == "embedding" and skip_strength is not None:
            raise ValueError("skip_strength cannot be given: this checkpoint weighs its skips by the condition.")
        got = list(skip_strength.shape) if isinstance(skip_strength, Tensor) else []
        if got not in ([], [1], [count], [1, 1], [count, 1], [1, levels], [count, levels]):
            raise ValueError(f"skip_strength must be a number, [{count}] or [{count}, {levels}], got {got}.")
        if isinstance(generator, (list, tuple)) and len(generator) != count:
            raise ValueError(f"generator must be one or a list of {count}, got {len(generator)}.")


def _check_config(config) -> None:
    check_bounds(config)
    choices = {"skip_strength_source": ("input", "encoder", "embedding"), "signed_fusion": (True, False)}
    for name, known in (choices | {"decoder": (None, "taef2")}).items():
        if config[name] not in known:
            raise ValueError(f"{name} must be one of {known}, got {config[name]!r}.")
    if config.decoder and (config.patch_size, config.out_channels) != (CELL, 3):
        raise ValueError(f'patch_size must be {CELL} and out_channels 3 with decoder="taef2".')
    widths = config.channels if isinstance(config.channels, (list, tuple)) else ()
    if not 1 <= len(widths) <= 10 or not all(isinstance(w, int) and 1 <= w <= 4096 for w in widths):
        raise ValueError(f"channels must be a list of 1 to 10 widths in 1..4096, got {config.channels!r}.")
    if config.face_template is not None and np.shape(config.face_template) != (4, 2):
        raise ValueError(f"face_template must be four pairs of x and y, got {config.face_template!r}.")
