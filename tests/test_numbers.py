"""Numbers of any kind act as Python's own wherever a number is taken, or are refused by the argument's name."""

import json
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from conftest import make_image, make_mask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_faces import PORTRAIT, portrait

from textir_hf import open_image, save_image, sweep
from textir_hf.imaging.files import read_settings

quick = settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
NUMPY = [np.dtype(code).type for code in "bBhHiIlLqQefdg"]
TORCH = [torch.uint8, torch.int8, torch.int16, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64]
KINDS = [
    Fraction,
    Decimal,
    *NUMPY,
    *[lambda v, t=t: np.array(v, t) for t in (*NUMPY, object)],
    *[lambda v, t=t: torch.tensor(v, dtype=t) for t in TORCH],
    lambda v: torch.tensor(float(v), requires_grad=True),
]
HUGE = 10**400
NONE = [  # no numbers, whatever the argument
    *[True, np.True_, np.array(False), torch.tensor(True)],
    *[math.nan, math.inf, -math.inf, np.float32("nan"), np.longdouble("inf"), torch.tensor(math.nan)],
    *[Decimal("nan"), Decimal("snan"), Decimal("-inf"), HUGE, -HUGE, 10**5000, Fraction(HUGE), Decimal("1e400")],
    *["4", b"4", np.str_("4"), np.array("4"), [], {}, [[4]], set(), object(), 4 + 0j, np.complex64(4), range(2)],
    *[np.timedelta64(4), np.datetime64(4, "ns"), np.zeros((2, 2)), np.array([]), np.array([None])],
    *[torch.empty((), device="meta"), torch.empty(3, device="meta"), torch.ones(3).to_sparse(), torch.ones(())[None]],
]
COUNTS = {"num_images_per_prompt", "batch_size", "tile", "cell", "seed", "faces", "box"}
OPTIONAL = {"skip_strength", "scale", "factor", "tile", "box", "faces", "batch_size"}
CALLS = {  # task, call, arguments that it needs, numbers that it takes with values of each
    "inpaint": (
        *("inpainting", "__call__", {"mask_image": make_mask()}),
        {"beta": (0, 0.5, 1), "skip_strength": (0, 0.25, 1), "feather": (0, 2, 2.5), "batch_size": (1, 2)}
        | {"num_images_per_prompt": (1, 2)},
    ),
    "upscale": ("super-resolution", "__call__", {"scale": 2}, {"scale": (2, 2.5), "tile": (32, 64)}),
    "fill": (
        *("inpainting", "edit", {"mask_image": make_mask()}),
        {"beta": (0.5, 1), "feather": (2,), "skip_strength": (0.5,)},
    ),
    "edit": (
        *("super-resolution", "edit", {"factor": 4}),
        {"factor": (2, 4.5), "batch_size": (1, 3), "num_images_per_prompt": (1, 2)},
    ),
}


@pytest.fixture
def call(pipeline):
    pipes = {}

    def made(name: str, image=None, **changes):
        task, method, needed, _ = CALLS[name]
        pipe = pipes.setdefault(task, pipeline(task, face_template=PORTRAIT))
        return getattr(pipe, method)("a face", image or make_image(), **needed | changes).images

    return made


def same(first, second, folder) -> None:
    """Two lists of results have the same pixels and settings, and can be saved."""
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert a.tobytes() == b.tobytes() and a.info["textir"] == b.info["textir"]
        save_image(a, folder / "result.png")
        stored = read_settings(open_image(folder / "result.png"))
        assert stored == json.loads(json.dumps(b.info["textir"]))


def refuse(argument: str, function, /, **arguments) -> None:
    with pytest.raises(ValueError) as caught:
        function(**arguments)
    message = str(caught.value)
    assert argument in message and message.endswith(".") and len(message) < 250, message


