import pytest
from conftest import make_image

from model_cards.groups import FaceJudge, measure
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
