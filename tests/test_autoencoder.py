import pytest
import torch
from conftest import tiny_generator
from skimage import data
from torch.nn import functional as F

from textir_hf import TextIRGenerator
from textir_hf.hub.export import _export_restorer
from textir_hf.models.autoencoder import LATENT_CHANNELS, LIMIT, load_taef2


def latent_generator(task: str = "inpainting", **changes) -> TextIRGenerator:
    """A tiny generator that ends with TAEF2's decoder."""
    latent = {"out_channels": 3, "output_scale": 1.0, "patch_size": 8, "blocks": 1, "decoder": "taef2"}
    return tiny_generator(task, **latent | changes)


def inputs(model, count=2, height=32, width=64):
    skip_strength = 0.25 if model.config.skip_strength_source == "input" else None
    degraded = torch.rand(count, model.config.in_channels, height, width)
    return degraded, F.normalize(torch.randn(count, 32), dim=1), skip_strength


@torch.no_grad()
def test_the_autoencoder_gives_a_portrait_back():
    face = torch.from_numpy(data.astronaut()[:256, 96:352].copy()).permute(2, 0, 1)[None] / 255
    latents = load_taef2("encoder")(face)
    assert latents.shape == (1, LATENT_CHANNELS, 32, 32) and latents.abs().max() <= LIMIT
    assert abs(latents.mean()) < 0.2 and 0.7 < latents.std() < 1.3
    error = (load_taef2("decoder")(latents).clamp(0, 1) - face).square().mean()
    assert -10 * error.log10() > 31  # dB


@pytest.mark.parametrize("task", ["inpainting", "super-resolution", "colorization"])
@torch.no_grad()
def test_the_image_is_the_decoded_latents(task):
    model = latent_generator(task)
    assert model.stride == 32
    arguments = inputs(model)
    latents = model(*arguments, output_type="latent").sample
    assert latents.shape == (2, LATENT_CHANNELS, 4, 8) and latents.abs().max() < LIMIT
    image = model(*arguments).sample
    assert image.shape == (2, 3, 32, 64)
    torch.testing.assert_close(image, load_taef2("decoder")(latents), rtol=0, atol=1e-6)
    torch.testing.assert_close(model(arguments[0][1:], arguments[1][1:], arguments[2]).sample, image[1:])


def test_onnx_gives_the_same_images(tmp_path):
    model = latent_generator("super-resolution", channels=(4,), blocks=0)
    for i in range(1, 9):  # one block of each kind is left
        model.latent_decoder.blocks[i] = torch.nn.Identity()
    _export_restorer(model, tmp_path / "restorer.onnx")  # compares them itself
    assert (tmp_path / "restorer.onnx").is_file()
