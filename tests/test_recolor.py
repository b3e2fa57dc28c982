import math
import random
import sys

import numpy as np
import pytest
import torch
from conftest import encoded, make_image, make_mask
from datasets import Dataset, Features, Image, Value
from PIL import Image as PILImage

from textir_hf.hub.data import open_rows, read_image
from textir_hf.imaging import color
from textir_hf.imaging.resample import to_array
from textir_hf.tasks import get_task
from training.config import DataConfig, ObjectiveConfig
from training.loop import train_step
from training.recipes import recolor as recoloring
from training.recipes.recolor import HUES, color_name, in_color, paste, recolor
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
    changes |= {"object_mask_column": "object", "task": "colorization"}
    for streaming in (False, True):
        run = set_up(config(**changes, streaming=streaming, train_batch_size=5, swap_probability=0.5))
        batches = run.batches()
        areas = next(batches)["object_mask"].mean((1, 2, 3))
        assert (areas == 0).sum() == 2  # of the five rows that are not held out
        assert torch.isfinite(torch.stack(list(train_step(run, batches).values()))).all()


def test_an_unknown_mask_column_is_named(config):
    with pytest.raises(ValueError, match="has no column object, only"):
        set_up(config(object_mask_column="object"))


@pytest.mark.parametrize("name", HUES)
def test_an_object_takes_the_color_of_the_name(name):
    image, disc = _disc_on_gray({"yellow": 85.0, "brown": 40.0, "blue": 45.0, "red": 48.0}.get(name, 65.0))
    before, mask = to_array(image), disc[0, 0].numpy()
    changed = in_color(before, mask, name, random.Random(0))
    assert color_name(changed, mask > 0.5) == name
    assert np.abs(changed.astype(int) - before)[mask == 0].max() <= 1


def test_an_object_too_dark_for_a_color_keeps_its_own():
    image, disc = _disc_on_gray(4.0)
    assert in_color(to_array(image), disc[0, 0].numpy(), "yellow", random.Random(0)) is None


def test_a_pasted_object_lies_where_its_mask_says():
    image, disc = _disc_on_gray()
    onto = np.zeros((48, 80, 3), np.uint8)
    for seed in range(10):
        composite, place = paste(to_array(image), disc[0, 0].numpy(), onto, random.Random(seed))
        assert composite.shape == onto.shape and 0.05 < place.mean() < 0.5
        assert not composite[place == 0].any() and composite[place == 1].any(1).all()


def test_variants_say_what_they_show(tmp_path, monkeypatch):
    image, disc = _disc_on_gray()
    shown, mask = (PILImage.fromarray(to_array(x).squeeze()) for x in (image, disc))
    empty = PILImage.new("L", mask.size)
    kinds = [("dress", mask), ("hat", mask), ("tulips", empty), ("skirt", None)] * 2
    rows = [
        {"image": encoded(shown), "label": kind, "split": "train", "object_mask": known and encoded(known)}
        for kind, known in kinds
    ]
    features = Features({"image": Image(), "label": Value("string"), "split": Value("string"), "object_mask": Image()})
    Dataset.from_list(rows, features=features).to_parquet(tmp_path / "objects.parquet")
    words = ["recolor", str(tmp_path / "objects.parquet"), "--copies", "6", "--output", str(tmp_path / "made.parquet")]
    monkeypatch.setattr(sys, "argv", words)
    recoloring.main()
    made = open_rows(tmp_path / "made.parquet", image_columns=("image", "object_mask"))
    assert sum(row["object_mask"] is None for row in made) == 4 and len(made) > 20
    for row in made:
        named = {word for caption in row["caption"] for word in HUES if word in caption.replace("violet", "purple")}
        if row["object_mask"] is not None:
            inside = np.asarray(read_image(row["object_mask"], "A mask").convert("L")) > 127
            pixels = np.asarray(read_image(row["image"], "An image"))
            assert named == {color_name(pixels, inside)}
