"""The generator written the obvious way, on the weights of `TextIRGenerator`, for tests and benchmarks.

Every style convolution builds one kernel per sample and runs as a grouped convolution; every FIR filter inserts zeros
by reshaping, folds the channels into the batch and convolves them one by one.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from textir_hf.models.generator import TextIRGenerator
from textir_hf.models.layers import EqualizedConv2d, StyleConv2d, ToImage

_TAPS = torch.tensor([1.0, 3.0, 3.0, 1.0])


def fir(x: Tensor, up: int, pad: tuple[int, int], gain: float) -> Tensor:
    """Zero insertion, padding and the filter [1, 3, 3, 1], channels folded into the batch."""
    n, c, h, w = x.shape
    x = x.reshape(n * c, 1, h, 1, w, 1)
    x = F.pad(x, (0, up - 1, 0, 0, 0, up - 1)).reshape(n * c, 1, h * up, w * up)
    x = F.pad(x, (pad[0], pad[1], pad[0], pad[1]))
    kernel = (_TAPS[:, None] * _TAPS / 64 * gain).to(x.dtype)[None, None]
    x = F.conv2d(x, kernel)
    return x.reshape(n, c, *x.shape[-2:])


def modulated_conv(x: Tensor, weight: Tensor, style: Tensor, demodulate: bool, upsample: bool = False) -> Tensor:
    """StyleGAN2, Eq. 1 and 3, with a kernel for each sample."""
    n, i, h, w = x.shape
    o, _, k, _ = weight.shape
    kernel = weight[None] / math.sqrt(i * k * k) * style[:, None, :, None, None]
    if demodulate:
        kernel = kernel * torch.rsqrt(kernel.square().sum((2, 3, 4), keepdim=True) + 1e-8)
    x, kernel = x.reshape(1, n * i, h, w), kernel.to(x.dtype)  # a style may have more digits
    if upsample:
        kernel = kernel.transpose(1, 2).reshape(n * i, o, k, k)
        x = F.conv_transpose2d(x, kernel, stride=2, groups=n)
        return fir(x.reshape(n, o, *x.shape[-2:]), 1, (1, 1), 4.0)
    x = F.conv2d(x, kernel.reshape(n * o, i, k, k), padding=k // 2, groups=n)
    return x.reshape(n, o, h, w)


def activate(x: Tensor, bias: Tensor) -> Tensor:
    return F.leaky_relu(x + bias[None, :, None, None], 0.2) * math.sqrt(2)


def equalized(layer: EqualizedConv2d, x: Tensor, stride: int = 1, padding: int = 1) -> Tensor:
    return F.conv2d(x, layer.weight / math.sqrt(layer.weight[0].numel()), stride=stride, padding=padding)


def style_conv(layer: StyleConv2d, x: Tensor, code: Tensor, fuse=None) -> Tensor:
    upsample = layer.blur is not None
    weight = layer.weight.transpose(0, 1) if upsample else layer.weight
    x = modulated_conv(x, weight, layer.affine(code), True, upsample)
    if fuse is not None:
        feature, encoder_weight, generator_weight = fuse
        x = feature * encoder_weight[:, :, None, None] + x * generator_weight[:, :, None, None]
    return activate(x, layer.bias)


def to_image(layer: ToImage, x: Tensor, code: Tensor, image: Tensor | None) -> Tensor:
    y = modulated_conv(x, layer.weight, layer.affine(code), False) + layer.bias[None, :, None, None]
    return y if image is None else y + fir(image, 2, (2, 1), 4.0)


def straightforward(model: TextIRGenerator, degraded: Tensor, clip_embedding: Tensor, skip_strength=None) -> Tensor:
    """The same map as `model(degraded, clip_embedding, skip_strength)[0]`, without noise."""
    encoder = model.encoder
    features = [activate(equalized(encoder.first, degraded * model.config.input_scale), encoder.first.bias)]
    for down in encoder.down:
        x = fir(features[-1], 1, (2, 2), 1.0)
        features.append(activate(equalized(down.conv, x, 2, 0), down.conv.bias))
    x = activate(equalized(encoder.last, features[-1]), encoder.last.bias)
    codes = F.leaky_relu(model.style(clip_embedding * math.sqrt(clip_embedding.shape[1])), 0.2) * math.sqrt(2)
    codes = codes.reshape(len(codes), -1, model.config.style_dim)
    weights = model.fusion(model._strength(features[-1], clip_embedding, skip_strength).to(degraded.dtype))
    fuse = [
        (equalized(s, f) + s.bias[None, :, None, None], *w)
        for s, f, w in zip(model.skips, features, weights, strict=True)
    ]
    x = style_conv(model.first, x, codes[:, 0], fuse[-1])
    image = to_image(model.first_image, x, codes[:, 1], None)
    for i, level in enumerate(model.levels):
        x = style_conv(level.up, x, codes[:, 2 * i + 1])
        x = style_conv(level.conv, x, codes[:, 2 * i + 2], fuse[-2 - i])
        image = to_image(level.to_image, x, codes[:, 2 * i + 3], image)
    if model.out is not None:
        image = equalized(model.out, image) + model.out.bias[None, :, None, None]
    return image * model.config.output_scale
