"""Networks that judge a result: StyleGAN2's discriminator for images, one for latents, and VGG16 (the perceptual loss).

Both discriminators are called alike: `images` `[N, 3, S, S]` in [0, 1], or latents `[N, 32, S / 8, S / 8]`, are judged
beside `degraded` `[N, C, S, S]`, as the generator sees it, the `condition` `[N, D]` at unit length, and `mask`
`[N, 1, ...]`, of the size of `images`, 1 = predicted. `full_precision` leaves autocast, for derivatives of derivatives.
The result is maps of logits `[N, 1, h, w]`, higher is more real, each with its features `[N, C, h, w]`.
"""

import math
from contextlib import nullcontext
from itertools import pairwise

import torch
from huggingface_hub import hf_hub_download
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from textir_hf.models.autoencoder import CELL, LATENT_CHANNELS
from textir_hf.models.layers import FIR, DownConv2d, EqualizedConv2d, EqualizedLinear, scaled_leaky_relu

VGG16 = "timm/vgg16.tv_in1k"
Maps = list[tuple[Tensor, Tensor]]  # of logits, with their features


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
    """One logit for an image alone (Karras et al., StyleGAN2, Sec. 4.1), without the minibatch-deviation layer.

    `channels` are the widths at each size, full size first; the last one is kept down to 4x4.
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

    def forward(self, images, degraded, condition, mask, full_precision: bool = False) -> Maps:
        with torch.autocast(images.device.type, enabled=False) if full_precision else nullcontext():
            x = self.last(self.blocks(self.first(images * 2 - 1)))
            return [(self.logit(scaled_leaky_relu(self.hidden(x.flatten(1))))[..., None, None], x)]


class LatentDiscriminator(nn.Module):
    """Judges latents beside the degraded image and the condition, with `channels` at 1, 1/2, ... of their side.

    It sees the degraded image at a quarter of its side. The condition enters by its inner product with the features
    (Miyato and Koyama, "cGANs with Projection Discriminator", 2018, Eq. 8). No layer normalizes: R1 and R2 bound how
    fast the logits change (Huang et al., "R3GAN", 2024).
    """

    def __init__(self, in_channels: int, embedding_dim: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        seen = LATENT_CHANNELS + 4 * in_channels + 1
        self.first = nn.Conv2d(seen, channels[0], 3, padding=1)
        self.convs = nn.ModuleList(nn.Conv2d(c, c, 3, padding=1) for c in channels)
        self.down = nn.ModuleList(nn.Conv2d(i, o, 4, 2, 1) for i, o in pairwise(channels))
        self.logits = nn.ModuleList(nn.Conv2d(c, 1, 1, bias=False) for c in channels)  # a common bias would cancel out
        self.conditions = nn.ModuleList(nn.Linear(embedding_dim, c) for c in channels)

    def forward(self, images, degraded, condition, mask, full_precision: bool = False) -> Maps:
        with torch.autocast(images.device.type, enabled=False) if full_precision else nullcontext():
            hint = F.pixel_unshuffle(F.avg_pool2d(degraded, CELL // 2), 2)
            x, found = F.leaky_relu(self.first(torch.cat([images, hint, mask], 1)), 0.2), []
            for i, (conv, logit, direction) in enumerate(zip(self.convs, self.logits, self.conditions, strict=True)):
                x = F.leaky_relu(self.down[i - 1](x), 0.2) if i else x
                x = F.leaky_relu(conv(x), 0.2)
                fit = (x * direction(condition)[..., None, None]).sum(1, keepdim=True)
                found.append((logit(x) + fit, x))
            return found


def download_vgg() -> str:
    """The path of VGG16's weights from the Hub, with torchvision's convolutions as `features.N.weight` and `.bias`."""
    try:
        return hf_hub_download(VGG16, "model.safetensors")
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        remedy = f"Run `hf download {VGG16} model.safetensors` where there is a network, or set --lambda-perceptual 0."
        raise ValueError(f"VGG16's weights cannot be fetched ({reason}). {remedy}") from error


class VGGPerceptualLoss(nn.Module):
    """L1 between VGG16's conv4_3 features before the ReLU (Johnson et al., 2016), of images in [0, 1]."""

    CONVS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21)  # a ReLU follows each but the last, then a pooling before some
    POOLS = (4, 9, 16)

    def __init__(self, path: str) -> None:
        super().__init__()
        state, self.layers = load_file(path), nn.Sequential()
        for index in range(self.CONVS[-1] + 1):
            layer = nn.MaxPool2d(2) if index in self.POOLS else nn.ReLU()
            if index in self.CONVS:
                width, channels = state[f"features.{index}.weight"].shape[:2]
                layer = nn.Conv2d(channels, width, 3, padding=1)
                layer.load_state_dict({name: state[f"features.{index}.{name}"] for name in ("weight", "bias")})
            self.layers.append(layer)
        self.requires_grad_(False)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225])[:, None, None], persistent=False)

    def features(self, images: Tensor) -> Tensor:  # [N, 3, H, W] in [0, 1] -> [N, 512, H/8, W/8]
        return self.layers((images - self.mean) / self.std)

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        return F.l1_loss(self.features(images), self.features(targets))
