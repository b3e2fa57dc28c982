"""Whatever is given as an image, a prompt, a template or a switch works, or is refused by its name, and stays whole."""

import io
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_image, make_mask
from PIL import Image
from test_faces import PORTRAIT, portrait
from test_numbers import refuse

from textir_hf import save_image, sweep

EMPTY = Image.new("RGB", (9, 9)).crop((5, 5, 5, 5))
NO_IMAGES = [
    *[EMPTY, np.zeros((0, 4, 3), np.uint8), "a.png", Path("a.png"), io.BytesIO(b"x"), 5, {"image": 1}, (), [None]],
    *[[make_image(), "a.png"], np.zeros((36, 40, 3), complex), np.zeros(7), np.full((36, 40), np.nan)],
    *[np.full((4, 4, 3), 2.0), torch.empty(2, 3, 36, 40, device="meta"), torch.ones(3, 36, 40).to_sparse()],
]


@pytest.fixture(scope="module")
def pipe(pipeline):
    return cache(lambda task: pipeline(task, face_template=PORTRAIT))


@pytest.mark.parametrize("value", NO_IMAGES, ids=range(len(NO_IMAGES)))
def test_what_is_no_image_is_refused_by_the_arguments_name(pipe, value, tmp_path):
    fill, enlarge = pipe("inpainting"), pipe("super-resolution")
    good = {"prompt": "a face", "image": make_image(), "mask_image": make_mask(), "beta": 0.5}
    for name in ("image", "mask_image", "reference_image"):
        refuse(name, fill, **good | {name: value})
    background = {"scale": 4, "box": (4, 4, 10, 10), "background": value}
    refuse("background", enlarge, prompt="a face", image=make_image(20, 18), **background)
    refuse("image", sweep, pipe=enlarge, image=value, prompts=["a face"], factors=[4])
    refuse("image", save_image, image=value, path=tmp_path / "a.png")


@pytest.mark.parametrize("value", ["no", 1, None, np.array([True, False])])
def test_a_switch_is_true_or_false(pipe, tmp_path, value):
    colorize = pipe("colorization")
    refuse("colors", colorize.edit, prompt="a face", image=make_image(), colors=value)
    refuse("return_dict", colorize, prompt="a face", image=make_image(), return_dict=value)
    refuse("metadata", save_image, image=make_image(), path=tmp_path / "a.png", metadata=value)


SURROGATE = "a \ud800 face"


@pytest.mark.parametrize(
    "value", [SURROGATE, 5, b"a face", {"a": 1}, [None, "a"], [["a", None]], [[]], ["a", SURROGATE]], ids=ascii
)
def test_what_is_no_sentence_is_refused(pipe, value):
    fill = pipe("inpainting")
    refuse("prompt", fill, prompt=value, image=make_image(), mask_image=make_mask())
    refuse("prompt", fill.encode_prompt, prompt=value)
    refuse("rompt", pipe("super-resolution"), image=portrait(), scale=2, faces="all", face_prompts=value)


def test_what_are_no_templates_or_embeddings_is_refused(pipe):
    fill = pipe("inpainting")
    for value in (5, ["a photo"], [None], ["{}", SURROGATE + "{}"], ["{}"] * 1001, ["x" * 10**6 + "{}"], {"{}": 1}):
        refuse("templates", fill, prompt="a face", image=make_image(), mask_image=make_mask(), templates=value)
        refuse("templates", fill.encode_prompt, prompt="a face", templates=value)
        refuse("templates", type(fill), **fill.components, prompt_templates=value)
    shapes = [torch.zeros(1, 32, dtype=torch.complex64), torch.zeros(0, 32), np.zeros((1, 32)), torch.zeros(32)]
    for value in (torch.full((1, 32), torch.nan), *shapes, "a"):
        refuse("prompt_embeds", pipe("colorization"), prompt=None, image=make_image(), prompt_embeds=value)
