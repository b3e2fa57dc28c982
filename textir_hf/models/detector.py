"""YuNet: a face detector of 53,000 parameters with five landmarks (Wu, Peng and Yu, 2023, MIT license)."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

WEIGHTS = Path(__file__).parent.parent / "checkpoints" / "yunet" / "model.safetensors"
STRIDES = (8, 16, 32)


class Detections(NamedTuple):
    """Faces in an image, the surest first, in pixels."""

    boxes: Tensor  # [N, 4], left, top, right, bottom
    landmarks: Tensor  # [N, 5, 2], x and y of the eyes (the image's left one first), the nose, the mouth's corners
    scores: Tensor  # [N] in 0..1


class SeparableConv2d(nn.Module):
    """A 1x1 convolution, then a depthwise 3x3 one, then perhaps a ReLU."""

    def __init__(self, in_channels: int, out_channels: int, activate: bool = True) -> None:
        super().__init__()
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1)
        self.depthwise = nn.Conv2d(out_channels, out_channels, 3, padding=1, groups=out_channels)
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(self.pointwise(x))
        return F.relu(x) if self.activate else x


class Head(nn.Module):
    """What one level says of each of its places: is it a face (two scores), its box, its landmarks."""

    def __init__(self) -> None:
        super().__init__()
        self.face, self.object = SeparableConv2d(64, 1, False), SeparableConv2d(64, 1, False)
        self.box, self.landmarks = SeparableConv2d(64, 4, False), SeparableConv2d(64, 10, False)

    def forward(self, x: Tensor, stride: int) -> tuple[Tensor, ...]:  # [1, 64, h, w] -> [P, 4], [P, 5, 2], [P]
        lines = (torch.arange(side, dtype=x.dtype, device=x.device) for side in x.shape[-2:])
        rows, columns = torch.meshgrid(*lines, indexing="ij")
        places = torch.stack([columns, rows], -1).reshape(-1, 2)  # [P, 2], x and y
        layers = (self.face, self.object, self.box, self.landmarks)
        face, object_, box, landmarks = (layer(x)[0].flatten(1).T for layer in layers)
        center, size = (box[:, :2] + places) * stride, box[:, 2:].exp() * stride
        points = (landmarks.unflatten(1, (5, 2)) + places[:, None]) * stride
        boxes = torch.cat([center - size / 2, center + size / 2], 1)
        return boxes, points, (face.sigmoid() * object_.sigmoid()).sqrt()[:, 0]


class FaceDetector(nn.Module):
    """The network of YuNet, as released by OpenCV Zoo in March 2023."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), SeparableConv2d(16, 16))
        self.stage1 = nn.Sequential(SeparableConv2d(16, 16), SeparableConv2d(16, 32))
        self.stage2 = nn.Sequential(SeparableConv2d(32, 32), SeparableConv2d(32, 64))
        self.stages = nn.ModuleList(nn.Sequential(SeparableConv2d(64, 64), SeparableConv2d(64, 64)) for _ in STRIDES)
        self.lateral = nn.ModuleList(SeparableConv2d(64, 64) for _ in STRIDES)
        self.heads = nn.ModuleList(Head() for _ in STRIDES)

    def features(self, images: Tensor) -> list[Tensor]:  # [1, 3, H, W] -> [1, 64, H / stride, W / stride]
        x = F.max_pool2d(self.stem(images), 2)
        x = self.stage2(self.stage1(x))
        levels = []
        for stage in self.stages:
            x = stage(F.max_pool2d(x, 2))
            levels.append(x)
        levels[2] = self.lateral[2](levels[2])
        for i in (1, 0):
            levels[i] = self.lateral[i](levels[i] + F.interpolate(levels[i + 1], scale_factor=2.0))
        return levels

    @torch.inference_mode()
    def forward(self, image: Tensor, threshold: float = 0.7) -> Detections:
        """Finds faces of a score of at least `threshold` in `[3, H, W]` RGB in [0, 255]."""
        height, width = image.shape[-2:]
        bgr = F.pad(image.flip(0)[None].float(), (0, -width % 32, 0, -height % 32))
        found = [head(x, s) for head, x, s in zip(self.heads, self.features(bgr), STRIDES, strict=True)]
        boxes, landmarks, scores = (torch.cat(parts) for parts in zip(*found, strict=True))
        sure = scores >= threshold
        return keep_surest(boxes[sure], landmarks[sure], scores[sure])


def keep_surest(boxes: Tensor, landmarks: Tensor, scores: Tensor, *, overlap: float = 0.3) -> Detections:
    """Of boxes whose intersection over union is above `overlap`, the surest one; arguments as in `Detections`."""
    remaining, kept = scores.argsort(descending=True), []
    while len(remaining):
        kept.append(int(remaining[0]))
        box, others = boxes[remaining[0]], boxes[remaining]
        sides = (torch.minimum(box[2:], others[:, 2:]) - torch.maximum(box[:2], others[:, :2])).clamp(min=0)
        shared, areas = sides.prod(1), (others[:, 2:] - others[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
        remaining = remaining[shared / (areas - shared) <= overlap]
    return Detections(boxes[kept], landmarks[kept], scores[kept])


@cache
def face_detector() -> FaceDetector:
    """The embedded detector, in float32 on the CPU whatever PyTorch's defaults are when it is first used."""
    detector = FaceDetector().to_empty(device="cpu").float()
    detector.load_state_dict(load_file(WEIGHTS))
    return detector.eval().requires_grad_(False)
