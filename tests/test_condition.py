"""The condition of every image and every face: each has its own embedding, whatever else is in the call."""

from itertools import product

import pytest
import torch
from conftest import make_image
from torch.nn import functional as F

from textir_hf.imaging.faces import Frame, warp_to_frame
from textir_hf.imaging.raster import to_raster
from textir_hf.imaging.resample import to_array, to_tensor
from textir_hf.models.embedding import embed_images
from textir_hf.pipeline.condition import embed_request
from textir_hf.tasks.base import Request

SIDE = 32  # of a face's frame, pixels


def ask(number: int, faces: int, beta: float, face_prompts, reference) -> Request:
    """A request whose faces are at different places of an image of its own."""
    image = to_raster(make_image(90, 80, seed=number))
    frames = tuple(Frame(complex(20 + i, i), complex(5 * i, 4 * i)) for i in range(faces))
    prompts = {"prompt": ("a red flower",), "face_prompts": face_prompts, "beta": beta}
    return Request(image, scale=2.0, frames=frames, reference=reference, **prompts)


def expected(pipe, beta: float, prompt: str, rgb) -> torch.Tensor:
    """`c = beta E_T(text) + (1 - beta) E_I(image)` at unit length, from one text and one image alone."""
    image = embed_images(pipe.clip, pipe.image_processor, to_tensor(rgb))
    return F.normalize(beta * pipe.encode_prompt(prompt) + (1 - beta) * image, dim=1)


def crop(asked: Request, face: int):
    warped = warp_to_frame(torch.from_numpy(asked.image.rgb).movedim(-1, 0), asked.frames[face], SIDE)
    return to_array(warped[None] / 255)


@pytest.mark.parametrize("beta", [1.0, 0.3, -0.5])
@torch.no_grad()
def test_every_face_of_a_call_has_the_condition_of_that_face_alone(pipeline, beta):
    pipe, prompts = pipeline("super-resolution", sample_size=SIDE), ("a face", "a blue flower", "an old person")
    reference, texts = to_raster(make_image(50, 40, seed=9)), {}
    for number in range(2):
        for shown, own in product((None, reference), (None, prompts)):
            asked = ask(number, 3, beta, own and tuple((prompt,) for prompt in own), shown)
            found = embed_request(pipe, asked, None, texts)
            found = found * 4 if len(found) == 1 else found  # one for all
            images = [(shown or asked.image).rgb, *((shown.rgb if shown else crop(asked, i)) for i in range(3))]
            said = ("a red flower", *(own or ["a red flower"] * 3))
            for condition, prompt, image in zip(found, said, images, strict=True):
                torch.testing.assert_close(condition, expected(pipe, beta, prompt, image))
