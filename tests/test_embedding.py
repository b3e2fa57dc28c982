import numpy as np
import torch
from conftest import processor
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from textir_hf.models.embedding import clip_pixel_values


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(30, 400), st.integers(30, 400))
def test_images_reach_the_encoder_as_from_its_image_processor(height, width):
    image_processor = processor(64)
    rows, columns = np.mgrid[:height, :width]
    smooth = np.stack([128 + 80 * np.sin(rows / 19), 128 + 80 * np.cos(columns / 23), rows + columns], 2).clip(0, 255)
    image = Image.fromarray(smooth.astype(np.uint8))
    expected = image_processor(image, return_tensors="pt")["pixel_values"]
    got = clip_pixel_values(torch.from_numpy(np.array(image)).movedim(-1, 0)[None] / 255, image_processor)
    assert got.shape == expected.shape and (got - expected).abs().max() < 0.03  # two levels of 8 bits


def test_only_the_middle_of_a_very_long_image_is_resized():
    image_processor = processor(64)
    image = torch.rand(1, 3, 20, 5000)
    assert torch.equal(
        clip_pixel_values(image, image_processor), clip_pixel_values(image[..., 2420:2580], image_processor)
    )
