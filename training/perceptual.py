"""The perceptual loss of Eq. 8, on the features of VGG16."""

import torch
from huggingface_hub import hf_hub_download
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

VGG16 = "timm/vgg16.tv_in1k"


def download_vgg() -> str:
    """The path of VGG16's weights from the Hub, with torchvision's convolutions as `features.N.weight` and `.bias`."""
    try:
        return hf_hub_download(VGG16, "model.safetensors")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"VGG16's weights cannot be fetched ({str(error).splitlines()[0]}). Fetch them where there is a network, "
            f"`hf download {VGG16} model.safetensors`, or set --lambda-perceptual 0."
        ) from error


class VGGPerceptualLoss(nn.Module):
    """L1 between VGG16's conv4_3 features before the ReLU (Johnson et al., 2016), of images in [0, 1]."""

    CONVS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21)  # a ReLU follows each but the last, then a pooling before some
    POOLS = (4, 9, 16)

    def __init__(self, path: str) -> None:
        super().__init__()
        state, self.layers = load_file(path), nn.Sequential()
        for index in range(self.CONVS[-1] + 1):
            layer: nn.Module = nn.MaxPool2d(2) if index in self.POOLS else nn.ReLU()
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
