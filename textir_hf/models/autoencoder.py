"""TAEF2: the tiny autoencoder of FLUX.2's latents (Ollin Boer Bohan, MIT license), 1/8 of the side, 32 channels.

Its decoder can be the last three levels of a generator (`TextIRGenerator(decoder="taef2")`); its encoder makes the
latents that such a generator learns to predict.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

FOLDER = Path(__file__).parent.parent / "checkpoints" / "taef2"
LATENT_CHANNELS = 32
CELL = 8  # side of the square of pixels that one latent cell covers
LIMIT = 4.0  # standardized latents stay within this; 99.96 % of those of images do
_WIDTH = 64


class Block(nn.Module):
    """Three 3x3 convolutions and a shortcut; with `pool`, statistics of the whole plane are added first."""

    def __init__(self, pool: bool = False) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1) for _ in range(3))
        self.pool = None
        if pool:
            self.pool = nn.Sequential(
                nn.Conv2d(_WIDTH, 4 * _WIDTH, 1, bias=False),
                nn.GroupNorm(4, 4 * _WIDTH),
                nn.ReLU(),
                nn.Conv2d(4 * _WIDTH, _WIDTH, 1, bias=False),
            )

    def forward(self, x: Tensor) -> Tensor:  # [N, 64, h, w] -> the same
        if self.pool is not None:
            x = x + self.pool(x)
        first, second, third = self.convs
        return F.relu(x + third(F.relu(second(F.relu(first(x))))))


class _Half(nn.Module):
    """What both halves have; `pooled` are the blocks with statistics of the whole plane."""

    mean: Tensor
    std: Tensor

    def __init__(self, in_channels: int, out_channels: int, pooled: range) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, _WIDTH, 3, padding=1)
        self.blocks = nn.ModuleList(Block(pool=i in pooled) for i in range(10))
        self.last = nn.Conv2d(_WIDTH, out_channels, 3, padding=1)
        self.register_buffer("mean", torch.zeros(LATENT_CHANNELS))
        self.register_buffer("std", torch.ones(LATENT_CHANNELS))


class TAEF2Encoder(_Half):
    """Images to standardized latents: zero mean and unit deviation for each channel, within `LIMIT`."""

    def __init__(self) -> None:
        super().__init__(3, LATENT_CHANNELS, pooled=range(7, 10))
        self.down = nn.ModuleList(nn.Conv2d(_WIDTH, _WIDTH, 3, 2, 1, bias=False) for _ in range(3))

    def forward(self, images: Tensor) -> Tensor:
        """`[N, 3, H, W]` in [0, 1], sides multiples of 8, to `[N, 32, H / 8, W / 8]`."""
        x = self.first(images)
        for i, block in enumerate(self.blocks):
            if i in (1, 4, 7):
                x = self.down[i // 3](x)
            x = block(x)
        latents = (self.last(x) - self.mean[:, None, None]) / self.std[:, None, None]
        return latents.clamp(-LIMIT, LIMIT)


class TAEF2Decoder(_Half):
    """Standardized latents to images."""

    def __init__(self) -> None:
        super().__init__(LATENT_CHANNELS, 3, pooled=range(3))
        self.up = nn.ModuleList(nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1, bias=False) for _ in range(3))

    def forward(self, latents: Tensor) -> Tensor:
        """`[N, 32, h, w]` to `[N, 3, 8h, 8w]` in about [0, 1]."""
        x = self.features(latents)
        for i, block in enumerate(self.blocks[3:]):
            if i in (0, 3, 6):
                x = self.up[i // 3](F.interpolate(x, scale_factor=2))
            x = block(x)
        return self.last(x)

    def features(self, latents: Tensor) -> Tensor:
        """`[N, 32, h, w]` to the last features before they grow, `[N, 64, h, w]`."""
        x = latents * self.std[:, None, None].to(latents) + self.mean[:, None, None].to(latents)
        x = F.relu(self.first(3 * torch.tanh(x / 3)))
        for block in self.blocks[:3]:
            x = block(x)
        return x


def load_taef2(half: str) -> TAEF2Encoder | TAEF2Decoder:
    """The embedded weights of one half, "encoder" or "decoder", without gradients; on the meta device none are read."""
    network = TAEF2Encoder() if half == "encoder" else TAEF2Decoder()
    if not network.first.weight.is_meta:
        network.load_state_dict(load_file(FOLDER / f"{half}.safetensors"))
    return network.eval().requires_grad_(False)
