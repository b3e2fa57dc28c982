"""A prompt for each region: each part is as under its own prompt, and nothing else changes."""

import numpy as np
import pytest
import torch
from conftest import make_image
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from textir_hf.pipeline.regions import border_of, soft_weights, visible_parts

WIDTH, HEIGHT = 96, 80
TASKS = {"inpainting": {}, "super-resolution": {"scale": 2}, "colorization": {}}
quick = settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
boxes = st.tuples(st.integers(0, 60), st.integers(0, 50), st.integers(12, 36), st.integers(12, 30))


def box_mask(box) -> Image.Image:
    left, top, width, height = box
    mask = Image.new("L", (WIDTH, HEIGHT))
    mask.paste(255, (left, top, left + width, top + height))
    return mask


def call(pipe, task: str, prompt: str, **options):
    own = TASKS[task] | ({"mask_image": box_mask((8, 8, 80, 64))} if task == "inpainting" else {})
    return [np.asarray(image).astype(int) for image in pipe(prompt, make_image(WIDTH, HEIGHT), **own, **options).images]


def near(box, scale: int, border: int) -> np.ndarray:
    left, top, width, height = (value * scale for value in box)
    inside = np.zeros((HEIGHT * scale, WIDTH * scale), bool)
    inside[max(top - border, 0) : top + height + border, max(left - border, 0) : left + width + border] = True
    return inside


@pytest.mark.parametrize("task", ["super-resolution", "colorization"])
@quick
@given(boxes)
def test_a_region_changes_nothing_beyond_its_border_and_is_its_own_result_inside(noisy_pipe, task, box):
    pipe, scale = noisy_pipe(task), TASKS[task].get("scale", 1)
    border = border_of((HEIGHT * scale, WIDTH * scale))
    (around,), (own,) = call(pipe, task, "a face"), call(pipe, task, "a red flower")
    (joined,) = call(pipe, task, "a face", regions=[(box_mask(box), "a red flower")])
    outside, inside = ~near(box, scale, border), near(box, scale, -border)
    assert np.array_equal(joined[outside], around[outside]) and np.array_equal(joined[inside], own[inside])


@pytest.mark.parametrize("task", TASKS)
def test_neither_order_nor_batches_matter_and_settings_make_it_again(noisy_pipe, task):
    pipe = noisy_pipe(task)
    regions = [(box_mask((10, 12, 20, 24)), "a red flower"), (box_mask((48, 20, 30, 30)), "a blue flower", 0.7)]
    own = TASKS[task] | ({"mask_image": box_mask((8, 8, 80, 64))} if task == "inpainting" else {})
    (result,) = pipe("a face", make_image(WIDTH, HEIGHT), **own, regions=regions).images
    (again,) = call(pipe, task, "a face", regions=result.info["textir"]["regions"][::-1])
    assert np.array_equal(again, np.asarray(result))
    batched = call(pipe, task, "a face", regions=regions, batch_size=3, num_images_per_prompt=2)
    assert np.abs(batched[0] - again).max() <= 1


@quick
@given(boxes, boxes, st.sampled_from([0, 4]))
def test_inpainting_keeps_known_pixels(noisy_pipe, first, second, feather):
    regions = [(box_mask(box), prompt) for box, prompt in ((first, "a red flower"), (second, "a blue flower"))]
    (result,) = call(noisy_pipe("inpainting"), "inpainting", "a face", regions=regions, feather=feather)
    outside = ~near((8, 8, 80, 64), 1, 0)
    assert np.array_equal(result[outside], np.asarray(make_image(WIDTH, HEIGHT))[outside])


def test_later_parts_of_an_inpainting_see_earlier_ones(noisy_pipe):
    pipe, image, mask = noisy_pipe("inpainting"), make_image(WIDTH, HEIGHT), box_mask((8, 8, 80, 64))
    left, part = box_mask((8, 8, 40, 64)), near((8, 8, 40, 64), 1, 0)
    (joined,) = pipe("a face", image, mask, regions=[(left, "a red flower")]).images
    (alone,) = pipe("a red flower", image, mask).images  # the left part, while the right one is still unknown
    assert np.array_equal(np.asarray(joined)[part], np.asarray(alone)[part])
    (expected,) = pipe("a face", joined, box_mask((48, 8, 40, 64))).images
    assert np.array_equal(np.asarray(joined), np.asarray(expected))


def test_of_overlapping_regions_the_later_counts_and_weights_sum_to_one():
    masks = [np.zeros((40, 60), bool) for _ in range(3)]
    masks[0][5:30, 5:40] = masks[1][10:35, 20:55] = masks[2][12:20, 25:30] = True
    parts = visible_parts(masks)
    assert np.array_equal(parts[2], masks[2]) and not (parts[0] & parts[1]).any() and not (parts[1] & parts[2]).any()
    assert np.array_equal(np.any(parts, 0), np.any(masks, 0))
    weights = soft_weights(parts, torch.rand(1, 1, 40, 60))
    torch.testing.assert_close(weights.sum(0), torch.ones(40, 60))
    assert (weights >= 0).all()


@pytest.mark.parametrize("size", [(1, 1), (3, 4), (1, 60), (60, 2)])
def test_regions_work_on_the_smallest_images(noisy_pipe, size):
    region = [(Image.new("L", size, 255), "a red flower")]
    result, expected = (
        noisy_pipe("colorization")(prompt, make_image(*size), regions=regions).images[0]
        for prompt, regions in (("a face", region), ("a red flower", None))
    )
    assert np.array_equal(result, expected)


def test_a_rough_stroke_follows_the_edge_of_the_object():
    guide = torch.full((1, 1, 256, 256), 0.2)
    guide[..., :128] = 0.8  # an edge at column 128
    stroke = np.zeros((256, 256), bool)
    stroke[:, :126] = True  # two pixels too short
    weight = soft_weights([stroke], guide)[1, 128]
    assert weight[126:128].min() > 0.5 and weight[128:].max() < 0.25


EMPTY, SMALL = Image.new("L", (WIDTH, HEIGHT)), Image.new("L", (8, 8), 255)
FAR = box_mask((0, 0, 6, 6))  # outside the mask


@pytest.mark.parametrize(
    "regions",
    [[], "a face", [()], [(FAR,)], [(EMPTY, "a face")], [(SMALL, "a face")], [(FAR, "a face")], [("x", "a face")]]
    + [[(box_mask((10, 10, 9, 9)), *values)] for values in (("",), (5,), ("a face", "1"), ("a face", 1000))],
    ids=range(12),
)
def test_regions_that_do_not_fit_are_refused(pipeline, regions):
    with pytest.raises(ValueError, match=r"region|prompt|beta"):
        call(pipeline("inpainting"), "inpainting", "a face", regions=regions)
