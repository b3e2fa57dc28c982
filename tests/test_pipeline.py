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
        ("inpainting", "__call__", {"image": torch.rand(3, 36, 40) * 2 - 1}, r"image must .*\[0, 1\], got -"),
        ("inpainting", "__call__", {"box": (15, 5, 40, 36)}, "reaches out of the box"),
        ("inpainting", "edit", {"factor": 4}, "factor cannot be used"),
        ("super-resolution", "__call__", {"scale": None}, "scale must be given"),
        ("super-resolution", "__call__", {"skip_strength": [0.5]}, "skip_strength must be a number or 3"),
        ("super-resolution", "__call__", {"tile": 16}, "tile must .* 32, got 16"),
        ("super-resolution", "__call__", {"faces": "all"}, "has no face_template"),
        ("super-resolution", "__call__", {"prompt_embeds": torch.zeros(1, 32)}, "prompt_embeds"),
        ("super-resolution", "edit", {}, "factor must be given"),
        ("colorization", "__call__", {"mask_image": make_mask()}, "mask_image cannot be used"),
        ("colorization", "__call__", {"prompt": None}, "prompt must not be empty"),
        ("colorization", "__call__", {"prompt": [["a face", " "]]}, "prompt must not be empty"),
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
