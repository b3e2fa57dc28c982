import random
import sys

import numpy as np
import pytest
import torch
from conftest import encoded, make_image
from datasets import Dataset, Features, Value
from datasets import Image as ImageFeature
from PIL import Image, ImageDraw

from textir_hf.hub.data import open_rows, read_image
from textir_hf.imaging.faces import FACE_TEMPLATES
from training.encoder import faces
from training.recipes import describe as describing
from training.recipes import reframe as reframing
from training.recipes.describe import SHARES, seen_labels, sentences
from training.recipes.reframe import TIGHT, reframe


def test_those_nearest_to_an_attribute_have_it_and_the_farthest_lack_it():
    def embed(texts):
        return torch.tensor([[1.0, 0.0] if "without" in t or "no " in t or "not" in t else [0.0, 1.0] for t in texts])

    images = torch.stack([torch.linspace(1, 0, 100), torch.linspace(0, 1, 100)], 1)
    labels = seen_labels(images, embed, ("eyeglasses",))[:, faces.NAMES.index("eyeglasses")]
    true, false = SHARES["eyeglasses"]
    assert (labels == 1).sum() == round(100 * true) and (labels == -1).sum() == round(100 * false)
    assert labels[-1] == 1 and labels[0] == -1


def test_sentences_state_labeled_facts_alone():
    labels = np.zeros(len(faces.NAMES), np.int8)
    labels[faces.NAMES.index("male")], labels[faces.NAMES.index("eyeglasses")] = -1, 1
    told = sentences(labels, random.Random(0), 60)
    women = [any(word in s for word in ("woman", "lady", "female")) for s in told]
    assert len(told) == 60 and 20 < sum(women) < 60
    assert not any(word in s.split() for s in told for word in ("man", "guy", "smiling", "young", "without"))


def _face_file(path, **columns):
    rows = [
        {"image": encoded(make_image(48, 48, seed=n)), "split": "test" if n == 3 else "train"}
        | {name: values[n] for name, values in columns.items()}
        for n in range(4)
    ]
    kinds = {"age": Value("int64"), "male": Value("bool"), "group": Value("string")}
    features = {"image": ImageFeature(), "split": Value("string")} | {n: kinds[n] for n in columns}
    Dataset.from_list(rows, features=Features(features)).to_parquet(path)


def test_what_people_labeled_comes_before_what_is_seen(tmp_path, monkeypatch):
    _face_file(tmp_path / "faces.parquet", age=[20, 60, 45, 30], male=[True, False, True, False], group=["white"] * 4)
    words = ["describe", str(tmp_path / "faces.parquet"), "--output", str(tmp_path / "described.parquet")]
    monkeypatch.setattr(sys, "argv", words)
    describing.main()
    rows = open_rows(tmp_path / "described.parquet")
    assert [len(row["caption"]) for row in rows] == [8, 8, 8]
    for row, men in zip(rows, (True, False, True), strict=True):
        wrong = {"woman", "lady", "female"} if men else {"man", "guy", "gentleman", "male"}
        assert not wrong & {word for caption in row["caption"] for word in caption.split()}


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_a_moved_face_has_its_eyes_between_both_frames(share):
    face = Image.new("RGB", (200, 200), "gray")
    for x, y in TIGHT[:2]:
        ImageDraw.Draw(face).ellipse([x * 200 - 6, y * 200 - 6, x * 200 + 6, y * 200 + 6], "white")
    moved = np.asarray(reframe(face, share, 160))
    assert moved.shape == (160, 160, 3)
    for side, left in enumerate((slice(0, 80), slice(80, 160))):
        rows, columns = np.nonzero(moved[:, left, 0] > 200)
        goal = np.array(TIGHT[side]) + share * (np.array(FACE_TEMPLATES["portrait"][side]) - TIGHT[side])
        assert (columns.mean() + left.start) / 160 == pytest.approx(goal[0], abs=0.02)
        assert rows.mean() / 160 == pytest.approx(goal[1], abs=0.02)
    if share == 0:
        assert np.abs(moved.astype(int) - np.asarray(face.resize((160, 160), Image.Resampling.BICUBIC))).max() <= 1


def test_every_face_is_written_moved(tmp_path, monkeypatch):
    _face_file(tmp_path / "faces.parquet", male=[True] * 4)
    words = [
        "reframe",
        str(tmp_path / "faces.parquet"),
        "--output",
        str(tmp_path / "framed.parquet"),
        "--size",
        "40",
        "--least-share",
        "1",
    ]
    monkeypatch.setattr(sys, "argv", words)
    reframing.main()
    rows = open_rows(tmp_path / "framed.parquet")
    assert [read_image(row["image"], "A face").size for row in rows] == [(40, 40)] * 3
    assert rows["male"] == [True] * 3
    own = reframe(make_image(48, 48, seed=0), 1.0, 40)
    written = read_image(rows[0]["image"], "A face").convert("RGB")
    assert np.abs(np.asarray(written).astype(int) - np.asarray(own)).mean() < 4  # a JPEG of it
