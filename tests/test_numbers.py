"""Numbers of any kind act as Python's own wherever a number is taken, or are refused by the argument's name."""

import json
import math

import numpy as np
import pytest
import torch
from conftest import make_image, make_mask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_faces import PORTRAIT

from textir_hf import sweep

quick = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
KINDS = [
    *[np.dtype(code).type for code in "bHQef"],
    *[lambda v, t=t: np.array(v, t) for t in (np.int8, np.float32, object)],
    *[lambda v, t=t: torch.tensor(v, dtype=t) for t in (torch.uint8, torch.float16, torch.bfloat16, torch.float64)],
]
HUGE = 10**400
NONE = [  # no numbers, whatever the argument
    *[True, torch.tensor(True), math.nan, -math.inf, torch.tensor(math.nan), HUGE, "4", [], {}, object()],
    *[np.complex64(4), np.zeros((2, 2)), torch.empty((), device="meta"), torch.ones(3).to_sparse()],
]
CALLS = {  # task, call, arguments that it needs, numbers that it takes with values of each
    "inpaint": (
        *("inpainting", "__call__", {"mask_image": make_mask()}),
        {"beta": (0, 0.5, 1), "skip_strength": (0, 0.25, 1), "feather": (0, 2, 2.5), "batch_size": (1, 2)}
        | {"num_images_per_prompt": (1, 2)},
    ),
    "upscale": ("super-resolution", "__call__", {"scale": 2}, {"scale": (2, 2.5), "tile": (32, 64)}),
    "edit": ("super-resolution", "edit", {"factor": 4}, {"factor": (2, 4.5)}),
}


@pytest.fixture(scope="module")
def call(pipeline):
    pipes = {}

    def made(name: str, image=None, **changes):
        task, method, needed, _ = CALLS[name]
        pipe = pipes.setdefault(task, pipeline(task, face_template=PORTRAIT))
        return getattr(pipe, method)("a face", image or make_image(), **needed | changes).images

    return made


def refuse(argument: str, function, /, **arguments) -> None:
    with pytest.raises(ValueError) as caught:
        function(**arguments)
    message = str(caught.value)
    assert argument in message and message.endswith(".") and len(message) < 250, message


@quick
@given(st.data())
def test_any_kind_of_number_acts_as_the_plain_one(call, data):
    name = data.draw(st.sampled_from(list(CALLS)))
    argument = data.draw(st.sampled_from(list(CALLS[name][3])))
    value, kind = data.draw(st.sampled_from(CALLS[name][3][argument])), data.draw(st.sampled_from(KINDS))
    if kind(0.5) != 0.5:  # a kind of whole numbers
        value = math.ceil(value)
    for a, b in zip(call(name, **{argument: kind(value)}), call(name, **{argument: value}), strict=True):
        assert a.tobytes() == b.tobytes() and a.info["textir"] == b.info["textir"]
        json.dumps(a.info["textir"])


@pytest.mark.parametrize("value", NONE, ids=range(len(NONE)))
def test_what_is_no_number_is_refused_by_the_arguments_name(call, value):
    for name, (*_, numbers) in CALLS.items():
        for argument in numbers:
            refuse(argument, call, name=name, **{argument: value})
    for argument, length in (("skip_strength", 3), ("box", 4), ("faces", 2)):
        refuse(argument, call, name="inpaint", **{argument: [value] * length})


@pytest.mark.parametrize(
    ("name", "argument", "values"),
    [
        ("inpaint", "beta", [-101, 10**9, None]),
        ("inpaint", "skip_strength", [-1, 1.01]),
        ("inpaint", "feather", [-1, 10**9, None]),
        ("inpaint", "num_images_per_prompt", [0, 1.5, torch.tensor(1.5), None]),
        ("inpaint", "batch_size", [0, 1.5]),
        ("inpaint", "box", [(2, 3, 38.5, 33), (2, 3, 38), 4, (-1, 3, 38, 33), (2, 3, 41, 33), (5, 5, 5, 9)]),
        ("upscale", "scale", [1, 65, None]),
        ("upscale", "tile", [0, 32.5]),
        ("edit", "factor", [1.9, 65]),
        ("sweep", "beta", [[math.nan], [True], ["1"], [1000], []]),
        ("sweep", "skip_strength", [[2], [torch.ones(3)[None]], []]),
        ("sweep", "factor", [[1], [HUGE], []]),
        ("sweep", "seed", [-1, 1.5, 10**20, None]),
        ("sweep", "cell", [0, "20", 10**20]),
    ],
)
def test_numbers_out_of_range_and_none_are_refused(call, pipeline, name, argument, values):
    for value in values:
        if name == "sweep":
            asked = {"image": make_image(), "prompts": ["a face"], "factors": (4,)}
            plural = argument if argument in ("seed", "cell") else f"{argument}s"
            refuse(argument, sweep, pipe=pipeline("super-resolution"), **asked | {plural: value})
        else:
            refuse(argument, call, name=name, **{argument: value})
