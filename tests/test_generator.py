import json

import pytest
import torch
from conftest import SHARED, tiny_generator
from safetensors.torch import load_file
from torch.nn import functional as F

from benchmarks.straightforward import straightforward
from textir_hf.hub.convert import convert_state
from textir_hf.models.layers import StyleConv2d


def inputs(model, count=2, height=32, width=48):
    degraded = torch.rand(count, model.config.in_channels, height, width)
    return degraded, F.normalize(torch.randn(count, 32), dim=1)


@pytest.mark.parametrize("task", ["inpainting", "super-resolution", "colorization"])
@torch.no_grad()
def test_equals_the_straightforward_implementation(task):
    model = tiny_generator(task)
    degraded, embedding = inputs(model)
    skip_strength = 0.25 if task == "super-resolution" else None
    sample = model(degraded, embedding, skip_strength).sample
    assert sample.shape == (2, model.config.out_channels, 32, 48)
    expected = straightforward(model, degraded, embedding, skip_strength)
    assert (sample - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"degraded": torch.rand(1, 3, 32, 32)}, r"degraded must be \[N, 4, H, W\]"),
        ({"degraded": torch.rand(1, 4, 30, 32)}, "multiples of 4, got 30x32"),
        ({"clip_embedding": torch.rand(1, 31)}, r"clip_embedding must be \[1, 32\]"),
        ({"generator": [torch.Generator()] * 2}, "generator must be one or a list of 1"),
        ({"skip_strength": torch.zeros(1, 2)}, r"skip_strength must be a number, \[1\] or \[1, 3\], got \["),
        ({"skip_strength": torch.zeros(3)}, "skip_strength must be a number"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    arguments = {"degraded": torch.rand(1, 4, 32, 32), "clip_embedding": torch.rand(1, 32)}
    with pytest.raises(ValueError, match=message):
        tiny_generator()(**arguments | change)


@pytest.mark.skipif(not SHARED.exists(), reason="needs the fixtures of the authors' release")
@pytest.mark.parametrize("task", ["inpainting", "super_resolution", "colorization"])
@torch.no_grad()
def test_official_fixtures_are_reproduced(task):
    state = torch.load(SHARED / "fixtures" / f"official_{task}_128.pth", weights_only=True)["params_ema"]
    model = convert_state(state)
    assert model.config.task == task.replace("_", "-")
    sizes = json.loads((SHARED / "fixtures" / "official_128.json").read_text())[task]
    assert sum(p.numel() for p in model.parameters()) == sizes["params"]
    io = load_file(SHARED / "fixtures" / f"official_{task}_128_io.safetensors")
    noise = [io[f"noise.{i}"] for i in range(7)]
    for maps, name in ((None, "output_without_noise"), (noise, "output_with_noise")):
        sample = model(io["input"], io["clip_embedding"], io.get("strength"), noise=maps).sample
        assert (sample - io[name]).abs().max() < 1e-5 * (io[name].max() - io[name].min())


def test_strength_of_each_level_weighs_that_level_alone():
    model = tiny_generator("super-resolution")
    x, c = inputs(model)
    same = model(x, c, torch.full((len(x), 3), 0.4))[0]
    torch.testing.assert_close(same, model(x, c, 0.4)[0])
    for i in range(3):
        other = model(x, c, torch.tensor([[0.4] * i + [0.9] + [0.4] * (2 - i)]))[0]
        assert (other - same).abs().max() > 1e-4
    each = model(x, c, torch.tensor([0.0, 1.0]))[0]
    torch.testing.assert_close(each[1:], model(x[1:], c[1:], 1.0)[0])


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
