"""What users of diffusers, transformers and accelerate expect of any pipeline and model of theirs."""

import os
import subprocess
import sys
from pathlib import Path

import accelerate
import numpy as np
import pytest
import torch
from conftest import make_image, make_mask, tiny_generator
from skimage import data
from torch.nn import functional as F

import textir_hf
from textir_hf import TextIRPipeline

_PACKAGE_FIRST = """
import sys, textir_hf, textir_hf.imaging.files
assert not {"torch", "transformers", "diffusers"} & set(sys.modules)
import textir_hf.models
from transformers import AutoConfig, AutoModelForZeroShotImageClassification
config = AutoConfig.from_pretrained(sys.argv[1])
assert AutoModelForZeroShotImageClassification.from_config(config).__class__ is textir_hf.MiniCLIPModel
"""


def psnr(first, second) -> float:
    return -10 * np.log10(np.square(np.asarray(first, float) - np.asarray(second, float)).mean() + 1e-20)


def inputs(model, count=2, height=32, width=48):
    degraded = torch.rand(count, model.config.in_channels, height, width)
    return degraded, F.normalize(torch.randn(count, 32), dim=1)


def test_auto_classes_know_the_encoder_once_our_models_are_imported(clip_folder):
    environment = os.environ | {"PYTHONPATH": str(Path(textir_hf.__file__).parent.parent)}
    subprocess.run([sys.executable, "-c", _PACKAGE_FIRST, clip_folder], check=True, env=environment)


def test_a_network_can_be_spread_over_devices(tmp_path):
    model = tiny_generator(blocks=1)
    arguments = inputs(model)
    with torch.no_grad():
        expected = model(*arguments)[0]
    kinds = model._no_split_modules
    assert set(kinds) <= {type(module).__name__ for module in model.modules()}
    memory = {"cpu": model.get_memory_footprint() // 2, "disk": "1GB"}
    devices = accelerate.infer_auto_device_map(model, max_memory=memory, no_split_module_classes=kinds)
    assert set(devices.values()) == {"cpu", "disk"}
    spread = accelerate.dispatch_model(model, devices, main_device="cpu", offload_dir=tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(spread(*arguments)[0], expected)


def test_half_precision_stays_within_40_db_and_gives_float32():
    """With an embedded network; the loss is that of rounding weights and features, not of styles."""
    image = torch.from_numpy(data.astronaut()[10:138, 160:288].copy()).movedim(-1, 0)
    results = []
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        pipe = TextIRPipeline.from_pretrained("textir-mini-inpainting", dtype=dtype)
        pipe.set_progress_bar_config(disable=True)
        assert pipe.restorer.dtype == pipe.clip.dtype == dtype
        results.append(pipe("an old man", image, **pipe.task.example(128), output_type="pt").images)
        assert results[-1].dtype == torch.float32
    full, bfloat16, float16 = results
    assert 40 < psnr(bfloat16, full) < psnr(float16, full) < 100


def test_text_is_embedded_without_the_network_and_restored_without_the_encoder(pipeline, encoder):
    pipe = pipeline("super-resolution")
    embeds = TextIRPipeline(None, *encoder, pipe.recentering).encode_prompt(["a face", "a red flower"])
    alone = TextIRPipeline(pipe.restorer, None, None, None)
    alone.set_progress_bar_config(disable=True)
    expected = pipe(["a face", "a red flower"], make_image(), scale=2, output_type="np").images
    assert np.array_equal(alone(None, make_image(), scale=2, prompt_embeds=embeds, output_type="np").images, expected)


@pytest.mark.parametrize("sharded", [{}, {"max_shard_size": "20KB"}])
def test_a_folder_saved_as_a_variant_says_so(pipeline, sharded, tmp_path):
    pipeline("inpainting").save_pretrained(tmp_path / "all", variant="fp16", **sharded)
    pipeline("inpainting").save_pretrained(tmp_path / "one")
    (weights,) = (tmp_path / "one" / "restorer").glob("*.safetensors")
    weights.rename(weights.with_name("diffusion_pytorch_model.bf16.safetensors"))
    for name in ("all", "one"):
        with pytest.raises(ValueError, match="variant="):
            TextIRPipeline.from_pretrained(tmp_path / name)
    TextIRPipeline.from_pretrained(tmp_path / "all", variant="fp16")


def test_images_and_masks_come_in_every_shape_that_diffusers_takes(pipeline):
    pipe, images, masks = pipeline("inpainting"), [make_image(seed=s) for s in range(3)], [make_mask()] * 3
    masks[1] = masks[1].transpose(0).rotate(180)
    arrays = np.stack([np.asarray(image) for image in images]).astype(np.float32) / 255
    tensors = torch.from_numpy(arrays).movedim(-1, 1)
    flat = np.stack([np.asarray(mask) for mask in masks]).astype(np.float32) / 255
    flat_tensors = torch.from_numpy(flat)
    expected = pipe("a face", images, masks, output_type="np").images
    shown = pipe("a face", images, masks, return_dict=False)[0]
    assert np.array_equal((expected * 255).round(), np.stack([np.asarray(image) for image in shown]))
    assert np.array_equal(pipe("a face", images, masks, output_type="pt").images.movedim(1, -1), expected)
    pairs = [
        (tensors, flat_tensors),  # [B, 3, H, W], [B, H, W]
        (tensors, flat_tensors[:, None]),
        (arrays, flat),
        (arrays, flat[..., None]),
        (list(tensors), list(flat_tensors[:, None])),
        ([image[None] for image in tensors], [mask[None, None] for mask in flat_tensors]),
        (tuple(arrays), [mask[None, ..., None] for mask in flat]),
        ([tensors[:2], tensors[2:]], flat_tensors),
    ]
    for image, mask in pairs:
        assert np.array_equal(pipe("a face", image, mask, output_type="np").images, expected)
    one = pipe("a face", images[0], masks[0], output_type="np").images
    colored = flat_tensors[:1].expand(3, -1, -1)  # one mask of three channels, since there is one image
    for mask in (flat_tensors[0], flat[0], flat_tensors[:1], colored, flat[0][..., None].repeat(3, -1)):
        assert np.array_equal(pipe("a face", images[0], mask, output_type="np").images, one)
