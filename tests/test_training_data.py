import random
from itertools import islice, pairwise

import numpy as np
import pytest
import torch
from conftest import encoded, make_image
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PILImage

from training.config import TrainingConfig
from training.data import SampleMaker, StreamedRows, decode, open_split, training_and_held_out
from training.train import Run


def maker(**changes) -> SampleMaker:
    shape = {"task": "super-resolution", "sample_size": 32, "channels": [4, 4], "mask_mix": [0.0, 0.5, 0.5]}
    return SampleMaker(TrainingConfig(**shape | changes), 8)


def write_rows(path, contents: list[bytes]) -> str:
    features = Features({"image": Image(), "text": List(Value("string")), "split": Value("string")})
    rows = [{"image": {"bytes": c, "path": f"{i}.png"}, "text": ["a face"], "split": "train"} for i, c in contents]
    Dataset.from_list(rows, features=features).to_parquet(path)
    return str(path)


def contents_of(items) -> list[bytes]:
    rows = [item.get("row", item) for item in items]
    return [row["png" if "png" in row else "image"]["bytes"] for row in rows]


def stream(config, position=None, process=0, processes=1, take=20):
    rows = StreamedRows(open_split(config, "train"), config, process, processes, position)
    return [item for batch in islice(rows, take) for item in batch]


def test_a_stream_shows_every_image_once_an_epoch_and_goes_on_anywhere(config):
    streaming = config(streaming=True, shuffle_buffer=3, train_batch_size=1)
    items = stream(streaming)
    epochs = [contents_of(i for i in items if i["position"]["epoch"] == e) for e in range(2)]
    assert [len(e) for e in epochs] == [8, 8] and set(epochs[0]) == set(epochs[1]) and len(set(epochs[0])) == 8
    assert epochs[0] != epochs[1] and [i["number"] for i in items] == list(range(1, 21))
    for stop in (1, 3, 4, 8, 9, 16):
        rest = stream(streaming, items[stop - 1]["position"], take=4)
        assert [(i["number"], i["row"]) for i in rest] == [(i["number"], i["row"]) for i in items[stop : stop + 4]]


@pytest.mark.parametrize(("processes", "sizes", "holdout"), [(2, (12,), 1), (3, (2, 5, 9), 9)])
def test_processes_share_a_stream_and_never_see_held_out_images(config, tmp_path, processes, sizes, holdout):
    contents = [(n, encoded(make_image(8, 8, seed=n))["bytes"]) for n in range(sum(sizes))]
    starts = np.cumsum([0, *sizes])
    files = [write_rows(tmp_path / f"{i}.parquet", contents[a:b]) for i, (a, b) in enumerate(pairwise(starts))]
    changes = {"dataset": files, "split_column": None, "holdout": holdout}
    streaming = config(streaming=True, shuffle_buffer=3, train_batch_size=1, **changes)
    _, held_out = training_and_held_out(streaming)
    assert contents_of(held_out) == [c for _, c in contents[:holdout]]
    trained, numbers = [], []
    for process in range(processes):
        try:
            items = stream(streaming, None, process, processes, take=30)
        except ValueError as error:  # all of its files are held out
            assert "holds no image for process" in str(error)
            continue
        first = [item for item in items if item["position"]["epoch"] == 0]
        trained += contents_of(first)
        numbers += [item["number"] for item in first]
        assert set(contents_of(items)) == set(contents_of(first))
    assert sorted(trained) == sorted(c for _, c in contents[holdout:])
    assert len(set(numbers)) == len(numbers)


def test_damaged_images_are_replaced_in_their_batch_and_too_many_stop_the_run(config, tmp_path, capsys):
    good = [(n, encoded(make_image(8, 8, seed=n % 8))["bytes"]) for n in range(120)]
    for damaged in ([b"text"], [b"", good[4][1][:40]]):
        contents = [*good[:3], *((3 + i, content) for i, content in enumerate(damaged)), *good[3 + len(damaged) :]]
        path = write_rows(tmp_path / f"{len(damaged)}.parquet", contents)
        changes = {"dataset": [path], "split_column": None, "caption_column": None}
        batches = Run(config(**changes, train_batch_size=20)).batches()
        if len(damaged) > 1:
            with pytest.raises(ValueError, match=r"2 of 120 images are damaged, more than 1%: 3.png, 4.png"):
                [next(batches) for _ in range(7)]
        else:
            assert all(len(next(batches)["target"]) == 20 for _ in range(7))
            assert "damaged image 1 skipped: 3.png" in capsys.readouterr().err


def test_recentering_gives_texts_the_mean_and_spread_of_the_training_images(config):
    settings = config(streaming=True, split_column=None, holdout=2)
    run = Run(settings)
    rows = list(open_split(settings, "train"))[2:]
    images = torch.stack([decode(row["image"], 32) for row in rows])
    images, module = run.encoder.images(images.float() / 255), run.encoder.recentering
    torch.testing.assert_close(module.image_mean, images.mean(0), atol=1e-5, rtol=0)
    run.encoder.recentering = None
    texts = run.encoder.texts([row["text"][0] for row in rows])
    spreads = [(e - e.mean(0)).norm(dim=1).mean() for e in (images, texts)]
    assert module.config.scale == pytest.approx((spreads[0] / spreads[1]).item(), rel=1e-3)


def test_the_shares_of_dropped_conditions_captions_and_swapped_images_are_those_asked_for():
    target = torch.zeros(3, 32, 32, dtype=torch.uint8)
    mixed = maker(condition_dropout=0.25, caption_probability=0.25, caption_column="text")
    samples = [mixed(target, n, ["one", "two"]) for n in range(400)]
    assert 70 < sum(s["dropped"].item() for s in samples) < 130
    assert 70 < sum(bool(s["caption"]) for s in samples) < 130
    assert {s["caption"] for s in samples} == {"", "one", "two"}
    mixed = maker(swap_probability=0.5, condition_dropout=0.9)
    samples = [mixed(target, number) for number in range(400)]
    assert not any(s["swapped"] and (s["dropped"] or s["factor"] < 16) for s in samples)
    assert 0.35 < np.mean([s["swapped"].item() for s in samples if s["factor"] >= 16]) < 0.65


def test_masks_come_in_the_shares_that_are_asked_for():
    mix = [0.25, 0.25, 0.5]
    sampler, rng = maker(mask_mix=mix), random.Random(0)
    sampler.irregular = torch.zeros(1, 1, 32, 32)
    sampler.irregular[..., :3, :5] = sampler.irregular[..., 30, 30] = 1
    masks = [sampler.draw_mask(rng)[0, 0] for _ in range(400)]
    assert all(m.shape == (32, 32) and set(m.unique().tolist()) <= {0.0, 1.0} and m.any() for m in masks)
    kinds = {"irregular": 0, "strokes": 0, "box": 0}
    for mask in masks:
        rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
        full = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        kinds["irregular" if mask.sum() == 16 and not full else "box" if full else "strokes"] += 1
    for count, share in zip(kinds.values(), mix, strict=True):
        assert abs(count / 400 - share) < 0.08


def test_masks_without_a_marked_pixel_or_with_gray_levels_are_refused(tmp_path):
    mask = np.zeros((8, 8), np.uint8)
    for value, named in ((0, "No mask marks a pixel at 32x32"), (7, "got the gray level 7")):
        mask[0, 0], mask[2:5, 2:5] = value, 255 * (value > 0)
        PILImage.fromarray(mask).save(tmp_path / "a.png")
        with pytest.raises(ValueError, match=named):
            maker(masks=str(tmp_path))
