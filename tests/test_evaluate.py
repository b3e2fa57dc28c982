import argparse
import hashlib
import io
import json

import numpy as np
import pytest
from conftest import SHARED, picture
from datasets import Dataset, Features, Image, Value

from training import evaluate
from training.tables import cell, markdown, read_tables


@pytest.fixture
def data(tmp_path):
    """A folder with tiny test sets under the names that the evaluation reads."""
    features = Features({"image": Image(), "split": Value("string")})
    for name in (evaluate.FACES, evaluate.MASKS, evaluate.FLOWERS):
        rows = []
        for i in range(3):
            image, buffer = picture(64, 64, seed=i), io.BytesIO()
            if name == evaluate.MASKS:
                image = image.convert("L").point(lambda v: 0)
                image.paste(255, (8, 8, 40, 36))
            image.save(buffer, "PNG")
            rows.append({"image": {"bytes": buffer.getvalue(), "path": None}, "split": "test"})
        Dataset.from_list(rows, features=features).to_parquet(tmp_path / name)
    return tmp_path


def test_psnr_is_known_and_can_be_of_the_hole_alone():
    first, second = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)
    second[:2] = 255
    assert evaluate.psnr(first, second) == pytest.approx(10 * np.log10(2))
    hole = np.zeros((4, 4), bool)
    hole[:2] = True
    assert evaluate.psnr(first, second, hole) == pytest.approx(0)
    assert evaluate.psnr(first, second, ~hole) > 100


def test_interval_holds_the_mean_and_shrinks_with_the_count():
    made = cell(list(np.random.default_rng(0).normal(5, 1, 400)))
    assert made.mean == pytest.approx(5, abs=0.2) and made.half == pytest.approx(1.96 / 20, abs=0.02)
    assert len(made.values) == 400


def test_colour_table_has_a_row_a_word(pipeline, data):
    (table,) = evaluate.colorization(pipeline("colorization"), argparse.Namespace(data=data))
    assert list(table.rows) == ["“a red flower”", "“a yellow flower”", "“a purple flower”"]
    assert len(table.columns) == 3 and len(table.rows["“a red flower”"][0].values) == 3
    assert markdown(table).count("\n") == 4


@pytest.mark.skipif(not SHARED.exists(), reason="needs the weights of LPIPS")
@pytest.mark.parametrize(("task", "tables"), [("inpainting", 1), ("super-resolution", 3)])
def test_tables_name_every_method(task, tables, pipeline, data):
    args = argparse.Namespace(data=data, lpips=SHARED / "weights" / "lpips_alexnet.safetensors")
    pipe = pipeline(task, sample_size=64)
    made = {"inpainting": evaluate.inpainting, "super-resolution": evaluate.super_resolution}[task](pipe, args)
    assert len(made) == tables
    for table in made:
        base = "OpenCV Telea" if task == "inpainting" else "bicubic"
        assert list(table.rows) == [base, "ours, image embedding", f"ours, “{evaluate.PROMPT}”"]


def test_a_report_holds_what_a_check_needs(pipeline, data, tmp_path, monkeypatch, capsys):
    pipeline("colorization").save_pretrained(tmp_path / "made")
    words = ["evaluate", "--task", "colorization", "--data", str(data), "--checkpoint", str(tmp_path / "made")]
    monkeypatch.setattr("sys.argv", [*words, "--output", str(tmp_path / "report.json")])
    evaluate.main()
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["data"][evaluate.FLOWERS] == hashlib.sha256((data / evaluate.FLOWERS).read_bytes()).hexdigest()
    assert report["checkpoint"] == "made" and len(report["weights"]) == 3 and report["versions"]["torch"]
    (table,) = read_tables(tmp_path / "report.json")
    assert markdown(table) in capsys.readouterr().out
