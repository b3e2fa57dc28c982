"""What a call promises besides its pixels: work is bounded, in batches, and can be repeated."""

import json

import numpy as np
import pytest
import torch
from conftest import make_image, make_mask, noisy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_faces import group
from test_guarantees import random_mask

from textir_hf.imaging.faces import FACE_TEMPLATES

TASKS = {"inpainting": {"mask_image": make_mask()}, "super-resolution": {"scale": 3}, "colorization": {}}
quick = settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@pytest.mark.parametrize("task", TASKS)
@quick
@given(st.integers(2, 5), st.integers(5, 60), st.integers(5, 60), st.integers(0, 99))
def test_batches_are_their_singles_within_a_level(noisy_pipe, task, batch_size, width, height, seed):
    pipe, images = noisy_pipe(task), [make_image(width, height, seed + i) for i in range(3)]
    masks = [random_mask(width, height, seed + i) for i in range(3)]
    options = TASKS[task] | (
        {"mask_image": masks} if task == "inpainting" else {"tile": 64} if "scale" in TASKS[task] else {}
    )

    def call(**kwargs):
        generator = torch.Generator().manual_seed(seed)
        results = pipe("a face", images, generator=generator, num_images_per_prompt=2, **options, **kwargs).images
        return np.stack([np.asarray(r) for r in results]).astype(int)

    singles, batches = call(batch_size=1), call(batch_size=batch_size)
    assert len(singles) == 6 and np.abs(singles - batches).max() <= 1


def test_a_batch_really_is_one_run_of_the_network(pipeline):
    pipe, sizes = pipeline("super-resolution"), []
    pipe.restorer.register_forward_hook(lambda network, inputs, output: sizes.append(len(inputs[0])))
    pipe("a face", make_image(40, 40), scale=4, tile=64, batch_size=4)
    assert sizes == [4, 4, 1]  # nine tiles


def remade(pipe, info: dict, **images) -> Image.Image:
    """One result, from its settings and the images of its call alone."""
    names = {"beta", "skip_strength", "scale", "factor", "box", "tile", "templates"}
    names |= {"faces", "face_prompts", "background"}
    call = {name: info[name] for name in names & info.keys()} | images
    call |= {"feather": info["feather"]} if info["feather"] else {}
    call |= {"colors": True} if info.get("edit") == "colors" else {}
    prompt, source = [info["prompt"]] if "prompt" in info else None, torch.Generator().manual_seed(info["seed"])
    return (pipe.edit if "edit" in info else pipe)(prompt, generator=source, **call).images[0]


def used_generator() -> torch.Generator:
    source = torch.Generator().manual_seed(3)
    torch.rand(5, generator=source)
    return source


@pytest.mark.parametrize(
    ("task", "call", "options"),
    [
        ("inpainting", "__call__", {"mask_image": make_mask(), "box": (2, 2, 36, 34), "feather": 3.0, "beta": 0.5}),
        ("inpainting", "edit", {"mask_image": make_mask(), "skip_strength": [0.2, 0.5, 0.9], "feather": 2.0}),
        ("super-resolution", "__call__", {"scale": 3, "tile": 64, "templates": ["a {}", "red {}"], "beta": 0}),
        ("super-resolution", "__call__", {"scale": 4, "box": (4, 4, 12, 12), "prompt": [["a face", "a flower"]]}),
        ("super-resolution", "edit", {"factor": 4, "mask_image": make_mask(), "beta": 1.5}),
        ("colorization", "__call__", {"beta": 0.25, "reference_image": make_image(seed=8)}),
        ("colorization", "edit", {"colors": True, "mask_image": make_mask()}),
    ],
)
def test_every_result_is_made_again_from_its_settings(noisy_pipe, task, call, options):
    pipe, images = noisy_pipe(task), [make_image(seed=i) for i in range(2)]
    asked = {"prompt": "a red flower", "image": images, "num_images_per_prompt": 2} | options
    fresh = torch.Generator().manual_seed(2**64 - 2)
    generator = fresh if call == "edit" else [used_generator(), *[torch.Generator().manual_seed(3)] * 3]
    getattr(pipe, call)(**asked, generator=generator)
    results = getattr(pipe, call)(**asked, generator=generator).images  # of a generator that was used before
    own = {n: asked[n] for n in ("mask_image", "reference_image") if n in asked}
    for i in (0, 3):
        copy = remade(pipe, json.loads(json.dumps(results[i].info["textir"])), image=images[i // 2], **own)
        assert copy.tobytes() == results[i].tobytes() and json.dumps(copy.info) == json.dumps(results[i].info)


def test_results_with_faces_are_made_again_from_their_settings(pipeline):
    pipe = noisy(pipeline("super-resolution", sample_size=128, face_template=FACE_TEMPLATES["portrait"]))
    image, asked = group()[0].resize((100, 52)), {"prompt": "a red flower", "scale": 4, "num_images_per_prompt": 2}
    asked |= {"face_prompts": ["a face", ["a red flower", "a blue face"]], "background": "restored", "beta": 0.3}
    for result in pipe(image=image, faces=[2, 1], **asked, generator=used_generator()).images:
        copy = remade(pipe, json.loads(json.dumps(result.info["textir"])), image=image)
        assert copy.tobytes() == result.tobytes() and json.dumps(copy.info) == json.dumps(result.info)


def test_a_result_that_is_too_large_is_refused_before_any_work(pipeline):
    pipe = pipeline("super-resolution")
    with pytest.raises(ValueError, match="The result would have 192000x192000 pixels, more than 100 million"):
        pipe("a face", np.zeros((3000, 3000, 3), np.uint8), scale=64)
    with pytest.raises(ValueError, match="more than 100 million"):
        pipe("a face", [np.zeros((8, 8, 3), np.uint8), np.zeros((4000, 4000, 3), np.uint8)], scale=3)
