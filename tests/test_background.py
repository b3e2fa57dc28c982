"""What lies around restored faces and boxes: the whole image's result or another's, which comes back bit for bit."""

import numpy as np
import pytest
from conftest import make_image
from PIL import Image
from test_faces import check_changes, group

from textir_hf.imaging.faces import FACE_TEMPLATES
from textir_hf.pipeline.faces import frames_of

PORTRAIT = FACE_TEMPLATES["portrait"]


@pytest.fixture
def faces(pipeline):
    """A network of faces, and another one for what lies around them."""
    return (
        pipeline("super-resolution", sample_size=128, face_template=PORTRAIT),
        pipeline("super-resolution", channels=(8, 12, 12)),
    )


def small_group() -> Image.Image:
    return group()[0].resize((100, 52), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(("choice", "scale", "output_type"), [("all", 7.5, "np"), (2, 4, "pt")])
def test_outside_the_faces_the_background_comes_back_bit_for_bit(faces, choice, scale, output_type):
    pipe, other = faces
    small = small_group()
    background = other("a flower", small, scale=scale, output_type=output_type).images[0]
    result = pipe("a face", small, scale=scale, faces=choice, background=background).images[0]
    large, frames = other("a flower", small, scale=scale).images[0], frames_of(np.asarray(small), choice, PORTRAIT)
    check_changes(result, large, [frame.bounds(large.size[::-1], of=small.size[::-1]) for frame in frames], 0.3)
    assert len(result.info["textir"]["background_sha256"]) == 64


@pytest.mark.parametrize("where", [{"faces": 2}, {"box": (10, 5, 60, 45)}])
def test_around_the_parts_a_restored_background_is_the_result_without_them(faces, where):
    pipe, small = faces[0], small_group()
    arguments = {"scale": 4, "num_images_per_prompt": 2}
    whole = pipe("a face", small, **arguments).images[0]
    results = pipe("a face", small, background="restored", **where, **arguments).images
    if "box" in where:
        boxes = [tuple(4 * v for v in where["box"])]
    else:
        frames = frames_of(np.asarray(small), where["faces"], PORTRAIT)
        boxes = [frame.bounds(whole.size[::-1], of=small.size[::-1]) for frame in frames]
    check_changes(results[0], whole, boxes, 0.3)
    assert results[0].info["textir"]["background"] == "restored"


def test_an_image_without_a_face_is_the_background(faces):
    pipe, other = faces
    images = [make_image(), small_group()]
    backgrounds = other("a flower", images, scale=4).images
    results = pipe("a face", images, scale=4, faces="auto", background=backgrounds).images
    assert results[0].tobytes() == backgrounds[0].tobytes() and results[0].info["textir"]["faces_found"] == 0
    assert results[1].tobytes() != backgrounds[1].tobytes() and results[1].info["textir"]["faces_found"] == 2


def test_backgrounds_that_do_not_fit_are_refused(faces):
    for options, message in (
        ({"faces": "auto", "background": make_image()}, "background must .* 160x144, got 40x36"),
        ({"background": make_image()}, "background needs faces or box"),
        ({"faces": "auto", "background": "photo.png"}, "background must .*photo"),
    ):
        with pytest.raises(ValueError, match=message):
            faces[0]("a face", make_image(), scale=4, **options)
