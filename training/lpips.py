"""LPIPS v0.1 on AlexNet (Zhang et al., 2018)."""

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F


class LPIPS(nn.Module):
    """Distance between unit-normalised AlexNet features, weighted per channel.

    Args:
        path: safetensors file with torchvision's AlexNet convolutions (`features.N.weight`) and LPIPS's linear layers
            (`linN.weight`, `[1, C, 1, 1]`).
    """

    _CONVS = ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1))  # index, stride, padding

    def __init__(self, path: str) -> None:
        super().__init__()
        for name, value in load_file(path).items():
            self.register_buffer(name.replace(".", "_"), value.float())
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188])[:, None, None])
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450])[:, None, None])

    def _features(self, images: Tensor) -> list[Tensor]:
        x, features = (images * 2 - 1 - self.shift) / self.scale, []
        for index, stride, padding in self._CONVS:
            if index in (3, 6):
                x = F.max_pool2d(x, 3, 2)
            weight, bias = (getattr(self, f"features_{index}_{part}") for part in ("weight", "bias"))
            x = F.relu(F.conv2d(x, weight, bias, stride, padding))
            features.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return features

    @torch.no_grad()
    def forward(self, first: Tensor, second: Tensor) -> Tensor:  # 2 x [N, 3, H, W] in [0, 1] -> [N]
        pairs = zip(self._features(first), self._features(second), strict=True)
        layers = [
            F.conv2d((a - b).square(), getattr(self, f"lin{i}_weight")).mean((1, 2, 3))
            for i, (a, b) in enumerate(pairs)
        ]
        return sum(layers)
