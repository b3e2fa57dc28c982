"""LPIPS v0.1 (Zhang et al., 2018) on AlexNet, the download of its weights, and an image's three metrics at once."""

import hashlib
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from textir_hf.atomic import replacing
from textir_hf.imaging.resample import to_tensor
from textir_hf.metrics import functional

MAX_PSNR = 100.0  # dB, so that means stay finite
CACHE = Path("~/.cache/textir_hf")
SOURCES = (  # of the network and of the linear layers
    "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
    "https://github.com/richzhang/PerceptualSimilarity/raw/master/lpips/weights/v0.1/alex.pth",
)
# SHA-256 of all the tensors in fp16, in the order of their names
DIGEST = "187109660b42a186ca545785eec24544e14a446c62c4bc7fe38726033fe60ca7"
_LAYERS = ((0, 4, 2, 0), (3, 1, 2, 3), (6, 1, 1, 3), (8, 1, 1, 0), (10, 1, 1, 0))  # index, stride, padding, max pooling


class LPIPS(nn.Module):
    """Distance between unit-normalized features of two images, weighted per channel; 0 is equal.

    Args:
        path: safetensors file with torchvision's convolutions (`features.N.weight`) and LPIPS's linear layers
            (`linN.weight`, `[1, C, 1, 1]`), as `fetch` writes it.

    Raises:
        ValueError: The file is of another network.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        weights = load_file(path)
        needed = {f"features.{i}.{part}" for i, *_ in _LAYERS for part in ("weight", "bias")}
        if missing := {*needed, *(f"lin{i}.weight" for i in range(5))} - set(weights):
            raise ValueError(f"{path} is not an LPIPS file: it lacks {', '.join(sorted(missing)[:3])}. Fetch it again.")
        for name, value in weights.items():
            self.register_buffer(name.replace(".", "_"), value.float())
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188])[:, None, None])
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450])[:, None, None])

    def _features(self, images: Tensor) -> list[Tensor]:
        x, features = (images * 2 - 1 - self.shift) / self.scale, []
        for index, stride, padding, pool in _LAYERS:
            if pool:
                x = F.max_pool2d(x, pool, 2)
            weight, bias = (getattr(self, f"features_{index}_{part}") for part in ("weight", "bias"))
            x = F.relu(F.conv2d(x, weight, bias, stride, padding))
            features.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return features

    @torch.no_grad()
    def descriptor(self, images: Tensor) -> Tensor:
        """The deepest features, pooled to 7x7 cells: similar for images with the same parts in the same places.

        `[N, 3, H, W]` in [0, 1] to `[N, D]` at unit length.
        """
        return F.normalize(F.adaptive_avg_pool2d(self._features(images)[-1], 7).flatten(1), dim=1)

    @torch.no_grad()
    def forward(self, first: Tensor, second: Tensor, mask: Tensor | None = None) -> Tensor:
        """2 x `[N, 3, H, W]` in [0, 1] to `[N]`.

        With a mask `[N, 1, H, W]` in {0, 1}, each layer's map is averaged over the share of the mask that its cells
        cover, so that only the masked region counts, seen with its surroundings.
        """
        total = torch.zeros(len(first), device=first.device)
        for i, (a, b) in enumerate(zip(self._features(first), self._features(second), strict=True)):
            distance = F.conv2d((a - b).square(), getattr(self, f"lin{i}_weight"))  # [N, 1, h, w]
            if mask is None:
                total += distance.mean((1, 2, 3))
            else:
                share = F.interpolate(mask.float(), distance.shape[2:], mode="area")
                total += (distance * share).sum((1, 2, 3)) / share.sum((1, 2, 3))
        return total


def quality(
    restored: np.ndarray, target: np.ndarray, mask: np.ndarray | None = None, lpips: LPIPS | None = None
) -> dict[str, float]:
    """`psnr` (dB, 100 at most), `ssim` and perhaps `lpips` of all pixels, or of a mask's, `[H, W]`."""
    found = {
        "psnr": min(functional.psnr(restored, target, mask), MAX_PSNR),
        "ssim": functional.ssim(restored, target, mask),
    }
    if lpips is not None:
        device = lpips.shift.device
        area = None if mask is None else torch.from_numpy(mask)[None, None].to(device)
        found["lpips"] = lpips(to_tensor(restored, device), to_tensor(target, device), area).item()
    return found


def fetch(cache: Path = CACHE) -> Path:
    """The weights of LPIPS as a safetensors file in a folder, downloaded from the authors and torchvision once."""
    path, digest = Path(cache).expanduser() / "lpips_alex.safetensors", hashlib.sha256()
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            network, linear = (
                torch.hub.load_state_dict_from_url(url, scratch, map_location="cpu", weights_only=True)
                for url in SOURCES
            )
    except OSError as error:
        raise OSError(
            f"The weights of LPIPS cannot be fetched from {' and '.join(SOURCES)} ({error}). Fetch them once with a "
            "network, or give the safetensors file: --lpips FILE, or weights=FILE."
        ) from error
    weights = {n: v.contiguous() for n, v in network.items() if n.startswith("features.")}
    weights |= {n.replace(".model.1", ""): v.contiguous() for n, v in linear.items()}
    for name in sorted(weights):
        digest.update(name.encode() + weights[name].half().contiguous().numpy().tobytes())
    if digest.hexdigest() != DIGEST:
        raise ValueError(f"{' and '.join(SOURCES)} are not the published weights (another hash). Try again later.")
    with replacing(path) as temporary:
        save_file(weights, temporary)
    return path
