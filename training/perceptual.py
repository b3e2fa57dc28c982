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

    LAYERS = (0, 2, "M", 5, 7, "M", 10, 12, 14, "M", 17, 19, 21)

    def __init__(self, path: str) -> None:
        super().__init__()
        state = load_file(path)
        self.convs = nn.ModuleList()
        for index in (i for i in self.LAYERS if i != "M"):
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
        for layer in self.LAYERS:
            x = F.max_pool2d(F.relu(x), 2) if layer == "M" else next(convs)(x if layer in (0, 5, 10, 17) else F.relu(x))
        return x

    def forward(self, restored: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            target_features = self.features(target)
        return F.l1_loss(self.features(restored), target_features)
