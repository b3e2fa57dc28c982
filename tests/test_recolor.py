import math

import pytest
import torch
from conftest import encoded, make_image, make_mask
from datasets import Dataset, Features, Image

from textir_hf.imaging import color
from textir_hf.tasks import get_task
from training.config import DataConfig, ObjectiveConfig
from training.loop import train_step
from training.recipes.recolor import recolor
from training.run import set_up
from training.samples import MaskSampler, SampleMaker


def _disc_on_gray(lightness: float = 60.0) -> tuple[torch.Tensor, torch.Tensor]:
    """A red disc on gray, `[1, 3, 64, 64]`, and where it is."""
    at = torch.arange(64) - 31.5
    disc = (at[:, None].square() + at.square() < 20**2).float()[None, None]
    chroma = torch.cat([40 * disc, 20 * disc], 1)
    return color.join_lab(torch.full((1, 1, 64, 64), lightness), chroma), disc


@pytest.mark.parametrize("hue", [0.5, 2.5, 4.5])
def test_the_object_alone_takes_the_color(hue):
    image, disc = _disc_on_gray()
    recolored = recolor(image, disc, 30.0, hue)
    inside, outside = (torch.nn.functional.avg_pool2d(m, 7, 1, 3) == 1 for m in (disc, 1 - disc))
    assert (recolored - image).abs()[outside.expand(1, 3, -1, -1)].max() < 1e-3
    a, b = color.chroma(recolored)[0][:, inside[0, 0]].mean(1).tolist()
    assert math.hypot(a, b) == pytest.approx(30, abs=1)
    assert math.cos(math.atan2(b, a) - hue) > 0.98
    lightness = color.lightness(recolored)
    assert (lightness - color.lightness(image)).abs().max() < 0.5


def test_bright_objects_take_less_color():
    images = [recolor(*_disc_on_gray(lightness), 30.0, 2.0) for lightness in (60.0, 90.0)]
    usual, bright = (color.chroma(image)[0, :, 32, 32].norm().item() for image in images)
    assert bright < 0.7 * usual


def test_the_share_of_recolored_samples_is_the_one_asked_for():
    image, disc = _disc_on_gray()
    target = (torch.cat([image[0], disc[0]]) * 255).round().to(torch.uint8)
    masks = MaskSampler(64, [0.0, 0.0, 1.0], None)
    plain, always, sometimes = (
        SampleMaker(get_task("colorization"), 64, masks, DataConfig(recolor_probability=share), 0, 8, ObjectiveConfig())
        for share in (0.0, 1.0, 0.4)
    )
    assert torch.equal(plain(target, 0)["object_mask"], disc[0])

    def changed(make, image) -> int:
        flips = (image[:3], image[:3].flip(-1))
        return sum(not any(torch.equal(make(image, n)["target"], f) for f in flips) for n in range(60))

    assert changed(plain, target) == 0 and changed(always, target) == 60 and 12 <= changed(sometimes, target) <= 36
    assert torch.equal(sometimes(target, 7)["target"], sometimes(target, 7)["target"])
    unknown = torch.cat([target[:3], torch.zeros_like(target[3:])])
    assert changed(always, unknown) == 0 and not always(unknown, 0)["object_mask"].any()


def test_an_image_and_its_mask_are_cropped_and_mirrored_alike():
    _, disc = _disc_on_gray()
    target = (torch.cat([disc[0]] * 4) * 255).to(torch.uint8)  # the image shows its own mask
    masks = MaskSampler(32, [0.0, 0.0, 1.0], None)
    make = SampleMaker(get_task("colorization"), 32, masks, DataConfig(least_crop=0.5), 0, 8, ObjectiveConfig())
    for number in range(20):
        sample = make(target, number)
        assert torch.equal((sample["object_mask"] * 255).round(), sample["target"][:1].float())


def test_masks_come_from_a_column_and_may_be_missing_in_a_row(config, tmp_path):
    masks = [make_mask(40, 40), None, make_mask(40, 40)]
    rows = [
        {"image": encoded(make_image(40, 40, seed=n)), "object": mask and encoded(mask)} for n, mask in enumerate(masks)
    ]
    features = Features({"image": Image(), "object": Image()})
    Dataset.from_list(rows * 2, features=features).to_parquet(tmp_path / "rows.parquet")
    changes = {"dataset": [str(tmp_path / "rows.parquet")], "split_column": None, "caption_column": None, "holdout": 1}
    changes |= {"object_mask_column": "object", "recolor_probability": 1.0, "task": "colorization"}
    for streaming in (False, True):
        run = set_up(config(**changes, streaming=streaming, train_batch_size=5, swap_probability=0.5))
        batches = run.batches()
        areas = next(batches)["object_mask"].mean((1, 2, 3))
        assert (areas == 0).sum() == 2  # of the five rows that are not held out
        assert torch.isfinite(torch.stack(list(train_step(run, batches).values()))).all()


def test_recoloring_needs_masks(config):
    with pytest.raises(ValueError, match="--recolor-probability needs --object-mask-column"):
        set_up(config(recolor_probability=0.5))
    with pytest.raises(ValueError, match="has no column object, only"):
        set_up(config(object_mask_column="object"))
