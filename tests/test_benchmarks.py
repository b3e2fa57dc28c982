import pytest

from benchmarks import photos, speed
from textir_hf.tasks import TASKS, embedded_checkpoints


@pytest.mark.parametrize("checkpoint", embedded_checkpoints())
def test_batches_are_compared_on_the_same_images(checkpoint):
    row = photos.batches(checkpoint, 5, 1)
    assert row["times faster"] > 0 and row["largest difference (/255)"] <= 1


@pytest.mark.parametrize("title", photos.LARGE)
def test_large_images_are_restored_as_their_case_says(title):
    row, scale = photos.large(title, (60, 40)), photos.LARGE[title][1] or 1
    assert row["result"] == f"{60 * scale}x{40 * scale}"


@pytest.mark.parametrize("task", ["inpainting", "super-resolution"])
def test_faces_are_measured_with_and_without(task):
    found = {kind: photos.with_faces(task, kind)["faces"] for kind in ("one face, turned by 30°", "no face")}
    assert found == {"one face, turned by 30°": 1, "no face": 0}


@pytest.mark.parametrize("task", TASKS)
def test_speed_edits_with_a_network_of_each_task(task, monkeypatch):
    monkeypatch.setattr(speed, "CHANNELS", dict.fromkeys(TASKS, (4, 8)))
    row = speed.ours(task, 32, "bf16")
    assert row["s"] > 0 and row["GFLOP/s"] > 0
