"""The pipeline's results: what stays bit for bit, batches, seeds, formats, saving and loading."""

import numpy as np
import pytest
import torch
from conftest import make_image, make_mask, tiny_generator
from PIL import Image

from textir_hf import MiniCLIPModel, TextIRPipeline

TASKS = {"inpainting": {"mask_image": make_mask()}, "super-resolution": {"scale": 3}, "colorization": {}}


def test_weights_at_odd_addresses_are_moved(encoder):
    clip = MiniCLIPModel(encoder[0].config)
    for parameter in clip.parameters():
        memory = torch.empty(parameter.numel() + 16)
        start = (-memory.data_ptr() // 4) % 16 + 1  # one float past a multiple of 64 bytes
        parameter.data = memory[start : start + parameter.numel()].view(parameter.shape).copy_(parameter.data)
    before = [p.clone() for p in clip.parameters()]
    TextIRPipeline(tiny_generator(), clip, *encoder[1:])
    assert all(p.data_ptr() % 64 == 0 for p in clip.parameters())
    assert all(torch.equal(p, b) for p, b in zip(clip.parameters(), before, strict=True))


@pytest.mark.parametrize(
    ("task", "method", "change", "message"),
    [
        ("inpainting", "__call__", {"image": None}, "image must be given"),
        ("inpainting", "__call__", {"mask_image": None}, "mask_image must be given"),
        ("inpainting", "__call__", {"mask_image": make_mask(10, 10)}, "mask_image .* 40x36, got 10x10"),
        ("inpainting", "__call__", {"image": [make_image()] * 3, "mask_image": torch.ones(2, 36, 40)}, "3, got 2"),
        ("inpainting", "__call__", {"box": (15, 5, 40, 36)}, "reaches out of the box"),
        ("inpainting", "edit", {"factor": 4}, "factor cannot be used"),
        ("super-resolution", "__call__", {"scale": None}, "scale must be given"),
        ("super-resolution", "__call__", {"skip_strength": [0.5]}, "skip_strength must be a number or 3"),
        ("super-resolution", "__call__", {"tile": 16}, "tile must .* 32, got 16"),
        ("super-resolution", "__call__", {"faces": "all"}, "has no face_template"),
        ("super-resolution", "edit", {}, "factor must be given"),
        ("colorization", "__call__", {"mask_image": make_mask()}, "mask_image cannot be used"),
        ("colorization", "__call__", {"prompt": None}, "prompt must not be empty"),
        ("colorization", "__call__", {"output_type": "latent"}, "output_type must"),
        ("colorization", "__call__", {"prompt": ["a"] * 3, "image": [make_image()] * 2}, "image must .* 3, got 2"),
        ("colorization", "__call__", {"generator": [torch.Generator()] * 2}, "generator must .* list of 1"),
    ],
)
def test_bad_arguments_are_refused(pipeline, task, method, change, message):
    own = {} if (task, method) == ("super-resolution", "edit") else TASKS[task]
    arguments = {"prompt": "a face", "image": make_image()} | own | change
    with pytest.raises(ValueError, match=message):
        getattr(pipeline(task), method)(**arguments)


def test_the_color_that_transparent_pixels_hide_changes_nothing(pipeline):
    alpha = Image.new("L", (40, 36), 255)
    alpha.paste(0, (12, 10, 30, 22))
    for task in TASKS:
        pipe, results = pipeline(task), []
        for color in ("white", "black"):
            image = make_image()
            image.paste(color, (12, 10, 30, 22))
            image.putalpha(alpha)
            results.append(np.asarray(pipe("a face", image, **TASKS[task]).images[0]))
        seen = results[0][..., 3] > 0
        assert np.array_equal(results[0][seen], results[1][seen]), task


def test_several_sentences_and_templates_are_averaged(pipeline):
    pipe = pipeline("super-resolution")
    parts = pipe.encode_prompt(["a red flower", "a blue face"])
    assert parts.shape == (2, 32) and torch.allclose(parts.norm(dim=1), torch.ones(2))
    both = pipe.encode_prompt([["a red flower", "a blue face"]])
    torch.testing.assert_close(both, torch.nn.functional.normalize(parts.sum(0, keepdim=True), dim=1))
    templates = ["a {}", "red {}"]
    torch.testing.assert_close(pipe.encode_prompt("face", templates), pipe.encode_prompt([["a face", "red face"]]))

    def call(prompt=None, **kwargs):
        return pipe(prompt, make_image(), scale=2, output_type="np", **kwargs).images[0]

    assert np.array_equal(call("face", templates="red {}"), call("red face"))
    assert np.array_equal(call([["a red flower", "a blue face"]]), call(prompt_embeds=both))
    two = pipe(image=[make_image()] * 2, prompt_embeds=parts, scale=2, output_type="np").images
    assert np.array_equal(two[1], call("a blue face"))


def test_editing_degrades_and_restores_and_keeps_what_lies_outside(pipeline):
    image, region = make_image(), make_mask()
    outside = np.asarray(region) < 128
    options = {"inpainting": {}, "super-resolution": {"factor": 4}, "colorization": {"colors": True}}
    for task, option in options.items():
        pipe = pipeline(task)
        result = np.asarray(pipe.edit("a red flower", image, mask_image=region, **option).images[0])
        assert np.array_equal(result[outside], np.asarray(image)[outside])
        if task != "inpainting":
            whole = np.asarray(pipe.edit("a red flower", image, **option).images[0])
            assert whole.shape == result.shape and np.array_equal(whole[~outside], result[~outside])
