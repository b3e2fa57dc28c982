import argparse
import io

import numpy as np
import pytest
from conftest import SHARED, picture
from datasets import Dataset, Features, Image, Value

from training import evaluate


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
    rng = np.random.default_rng(0)
    mean, half = map(float, evaluate.interval(list(rng.normal(5, 1, 400))).split(" ± "))
    assert mean == pytest.approx(5, abs=0.2) and half == pytest.approx(1.96 / 20, abs=0.02)


def test_colour_table_has_a_row_a_word(pipeline, data, capsys):
    evaluate.colorization(pipeline("colorization"), argparse.Namespace(data=data))
    rows = capsys.readouterr().out.splitlines()[-3:]
    assert [r.split("|")[1].strip() for r in rows] == ["“a red flower”", "“a yellow flower”", "“a purple flower”"]


@pytest.mark.skipif(not SHARED.exists(), reason="needs the weights of LPIPS")
@pytest.mark.parametrize(("task", "tables"), [("inpainting", 1), ("super-resolution", 3)])
def test_tables_name_every_method(task, tables, pipeline, data, capsys):
    args = argparse.Namespace(data=data, lpips=SHARED / "weights" / "lpips_alexnet.safetensors")
    pipe = pipeline(task, sample_size=64)
    {"inpainting": evaluate.inpainting, "super-resolution": evaluate.super_resolution}[task](pipe, args)
    out = capsys.readouterr().out
    assert out.count("| ours, image embedding |") == out.count(f"| ours, “{evaluate.PROMPT}” |") == tables
    assert out.count("| OpenCV Telea |" if task == "inpainting" else "| bicubic |") == tables
