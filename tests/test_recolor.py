import math

import pytest
import torch

from textir_hf.imaging import color
from textir_hf.tasks import get_task
from training.config import DataConfig, ObjectiveConfig
from training.recipes.recolor import recolor
from training.samples import MaskSampler, SampleMaker


def _disc_on_gray(lightness: float = 60.0) -> tuple[torch.Tensor, torch.Tensor]:
    """A red disc on gray, `[1, 3, 64, 64]`, and where it is."""
    at = torch.arange(64) - 31.5
    disc = (at[:, None].square() + at.square() < 20**2).float()[None, None]
    chroma = torch.cat([40 * disc, 20 * disc], 1)
    return color.join_lab(torch.full((1, 1, 64, 64), lightness), chroma), disc


def test_surroundings_look_like_the_rim():
    lightness, chroma = torch.full((1, 1, 20, 20), 60.0), torch.zeros(1, 2, 20, 20)
    chroma[:, 0, 5:15, 5:15] = 50
    weight = color.surroundings(lightness, chroma)
    assert (weight[..., :5, :] == 1).all() and (weight[..., 5:15, 5:15] < 1e-4).all()


@pytest.mark.parametrize("hue", [0.5, 2.5, 4.5])
def test_the_object_alone_takes_the_color(hue):
    image, disc = _disc_on_gray()
    recolored = recolor(image, 30.0, hue)
    inside, outside = (torch.nn.functional.avg_pool2d(m, 7, 1, 3) == 1 for m in (disc, 1 - disc))
    assert (recolored - image).abs()[outside.expand(1, 3, -1, -1)].max() < 1e-3
    a, b = color.chroma(recolored)[0][:, inside[0, 0]].mean(1).tolist()
    assert math.hypot(a, b) == pytest.approx(30, abs=7)  # the soft edge has a part in the mean
    assert math.cos(math.atan2(b, a) - hue) > 0.98
    lightness = color.lightness(recolored)
    assert (lightness - color.lightness(image)).abs().max() < 0.5


def test_bright_objects_take_less_color():
    images = [recolor(_disc_on_gray(lightness)[0], 30.0, 2.0) for lightness in (60.0, 90.0)]
    usual, bright = (color.chroma(image)[0, :, 32, 32].norm().item() for image in images)
    assert bright < 0.7 * usual


def test_an_image_without_a_clear_object_stays_as_it_is():
    for image in (torch.rand(1, 3, 64, 64), torch.full((1, 3, 64, 64), 0.5)):
        assert recolor(image, 30.0, 1.0) is image


def test_the_share_of_recolored_samples_is_the_one_asked_for():
    target = (_disc_on_gray()[0][0] * 255).round().to(torch.uint8)
    masks = MaskSampler(64, [0.0, 0.0, 1.0], None)
    plain, always, sometimes = (
        SampleMaker(get_task("colorization"), 64, masks, DataConfig(recolor_probability=share), 0, 8, ObjectiveConfig())
        for share in (0.0, 1.0, 0.4)
    )
    flips = (target, target.flip(-1))
    changed = [
        sum(not any(torch.equal(make(target, n)["target"], f) for f in flips) for n in range(60))
        for make in (plain, always, sometimes)
    ]
    assert changed[0] == 0 and changed[1] == 60 and 12 <= changed[2] <= 36
    assert torch.equal(sometimes(target, 7)["target"], sometimes(target, 7)["target"])
