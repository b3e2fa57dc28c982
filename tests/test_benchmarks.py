import pytest

from benchmarks import photos, speed
from textir_hf.tasks import TASKS


def test_photos_are_restored_as_their_case_says(monkeypatch):
    for title, (_, scale) in photos.LARGE.items():
        assert photos.large(title, (60, 40))["result"] == f"{60 * (scale or 1)}x{40 * (scale or 1)}"
    found = {kind: photos.with_faces("inpainting", kind)["faces"] for kind in ("one face, turned by 30°", "no face")}
    assert found == {"one face, turned by 30°": 1, "no face": 0}


@pytest.mark.parametrize("task", TASKS)
def test_speed_edits_with_a_network_of_each_task(task, monkeypatch):
    monkeypatch.setattr(speed, "CHANNELS", dict.fromkeys(TASKS, (4, 8)))
    row = speed.ours(task, 32, "bf16")
    assert row["s"] > 0 and row["GFLOP/s"] > 0
