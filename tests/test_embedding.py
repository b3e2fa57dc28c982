import numpy as np
import pytest
import torch
from conftest import processor, tiny_generator
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import SiglipImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from textir_hf import TextIRPipeline
from textir_hf.models.checkpoint import check_processor
from textir_hf.models.embedding import clip_pixel_values, load_encoder


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(30, 400), st.integers(30, 400))
def test_images_reach_the_encoder_as_from_its_image_processor(height, width):
    image_processor = processor(64)
    rows, columns = np.mgrid[:height, :width]
    smooth = np.stack([128 + 80 * np.sin(rows / 19), 128 + 80 * np.cos(columns / 23), rows + columns], 2).clip(0, 255)
    image = Image.fromarray(smooth.astype(np.uint8))
    expected = image_processor(image, return_tensors="pt")["pixel_values"]
    got = clip_pixel_values(torch.from_numpy(np.array(image)).movedim(-1, 0)[None] / 255, image_processor)
    assert got.shape == expected.shape and (got - expected).abs().max() < 0.03  # two levels of 8 bits


CROP = {"height": 32, "width": 32}
PLAIN = {"size": {"shortest_edge": 32}, "crop_size": CROP}
UNLIKE = [
    {"size": CROP},
    {"size": {"shortest_edge": 32, "longest_edge": 64}},
    {"crop_size": {"height": 32, "width": 16}},
    {"do_resize": False},
    {"do_center_crop": False},
    {"do_rescale": False},
    {"do_normalize": False},
    {"do_pad": True, "pad_size": {"height": 48, "width": 48}},
    {"resample": 0},
    {"rescale_factor": 1 / 127.5},
]


@pytest.mark.parametrize("change", UNLIKE, ids=str)
def test_a_processor_that_does_something_else_is_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        check_processor(CLIPImageProcessorPil(**PLAIN | change))


def test_every_way_to_a_processor_checks_it(encoder, tmp_path):
    unlike = SiglipImageProcessorPil(size=CROP)
    TextIRPipeline(tiny_generator(), *encoder).save_pretrained(tmp_path / "pipe")
    for part in (*encoder[:2], unlike):
        part.save_pretrained(tmp_path / "encoder")
    ways = [
        lambda: TextIRPipeline(tiny_generator(), *encoder[:2], unlike),
        lambda: TextIRPipeline.from_pretrained(tmp_path / "pipe", image_processor=unlike),
        lambda: load_encoder(tmp_path / "encoder"),
    ]
    for way in ways:
        with pytest.raises(ValueError, match="image processor"):
            way()
