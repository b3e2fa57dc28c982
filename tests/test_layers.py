import pytest
import torch
from torch.nn import functional as F

from benchmarks.straightforward import modulated_conv
from textir_hf.models.layers import EqualizedLinear, StyleConv2d


def test_style_conv_weighs_feature_and_result_and_adds_noise_before_that():
    layer = StyleConv2d(5, 7, 4)
    torch.nn.init.constant_(layer.noise_strength, 0.3)
    x, style, noise = torch.randn(2, 5, 6, 6), torch.randn(2, 4), torch.randn(2, 1, 6, 6)
    feature = torch.randn(2, 7, 6, 6)
    ours, theirs = torch.rand(2, 7), torch.rand(2, 7)
    plain = modulated_conv(x, layer.weight, layer.affine(style), True) + 0.3 * noise
    expected = theirs[..., None, None] * feature + ours[..., None, None] * plain
    actual = layer(x, style, noise, (feature, theirs, ours))
    torch.testing.assert_close(actual, F.leaky_relu(expected, 0.2) * 2**0.5, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("upsample", [False, True])
def test_extreme_styles_keep_their_range_and_precision_under_autocast(dtype, upsample):
    layer = StyleConv2d(32, 16, 8, upsample)
    x, style = torch.randn(4, 32, 8, 8), torch.randn(4, 8)
    for size in (1e-3, 1.0, 1e3, 1e5):
        with torch.no_grad():
            expected = layer(x.clone(), size * style)
            with torch.autocast("cpu", dtype):
                actual = layer(x.to(dtype), size * style)
        assert torch.isfinite(actual).all()
        error = (actual.float() - expected).square().mean().sqrt() / expected.square().mean().sqrt()
        assert error < (0.01 if dtype == torch.bfloat16 else 0.002)
        scale, gain = layer._factors(size * style, dtype)
        with torch.autocast("cpu", dtype):
            autocast_scale, autocast_gain = layer._factors(size * style, dtype)
        assert torch.equal(scale, autocast_scale) and torch.equal(gain, autocast_gain)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_linear_layers_are_computed_in_fp32(dtype):
    layer, x = EqualizedLinear(64, 8), 1e4 * torch.randn(4, 64)
    with torch.autocast("cpu", dtype):
        assert torch.equal(layer(x), layer(x.double().float())) and layer(x).dtype == torch.float32
    expected = layer(x.to(dtype).float())
    half = EqualizedLinear(64, 8).to(dtype)
    half.load_state_dict({k: v.to(dtype) for k, v in layer.state_dict().items()})
    torch.testing.assert_close(half(x.to(dtype)), expected, rtol=0.02, atol=expected.abs().max().item() * 0.02)