@quick
@given(st.data())
def test_any_kind_of_number_acts_as_the_plain_one(call, tmp_path, data):
    name = data.draw(st.sampled_from(list(CALLS)))
    argument = data.draw(st.sampled_from(list(CALLS[name][3])))
    value, kind = data.draw(st.sampled_from(CALLS[name][3][argument])), data.draw(st.sampled_from(KINDS))
    if kind(0.5) != 0.5:  # a kind of whole numbers
        value = math.ceil(value)
    same(call(name, **{argument: kind(value)}), call(name, **{argument: value}), tmp_path)


def test_so_do_lists_boxes_and_faces(call, tmp_path):
    small = portrait().resize((60, 60))
    cases = (("inpaint", make_image(), "skip_strength", [0, 1, 1]), ("inpaint", make_image(), "box", [2, 3, 38, 33]))
    for name, image, argument, values in (*cases, ("edit", small, "faces", [1])):
        expected = call(name, image, **{argument: values})
        made = [[kind(v) for v in values] for kind in KINDS[::6]]
        for kind in (*made, tuple(made[0]), np.array(values), torch.tensor(values)):
            same(call(name, image, **{argument: kind}), expected, tmp_path)
    for kind in KINDS[::12]:
        same(call("edit", small, faces=kind(1)), call("edit", small, faces=1), tmp_path)


@pytest.mark.parametrize("value", range(len(NONE)))
def test_what_is_no_number_is_refused_by_the_arguments_name(call, value):
    value = NONE[value]
    for name, (*_, numbers) in CALLS.items():
        for argument in numbers:
            refuse(argument, call, name=name, **{argument: value})
    for argument, length in (("skip_strength", 3), ("box", 4), ("faces", 2)):
        refuse(argument, call, name="inpaint", **{argument: value})
        refuse(argument, call, name="inpaint", **{argument: [value] * length})


def test_numbers_out_of_range_and_none_are_refused(call):
    for name, (*_, numbers) in CALLS.items():
        for argument in numbers:
            for value in (-101, 10**9, -(10**9)):
                refuse(argument, call, name=name, **{argument: value})
            if argument in COUNTS:
                refuse(argument, call, name=name, **{argument: 1.5})
                refuse(argument, call, name=name, **{argument: torch.tensor(1.5)})
            if argument not in OPTIONAL:
                refuse(argument, call, name=name, **{argument: None})
    for box in ((2, 3, 38.5, 33), (2, 3, 38), "2,3,38,33", 4, (-1, 3, 38, 33), (2, 3, 10**12, 33)):
        refuse("box", call, name="inpaint", box=box)


LISTS = {"betas": (0, 0.5), "skip_strengths": (0.25, None), "factors": (2, 4.5)}


@pytest.mark.parametrize("argument", [*LISTS, "seed", "cell"])
def test_a_sweep_takes_the_same_numbers(pipeline, argument):
    pipe = pipeline("super-resolution", face_template=PORTRAIT)

    def grid(**changes):
        fixed = {"factors": (4,), "cell": 24}
        return sweep(pipe, make_image(), ["a face"], **fixed | changes)

    for kind in KINDS[::4]:
        if argument in LISTS:
            values = [v for v in LISTS[argument] if v is None or v == int(v) or kind(0.5) == 0.5]
            made, plain = [v if v is None else kind(v) for v in values], values
        else:
            made, plain = kind(20), 20
        assert grid(**{argument: made}).tobytes() == grid(**{argument: plain}).tobytes()
    for value in [*NONE, -1000, 10**20]:
        refuse(argument.removesuffix("s"), grid, **{argument: [value] if argument in LISTS else value})
    if argument in LISTS:
        refuse(argument.removesuffix("s"), grid, **{argument: []})


def test_a_grid_that_no_memory_holds_is_refused_before_any_work(pipeline):
    pipe = pipeline("colorization")
    for image in (make_image(1, 20_000), make_image(40, 36)):
        with pytest.raises(ValueError, match="cell"):
            sweep(pipe, image, ["a face"] * 200, betas=[0.5] * 20, cell=400, templates=["{}"])
