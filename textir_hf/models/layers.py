"""StyleGAN2's building blocks: equalized layers, resampling with a FIR filter, the style convolution.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", 2020. Every learned layer is one plain
convolution over the batch, and every resampling one depthwise convolution. Features may have any floating type.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_SQRT2 = math.sqrt(2)
_SLOPE = 0.2


class EqualizedLinear(nn.Module):
    """`y = x W^T / sqrt(in) + b`: the weight's scale is applied at run time, so that all layers learn at one speed.

    Karras et al., "Progressive Growing of GANs", 2018, Sec. 4.1. These layers make styles, fusion weights and logits:
    few numbers, but large ones, so they are computed in fp32 under autocast and with half-precision weights too.
    """

    def __init__(self, in_features: int, out_features: int, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features))
        self.bias = nn.Parameter(torch.full((out_features,), bias))

    def forward(self, x: Tensor) -> Tensor:  # [N, I] -> [N, O] float32
        with torch.autocast(x.device.type, enabled=False):
            weight = self.weight.float() / math.sqrt(self.weight.shape[1])
            return F.linear(x.float(), weight, self.bias.float())


class EqualizedConv2d(nn.Module):
    """`y = W * x / sqrt(fan_in) + b`, "same" padding for stride 1, none for stride 2.

    With `activate` it is followed by `scaled_leaky_relu`, whose factor is applied to the weights: one pass less.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, activate: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.stride, self.activate = stride, activate

    def forward(self, x: Tensor) -> Tensor:  # [N, I, H, W] -> [N, O, H', W']
        gain = _SQRT2 if self.activate else 1.0
        weight = self.weight * (gain / math.sqrt(self.weight[0].numel()))
        padding = self.weight.shape[-1] // 2 if self.stride == 1 else 0
        x = F.conv2d(x, weight.to(x.dtype), (self.bias * gain).to(x.dtype), self.stride, padding)
        return F.leaky_relu(x, _SLOPE, inplace=True) if self.activate else x


def scaled_leaky_relu(x: Tensor) -> Tensor:
    """`sqrt(2) leaky_relu(x, 0.2)`: keeps the deviation of a unit normal input near 1."""
    return F.leaky_relu(x, _SLOPE) * _SQRT2


class FIR(nn.Module):
    """The filter [1, 3, 3, 1] in both directions, sum `gain`, as one depthwise convolution."""

    kernel: Tensor

    def __init__(self, padding: int, gain: float = 1.0) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
        self.register_buffer("kernel", gain * taps[:, None] * taps / taps.sum() ** 2, persistent=False)
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:  # [N, C, H, W] -> [N, C, H + 2 padding - 3, W + 2 padding - 3]
        channels = x.shape[1]
        return F.conv2d(x, self.kernel.to(x.dtype).expand(channels, 1, 4, 4), padding=self.padding, groups=channels)


class UpsampleFIR(FIR):
    """Twice the size: zero insertion and the filter [1, 3, 3, 1] with gain 4, as one transposed convolution."""

    def __init__(self) -> None:
        super().__init__(padding=1, gain=4.0)

    def forward(self, x: Tensor) -> Tensor:  # [N, C, H, W] -> [N, C, 2H, 2W]
        channels = x.shape[1]
        kernel = self.kernel.to(x.dtype).expand(channels, 1, 4, 4)
        return F.conv_transpose2d(x, kernel, stride=2, padding=self.padding, groups=channels)


