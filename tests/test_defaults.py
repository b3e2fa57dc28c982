"""PyTorch's default type and device, which any other code in the process may set, change no result."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_image, make_mask, noisy
from test_faces import PORTRAIT, portrait

from textir_hf import TextIRPipeline, sweep
from textir_hf.models.detector import face_detector

SMALL = portrait().resize((60, 60))


@pytest.fixture(params=["float16", "meta"])
def other_defaults(request):
    """A function that sets another default; nothing can be computed on the device "meta"."""

    def start() -> None:
        face_detector.cache_clear()
        if request.param == "meta":
            torch.set_default_device("meta")
        else:
            torch.set_default_dtype(getattr(torch, request.param))

    yield start
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    face_detector.cache_clear()


def results(folder: Path) -> list[np.ndarray]:
    """What the checkpoints of a folder, one of each task, make."""
    tasks = ("inpainting", "super-resolution", "colorization")
    fill, enlarge, colorize = (TextIRPipeline.from_pretrained(folder / task) for task in tasks)
    images = [
        *fill("a face", portrait(), make_mask(300, 300), faces="all", beta=0.5, feather=3).images,
        *enlarge("a face", make_image(), scale=4, box=(3, 4, 12, 13), background="restored").images,
        *enlarge.edit("a face", SMALL, factor=8, faces="largest", skip_strength=[0.1, 0.5, 0.9]).images,
        sweep(colorize, make_image(), ["a face"], betas=[0, 1], seed=5),
    ]
    return [np.asarray(image) for image in images] + [fill.encode_prompt("a red flower", ["a {}"]).numpy()]


def test_loading_and_results_do_not_depend_on_pytorchs_defaults(pipeline, openai_encoder, other_defaults, tmp_path):
    parts = {"inpainting": None, "super-resolution": None, "colorization": openai_encoder}
    for task, part in parts.items():
        noisy(pipeline(task, part, face_template=PORTRAIT)).save_pretrained(tmp_path / task)
    expected = results(tmp_path)
    other_defaults()
    for first, second in zip(expected, results(tmp_path), strict=True):
        assert np.array_equal(first, second)
