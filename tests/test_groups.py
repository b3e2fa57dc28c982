import json

import pytest
from conftest import make_image
from PIL import Image

from model_cards.groups import FaceJudge, add, measure
from model_cards.make import GROUPS
from textir_hf.evaluation.tables import Table, cell, read_tables, write_report
from textir_hf.metrics.perceptual import LPIPS

ROWS = [{"age": 20 + 2 * n, "male": n % 2 == 0, "group": ("white", "black", "asian")[n % 3]} for n in range(24)]


@pytest.fixture
def judge(pipeline, lpips_file):
    faces = [make_image(32, 32, seed=n) for n in range(24)]
    return lambda task: FaceJudge(pipeline(task), LPIPS(lpips_file), faces)


@pytest.mark.parametrize("task", ["inpainting", "super-resolution"])
def test_every_group_is_measured_on_its_faces_alone(task, judge):
    table = measure(judge(task), ROWS)
    counts = {name.rsplit(" (", 1)[0]: int(name.rsplit("(", 1)[1][:-1]) for name in table.rows}
    ages = {"up to 32 years": 7, "from 52 years on": 8}
    assert counts == {"all": 24, "men": 12, "women": 12, **ages, "white": 8, "black": 8, "asian": 8}
    column = table.columns.index("LPIPS")
    everyone, men = (next(c for n, c in table.rows.items() if n.startswith(g))[column].values for g in ("all", "men"))
    assert men == everyone[::2]
    assert ("seam" in table.columns) == (task == "inpainting")


def test_a_table_by_group_replaces_an_earlier_one(tmp_path):
    data, report = tmp_path / "faces.parquet", tmp_path / "report.json"
    Image.new("L", (2, 2)).save(data, "PNG")
    write_report(report, "one", [Table("a", ["x"], {"r": [cell([1.0])]})], [], [], "command")
    for value in (2.0, 3.0):
        add(report, Table(f"{GROUPS}, 8x", ["x"], {"all (2)": [cell([value, value])]}), data)
    assert [table.title for table in read_tables(report)] == ["a", f"{GROUPS}, 8x"]
    assert read_tables(report)[1].rows["all (2)"][0].mean == 3.0
    assert list(json.loads(report.read_text())["data"]) == ["faces.parquet"]