class DownConv2d(nn.Module):
    """Half the size: FIR [1, 3, 3, 1], then a 3x3 convolution of stride 2, then the activation."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.blur = FIR(padding=2)
        self.conv = EqualizedConv2d(in_channels, out_channels, stride=2, activate=True)

    def forward(self, x: Tensor) -> Tensor:  # [N, I, H, W] -> [N, O, H/2, W/2]
        return self.conv(self.blur(x))


class StyleConv2d(nn.Module):
    """Convolution whose kernel is modulated by a style and demodulated; optionally to twice the size.

    StyleGAN2, Eq. 1 and 3: `W' = s W`, then `W'' = W' / sqrt(sum W'^2 + 1e-8)`. Scaling the input by `s` and the
    output by the norm instead of the kernel is the same map and keeps one kernel for the whole batch. The output's
    factors (norm, fusion weight, the activation's sqrt 2) are all positive or linear, so they are joined in one pass.
    The factors are computed in fp32 even where the convolution is not: their squares leave float16's range.

    Without gradients the input is overwritten: at full size, a fresh buffer costs more than the arithmetic.
    """

    def __init__(
        self, in_channels: int, out_channels: int, style_dim: int, upsample: bool = False, noise: bool = True
    ) -> None:
        super().__init__()
        shape = (in_channels, out_channels) if upsample else (out_channels, in_channels)  # a transposed convolution's
        self.weight = nn.Parameter(torch.randn(*shape, 3, 3))
        self.affine = EqualizedLinear(style_dim, in_channels, bias=1.0)
        self.noise_strength = nn.Parameter(torch.zeros(())) if noise else None
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.blur = FIR(padding=1, gain=4.0) if upsample else None

    def forward(
        self,
        x: Tensor,  # [N, I, H, W]
        style: Tensor,  # [N, S]
        noise: Tensor | None = None,  # [N, 1, H', W'], unit normal
        fuse: tuple[Tensor, Tensor, Tensor] | None = None,  # encoder feature [N, O, H, W], its and our weight [N, O]
    ) -> Tensor:  # [N, O, H', W'], H' = 2H when upsampling
        scale, gain = self._factors(style, x.dtype)
        scale = scale[:, :, None, None].to(x.dtype)
        x = x * scale if torch.is_grad_enabled() else x.mul_(scale)
        weight = self.weight.to(x.dtype)
        x = F.conv2d(x, weight, padding=1) if self.blur is None else self.blur(F.conv_transpose2d(x, weight, stride=2))
        gain = gain * _SQRT2
        noise_gain = torch.ones_like(gain)
        if fuse is not None:
            feature, encoder_weight, generator_weight = fuse
            gain, noise_gain = gain * generator_weight, generator_weight
        gain, shift = gain[..., None, None].to(x.dtype), (self.bias * _SQRT2)[:, None, None].to(x.dtype)
        x = torch.addcmul(shift, x, gain) if torch.is_grad_enabled() else x.mul_(gain).add_(shift)
        if noise is not None and self.noise_strength is not None:
            noise_gain = _SQRT2 * self.noise_strength * noise_gain
            x = x.addcmul_(noise.to(x.dtype), noise_gain[..., None, None].to(x.dtype))
        if fuse is not None:
            x = x.addcmul_(feature, (encoder_weight * _SQRT2)[..., None, None].to(x.dtype))
        return F.leaky_relu(x, _SLOPE, inplace=True)

    def _factors(self, style: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The input's scale `[N, I]` and the demodulation `[N, O]`."""
        scale = self.affine(style)
        if dtype != torch.float32:  # demodulation takes any common factor out again, and fp16 would overflow
            scale = scale / scale.abs().amax(1, keepdim=True).clamp(min=1e-8)
        scale = scale / math.sqrt(9 * scale.shape[1])
        with torch.autocast(scale.device.type, enabled=False):
            energy = self.weight.float().square().sum((2, 3))  # [O, I], or [I, O] when upsampling
            gain = torch.rsqrt(scale.square() @ (energy.T if self.blur is None else energy) + 1e-8)
        return scale, gain


class ToImage(nn.Module):
    """1x1 style convolution to the image's channels, without demodulation, added to the image so far."""

    def __init__(self, in_channels: int, image_channels: int, style_dim: int, upsample: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(image_channels, in_channels, 1, 1))
        self.affine = EqualizedLinear(style_dim, in_channels, bias=1.0)
        self.bias = nn.Parameter(torch.zeros(image_channels))
        self.upsample = UpsampleFIR() if upsample else nn.Identity()

    def forward(self, x: Tensor, style: Tensor, image: Tensor | None = None) -> Tensor:
        scale = self.affine(style) / math.sqrt(self.weight.shape[1])  # [N, I]
        scale, weight = scale[:, :, None, None].to(x.dtype), self.weight.to(x.dtype)
        if x.shape[0] == 1:  # scaling the kernel saves a pass over the features
            weight = weight * scale
        else:
            x = x * scale
        y = F.conv2d(x, weight, self.bias.to(x.dtype))
        return y if image is None else y + self.upsample(image)
