"""The objectives of TextIR, Sec. 3.3."""

from pathlib import Path

import torch
from huggingface_hub import hf_hub_download
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from textir_hf.models.embedding import embed_images
from textir_hf.models.towers import EfficientNetLite0


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Eq. 6: `E[log(1 + exp(-D(target)))] + E[log(1 + exp(D(restored)))]`; logits `[N, 1]`."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Eq. 6, non-saturating: `E[log(1 + exp(-D(restored)))]`; logits `[N, 1]`."""
    return F.softplus(-fake_logits).mean()


def r1_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """`E[|grad D(target)|^2]` (Mescheder et al., 2018, Eq. 9 without gamma / 2).

    Args:
        logits: `[N, 1]`, computed from `images`.
        images: `[N, C, H, W]` with `requires_grad`.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()


def clip_loss(clip: nn.Module, image_processor, restored: Tensor, target_embedding: Tensor) -> Tensor:
    """Eq. 7: one minus the cosine between the embeddings of the restored image and of the target.

    Args:
        clip: The frozen encoder.
        image_processor: Its processor.
        restored: `[N, 3, H, W]` in [0, 1].
        target_embedding: `[N, D]` at unit length.
    """
    return 1 - (embed_images(clip, image_processor, restored) * target_embedding).sum(1).mean()


def rim(mask: Tensor, width: int = 4) -> Tensor:
    """Where a hole meets what is known: 1 at its border, falling to 0 at `width` pixels inside, 0 outside.

    Args:
        mask: `[N, 1, H, W]` in {0, 1}, 1 = hole.
        width: Pixels.

    Returns:
        `[N, 1, H, W]` in [0, 1].
    """
    known = F.avg_pool2d(1 - mask, 2 * width + 1, stride=1, padding=width, count_include_pad=False)
    return (2 * known).clamp(max=1) * mask


def vgg_file(name: str) -> str:
    """The path of VGG16's safetensors file: a path as it is, or a file of a Hub repository.

    Raises:
        ValueError: It is neither.
    """
    if Path(name).is_file():
        return name
    try:
        return hf_hub_download(name, "model.safetensors")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"VGG16's weights {name} cannot be had ({str(error).splitlines()[0]}). Give their safetensors file with "
            "--vgg, or set --lambda_perceptual 0."
        ) from error


class VGGPerceptualLoss(nn.Module):
    """L1 between VGG16's conv4_3 features, before the ReLU (Johnson et al., 2016).

    Args:
        path: safetensors file with torchvision's VGG16 convolutions as `features.N.weight` and `features.N.bias`.
    """

    _LAYERS = (0, 2, "M", 5, 7, "M", 10, 12, 14, "M", 17, 19, 21)

    def __init__(self, path: str) -> None:
        super().__init__()
        state = load_file(path)
        self.convs = nn.ModuleList()
        for index in (i for i in self._LAYERS if i != "M"):
            weight, bias = state[f"features.{index}.weight"].float(), state[f"features.{index}.bias"].float()
            conv = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
            conv.weight.data, conv.bias.data = weight, bias
            self.convs.append(conv)
        self.requires_grad_(False)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225])[:, None, None], persistent=False)

    def features(self, images: Tensor) -> Tensor:  # [N, 3, H, W] in [0, 1] -> [N, 512, H/8, W/8]
        x = (images - self.mean) / self.std
        convs = iter(self.convs)
        for layer in self._LAYERS:
            x = F.max_pool2d(F.relu(x), 2) if layer == "M" else next(convs)(x if layer in (0, 5, 10, 17) else F.relu(x))
        return x

    def forward(self, restored: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = self.features(target)
        return F.l1_loss(self.features(restored), wanted)


class EncoderFeatureLoss(nn.Module):
    """L1 between features of the embedded encoder's EfficientNet-Lite0 at strides 4, 8 and 16.

    A small substitute for VGG16, from the first step on.
    """

    _STAGES = (1, 2, 4)

    def __init__(self, backbone: EfficientNetLite0) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, restored: Tensor, target: Tensor) -> Tensor:  # [N, 3, H, W] in [0, 1], sides >= 32
        with torch.no_grad():
            wanted = self.backbone(target * 2 - 1)
        got = self.backbone(restored * 2 - 1)
        return sum(F.l1_loss(got[i], wanted[i]) / wanted[i].std() for i in self._STAGES) / len(self._STAGES)
