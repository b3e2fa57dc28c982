"""Aligned data sets: faces at the template's places, what was left out and why, and a file that is whole or missing."""

import io
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import encoded
from datasets import Dataset, Features, Value
from datasets import Image as ImageFeature
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from skimage import data

from textir_hf.hub.data import open_rows
from textir_hf.imaging.faces import FACE_TEMPLATES, align
from textir_hf.pipeline.faces import find_faces
from training.align import COLUMNS, REASONS, Rules, align_face, frontal_share, main

quick = settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
ANY = Rules(size=128, min_frontal=0, max_invisible=1, min_sharpness=0)


def photo() -> Image.Image:
    return Image.fromarray(data.astronaut()).crop((73, 0, 373, 300))


def pixels(row: dict, name: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(row[name]["bytes"])))


@quick
@given(st.floats(-30, 30), st.integers(300, 600), st.sampled_from(list(FACE_TEMPLATES)), st.booleans())
def test_a_face_comes_to_the_template(angle, side, template, png):
    image = photo().resize((side, side), Image.Resampling.LANCZOS).rotate(angle, Image.Resampling.BICUBIC)
    row = align_face(encoded(image), replace(ANY, size=256, template=template, png=png))
    aligned = pixels(row, "image")
    assert aligned.shape == (256, 256, 3) and row["image"]["bytes"].startswith(b"\x89PNG" if png else b"\xff\xd8")
    found = max(find_faces(aligned), key=lambda face: face.box[2] - face.box[0]).landmarks / 256
    frame = align(np.array(row["landmarks"]), FACE_TEMPLATES[template])
    expected = (np.array(row["landmarks"]) @ [1, 1j] - frame.offset) / frame.scale
    assert np.abs(found @ [1, 1j] - expected).max() < 0.04  # the detector's own scatter
    assert np.abs((found[[0, 1, 3, 4]] - FACE_TEMPLATES[template]).mean(0)).max() < 0.02


def test_every_photo_is_aligned_or_counted_under_its_reason(tmp_path, capsys):
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    images = {
        "good.png": photo(),
        "more/mirrored.jpg": ImageOps.mirror(photo()),
        "blurred.png": photo().filter(ImageFilter.GaussianBlur(4)),
        "cup.png": Image.fromarray(data.coffee()),
        "cut.png": photo().crop((95, 60, 215, 230)),
        "small.png": photo().resize((100, 100)),
    }
    for name, image in images.items():
        image.save(folder / name)
    (folder / "damaged.png").write_bytes(encoded(photo())["bytes"][:2000])
    output = tmp_path / "aligned.parquet"
    assert main([str(folder), "-o", str(output), "--size", "128", "--min-frontal", "0.75", "--workers", "2"]) == 0
    line = capsys.readouterr().out.strip()
    assert "2 of 7" in line and all(f"1 {reason}" in line for reason in REASONS if reason != "turned away")
    rows = pq.read_table(output).to_pylist()
    assert [row["source"] for row in rows] == ["good.png", "more/mirrored.jpg"]
    for row in rows:
        assert np.array(row["landmarks"]).shape == (5, 2) and row["frontal"] > 0.75 and row["sharpness"] > 40
        assert pixels(row, "image").shape == (128, 128, 3) and pixels(row, "valid").shape == (16, 16)


@pytest.mark.parametrize(("nose", "share"), [(50, 1), (40, 0.8), (0, 0), (-20, 0)])
def test_a_head_is_frontal_where_the_nose_is_between_the_eyes(nose, share):
    landmarks = np.array([[0, 0], [100, 0], [nose, 40], [20, 80], [80, 80]])
    assert frontal_share(landmarks) == pytest.approx(share)


def test_cells_are_valid_where_they_show_the_photo_alone():
    whole = align_face(encoded(photo()), ANY)
    assert pixels(whole, "valid").min() == 255 and whole["visible"] == 1
    frame = align(np.array(whole["landmarks"]), FACE_TEMPLATES["portrait"])
    x, y = round(frame.offset.real + 0.25 * frame.side), round(frame.offset.imag + 0.3 * frame.side)
    cut = align_face(encoded(photo().crop((x, 0, 300, 300))), ANY)  # the face's place in the frame stays
    rows = [cut]
    for color in ("black", "white"):
        bordered = photo()
        ImageDraw.Draw(bordered).rectangle((0, 0, x, 300), color)
        rows.append(align_face(encoded(bordered), replace(ANY, border=color)))
        assert align_face(encoded(bordered), replace(ANY, border="none"))["visible"] == 1
    for row in rows:
        valid = pixels(row, "valid")
        assert set(np.unique(valid)) == {0, 255} and (valid[:, 8:] == 255).all() and (valid[:, :3] == 0).all()
    pupils = photo()  # black that does not reach the border is the photo's own
    ImageDraw.Draw(pupils).rectangle((x, y, x + 20, y + 20), "black")
    assert align_face(encoded(pupils), ANY)["visible"] == 1


def test_columns_of_the_source_come_along(tmp_path):
    images = [photo(), Image.fromarray(data.coffee()), ImageOps.mirror(photo())]
    rows = [{"photo": encoded(image), "name": name, "sharpness": 0} for image, name in zip(images, "abc", strict=True)]
    features = Features({"photo": ImageFeature(), "name": Value("string"), "sharpness": Value("int64")})
    Dataset.from_list(rows, features=features).to_parquet(tmp_path / "rows.parquet")
    output = tmp_path / "aligned.parquet"
    arguments = ["--image-column", "photo", "--size", "64", "--min-sharpness", "1", "--workers", "1"]
    assert main([str(tmp_path / "rows.parquet"), "-o", str(output), *arguments]) == 0
    aligned = open_rows(output, image_columns=("image", "valid"))
    assert set(aligned.column_names) == {*COLUMNS, "name"} and min(aligned["sharpness"][:]) > 1
    assert aligned["name"][:] == ["a", "c"] and aligned["source"][:] == ["row 0", "row 2"]


def test_a_failed_run_leaves_what_was_there(tmp_path, capsys):
    folder, output = tmp_path / "photos", tmp_path / "aligned.parquet"
    folder.mkdir()
    photo().save(folder / "a.png")
    output.write_text("older")
    for option, value, word in (("--size", "100", "multiple"), ("--min-sharpness", "1e9", "1 blurred")):
        assert main([str(folder), "-o", str(output), "--workers", "1", option, value]) == 1
        assert word in capsys.readouterr().err and output.read_text() == "older"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["aligned.parquet", "photos"]
