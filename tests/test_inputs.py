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

from textir_hf import estimate_scale, save_image, sweep

EMPTY = Image.new("RGB", (9, 9)).crop((5, 5, 5, 5))
NO_IMAGES = [
    *[EMPTY, EMPTY.convert("RGBA"), np.zeros((0, 4, 3), np.uint8), torch.zeros(3, 0, 4), np.zeros((1, 0, 4, 3))],
    *["a.png", Path("a.png"), io.BytesIO(b"x"), 5, True, {"image": 1}, (), [[]], [None], [make_image(), "a.png"]],
    *[np.full((36, 40, 3), None), np.zeros((36, 40, 3), complex), np.zeros((36, 40), "M8[s]"), np.zeros(7)],
    *[np.full((36, 40), np.nan), np.full((4, 4, 3), 2.0), np.zeros((2, 2, 36, 40, 3))],
    *[torch.empty(2, 3, 36, 40, device="meta"), torch.ones(3, 36, 40).to_sparse()],
    torch.zeros(3, 36, 40, dtype=torch.complex64),
]


@pytest.fixture(scope="module")
def pipe(pipeline):
    return cache(lambda task: pipeline(task, face_template=PORTRAIT))


@pytest.mark.parametrize("number", range(len(NO_IMAGES)))
def test_what_is_no_image_is_refused_by_the_arguments_name(pipe, number):
    value = NO_IMAGES[number]
    fill, enlarge = pipe("inpainting"), pipe("super-resolution")
    good = {"prompt": "a face", "image": make_image(), "mask_image": make_mask(), "beta": 0.5}
    for name in ("image", "mask_image", "reference_image"):
        refuse(name, fill, **good | {name: value})
    refuse("mask_image", fill.edit, prompt="a face", image=make_image(), mask_image=value)
    refuse("image", fill.edit, prompt="a face", image=value, mask_image=make_mask())
    background = {"scale": 4, "box": (4, 4, 10, 10), "background": value}
    refuse("background", enlarge, prompt="a face", image=make_image(20, 18), **background)
    refuse("image", sweep, pipe=enlarge, image=value, prompts=["a face"], factors=[4])
    refuse("image", estimate_scale, image=value)


def test_an_open_file_that_was_given_by_mistake_stays_open(pipe, tmp_path):
    make_image().save(tmp_path / "a.png")
    with (tmp_path / "a.png").open("rb") as file:
        refuse("image", pipe("colorization"), prompt="a face", image=file)
        assert not file.closed and len(file.read()) > 0


def test_arrays_and_tensors_of_any_layout_are_the_image(pipe):
    array = np.asarray(make_image())
    tensor = torch.tensor(array).movedim(-1, 0)
    expected = pipe("colorization")("a face", make_image(), output_type="np").images
    kinds = [
        *[array[:, ::-1][:, ::-1], np.asfortranarray(array), array.astype(">u2") * 257, np.ma.array(array)],
        *[array / np.longdouble(255), tensor.double() / 255, tensor.mT.contiguous().mT],
        *[torch.nn.Parameter(tensor / 255), torch.tensor(array.copy()).permute(2, 0, 1)],
    ]
    for kind in kinds:
        assert np.array_equal(pipe("colorization")("a face", kind, output_type="np").images, expected)
    mask = np.asarray(make_mask()) > 0
    expected = pipe("inpainting")("a face", make_image(), make_mask(), output_type="np").images
    for kind in (mask, torch.tensor(mask), torch.tensor(mask)[None]):
        assert np.array_equal(pipe("inpainting")("a face", make_image(), kind, output_type="np").images, expected)


@pytest.mark.parametrize("value", ["no", 1, None, np.array([True, False])])
def test_a_switch_is_true_or_false(pipe, tmp_path, value):
    colorize = pipe("colorization")
    refuse("colors", colorize.edit, prompt="a face", image=make_image(), colors=value)
    refuse("return_dict", colorize, prompt="a face", image=make_image(), return_dict=value)
    refuse("return_dict", colorize.edit, prompt="a face", image=make_image(), colors=True, return_dict=value)
    refuse("metadata", save_image, image=make_image(), path=tmp_path / "a.png", metadata=value)


SURROGATE = "a \ud800 face"
NO_SENTENCES = [SURROGATE, 5, b"a face", {"a": 1}, [None, "a"], [["a", None]], [[]], ["a", SURROGATE]]


@pytest.mark.parametrize("value", NO_SENTENCES, ids=ascii)
def test_what_is_no_sentence_is_refused(pipe, value):
    fill = pipe("inpainting")
    refuse("prompt", fill, prompt=value, image=make_image(), mask_image=make_mask())
    refuse("prompt", fill.edit, prompt=value, image=make_image(), mask_image=make_mask())
    refuse("prompt", fill.encode_prompt, prompt=value)
    if value != []:
        faces = {"image": portrait(), "scale": 2, "faces": "all", "face_prompts": value}
        refuse("rompt", pipe("super-resolution"), **faces)


@pytest.mark.parametrize(
    "value",
    [5, ["a photo"], [None], ["{}", SURROGATE + "{}"], ["{}"] * 1001, ["x" * 10**6 + "{}"], {"{}": 1}],
)
def test_what_is_no_list_of_templates_is_refused(pipe, value):
    fill = pipe("inpainting")
    refuse("templates", fill, prompt="a face", image=make_image(), mask_image=make_mask(), templates=value)
    refuse("templates", fill.encode_prompt, prompt="a face", templates=value)
    refuse("templates", type(fill), **fill.components, prompt_templates=value)


@pytest.mark.parametrize(
    "value",
    [
        *[torch.zeros(1, 32).to_sparse(), torch.empty(1, 32, device="meta"), torch.full((1, 32), torch.nan)],
        *[torch.zeros(1, 32, dtype=torch.complex64), torch.zeros(0, 32), np.zeros((1, 32)), torch.zeros(32), "a"],
    ],
)
def test_what_is_no_embedding_is_refused(pipe, value):
    refuse("prompt_embeds", pipe("colorization"), prompt=None, image=make_image(), prompt_embeds=value)


@pytest.mark.parametrize("value", [EMPTY, EMPTY.convert("RGBA"), "a.png", None, np.zeros((4, 4, 3), np.uint8)])
def test_what_is_no_image_cannot_be_saved(tmp_path, value):
    for suffix in (".png", ".jpg", ".webp", ".tif", ".bmp"):
        with pytest.raises(ValueError, match="image"):
            save_image(value, tmp_path / f"a{suffix}")
    assert not list(tmp_path.iterdir())
