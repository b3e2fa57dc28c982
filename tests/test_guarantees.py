"""What the pipeline promises for every image, tried on random sizes, masks, modes and types."""

import numpy as np
import pytest
import torch
from conftest import make_image
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from textir_hf.imaging.color import lightness
from textir_hf.imaging.raster import to_raster
from textir_hf.imaging.resample import to_tensor

TASKS = ("inpainting", "super-resolution", "colorization")
tried = settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
sides = st.integers(5, 90)
seeds = st.integers(0, 2**31)


def call(pipe, image, mask=None, **kwargs):
    task = pipe.restorer.config.task
    options = {"mask_image": mask} if task == "inpainting" else {"scale": 2} if task == "super-resolution" else {}
    return pipe("a red flower", image, **options | kwargs)


def random_mask(width: int, height: int, seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    for _ in range(rng.integers(1, 4)):
        top, left = rng.integers(0, height), rng.integers(0, width)
        mask[top : top + rng.integers(1, height + 1), left : left + rng.integers(1, width + 1)] = 255
    return Image.fromarray(mask)


@tried
@given(sides, sides, seeds, st.sampled_from(["RGB", "L", "RGBA", "LA", "P", "1", "CMYK"]), st.sampled_from([0, 3]))
def test_unmasked_pixels_are_the_inputs(pipeline, width, height, seed, mode, feather):
    image, mask = make_image(width, height, seed), random_mask(width, height, seed)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)))
    image = image.convert(mode)
    result = call(pipeline("inpainting"), image, mask, feather=feather).images[0]
    outside = np.asarray(mask) < 128
    expected, got = np.array(image.convert("RGBA")), np.asarray(result.convert("RGBA"))
    expected[~outside, 3] = 255  # what is repainted is there
    assert result.mode == ("RGBA" if expected[..., 3].min() < 255 else "RGB") and result.size == image.size
    assert np.array_equal(got[outside], expected[outside]) and np.array_equal(got[..., 3], expected[..., 3])


@tried
@given(sides, sides, seeds, st.floats(0.2, 4))
def test_colorization_keeps_the_lightness(pipeline, width, height, seed, gain):
    image = make_image(width, height, seed)
    result = call(pipeline("colorization", output_scale=50 * gain), image).images[0]
    wanted, got = (lightness(to_tensor(to_raster(i).rgb)) for i in (image, result))
    assert (wanted - got).abs().max() <= 0.5 / 255 * 100


@pytest.mark.parametrize("task", TASKS)
@tried
@given(sides, sides, seeds)
def test_a_seed_is_a_image_alone_and_in_a_batch(noisy_pipe, task, width, height, seed):
    pipe = noisy_pipe(task)
    images = [make_image(width, height, seed), make_image(height, width, seed + 1)]
    masks = [random_mask(*i.size, seed) for i in images]

    def source():
        return torch.Generator().manual_seed(seed)

    alone = [np.asarray(call(pipe, i, m, generator=source()).images[0]) for i, m in zip(images, masks, strict=True)]
    both = call(pipe, images, masks, generator=source()).images
    assert all(np.array_equal(a, np.asarray(b)) for a, b in zip(alone, both, strict=True))
    assert np.array_equal(*(call(pipe, images[0], masks[0]).images[0] for _ in range(2)))  # without a generator
