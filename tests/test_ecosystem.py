"""What users of diffusers, transformers and accelerate expect of any pipeline and model of theirs."""

import accelerate
import numpy as np
import pytest
import torch
from conftest import make_image, make_mask, tiny_generator
from skimage import data
from transformers import AutoConfig, AutoModelForZeroShotImageClassification

from textir_hf import MiniCLIPModel, TextIRPipeline


def test_auto_classes_know_the_encoder(clip_folder):
    config = AutoConfig.from_pretrained(clip_folder)
    assert isinstance(AutoModelForZeroShotImageClassification.from_config(config), MiniCLIPModel)


def test_a_network_can_be_spread_over_devices(tmp_path):
    model = tiny_generator(blocks=1)
    arguments = torch.rand(2, model.config.in_channels, 32, 48), torch.randn(2, 32)
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
    for half, least in zip(results[1:], (40, 50), strict=True):
        assert -10 * (half - results[0]).square().mean().log10() > least  # dB


def test_text_is_embedded_without_the_network_and_restored_without_the_encoder(pipeline, encoder):
    pipe = pipeline("super-resolution")
    embeds = TextIRPipeline(None, *encoder, pipe.recentering).encode_prompt(["a face", "a red flower"])
    alone = TextIRPipeline(pipe.restorer, None, None, None)
    alone.set_progress_bar_config(disable=True)
    expected = pipe(["a face", "a red flower"], make_image(), scale=2, output_type="np").images
    assert np.array_equal(alone(None, make_image(), scale=2, prompt_embeds=embeds, output_type="np").images, expected)


def test_a_folder_saved_as_a_variant_says_so(pipeline, tmp_path):
    pipeline("inpainting").save_pretrained(tmp_path, variant="fp16", max_shard_size="20KB")
    with pytest.raises(ValueError, match="variant="):
        TextIRPipeline.from_pretrained(tmp_path)
    TextIRPipeline.from_pretrained(tmp_path, variant="fp16")


def test_images_and_masks_come_in_every_shape_that_diffusers_takes(pipeline):
    pipe, images, masks = pipeline("inpainting"), [make_image(seed=s) for s in range(3)], [make_mask()] * 3
    masks[1] = masks[1].transpose(0).rotate(180)
    arrays = np.stack([np.asarray(image) for image in images]).astype(np.float32) / 255
    tensors = torch.from_numpy(arrays).movedim(-1, 1)
    flat = np.stack([np.asarray(mask) for mask in masks]).astype(np.float32) / 255
    flat_tensors = torch.from_numpy(flat)
    expected = pipe("a face", images, masks, output_type="np").images
    assert np.array_equal(pipe("a face", images, masks, output_type="pt").images.movedim(1, -1), expected)
    pairs = [
        (tensors, flat_tensors),  # [B, 3, H, W], [B, H, W]
        (tensors, flat_tensors[:, None]),
        (arrays, flat[..., None]),
        ([image[None] for image in tensors], [mask[None, None] for mask in flat_tensors]),
        (tuple(arrays), [mask[None, ..., None] for mask in flat]),
        ([tensors[:2], tensors[2:]], flat_tensors),
    ]
    for image, mask in pairs:
        assert np.array_equal(pipe("a face", image, mask, output_type="np").images, expected)
    one = pipe("a face", images[0], masks[0], output_type="np").images
    for mask in (flat_tensors[0], flat_tensors[:1], flat[0][..., None].repeat(3, -1)):  # also one of three channels
        assert np.array_equal(pipe("a face", images[0], mask, output_type="np").images, one)
    array = np.asarray(images[0])
    layouts = [array[:, ::-1][:, ::-1], np.asfortranarray(array), array.astype(">u2") * 257, np.ma.array(array)]
    for image in (*layouts, array / np.longdouble(255), tensors[0].mT.contiguous().mT, torch.nn.Parameter(tensors[0])):
        assert np.array_equal(pipe("a face", image, masks[0], output_type="np").images, one)
