from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

import benchmarks
from benchmarks import batches, faces, images, speed
from textir_hf.tasks import TASKS, embedded_checkpoints

NAMES = sorted(p.stem for p in Path(benchmarks.__file__).parent.glob("*.py") if p.stem != "__init__")


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_can_be_imported(name):
    import_module(f"benchmarks.{name}")


@pytest.mark.parametrize("checkpoint", embedded_checkpoints())
def test_batches_are_compared_on_the_same_images(checkpoint):
    task, seconds, difference = batches.measure(checkpoint, 5, 1)
    assert TASKS[task].checkpoint == checkpoint and set(seconds) == {1, 4} and difference <= 1


@pytest.mark.parametrize("task", TASKS)
def test_speed_edits_with_a_network_of_each_task(task, monkeypatch):
    monkeypatch.setattr(speed, "CHANNELS", dict.fromkeys(TASKS, (4, 8)))
    row = speed.ours(task, 32, "bf16")
    assert row["seconds"] > 0 and row["gflop"] > 0


def test_the_speed_table_compares_with_the_reference():
    reference = {f"{speed._REFERENCE}, {kind}": {"seconds": 10.0, "memory": 4.0} for kind in ("fp32", "bf16")}
    rows = reference | {
        "inpainting, 512, bf16": {"seconds": 0.5, "memory": 1.0, "gflop": 100.0},
        "inpainting, 256, fp32": {"seconds": 0.25, "memory": 1.0, "gflop": 50.0},
    }
    lines = speed.table(rows, {"fp32": 400.0, "bf16": 800.0}).splitlines()
    assert lines[-2:] == [
        "| inpainting, 512, bf16 | 500 | 1.0 | 200 | 25 % | 20 | 20 |",
        "| inpainting, 256, fp32 | 250 | 1.0 | 200 | 50 % |  |  |",
    ]


@pytest.mark.parametrize("name", images.CASES)
def test_large_images_are_restored_as_their_case_says(name, capsys, monkeypatch):
    monkeypatch.setattr(images, "_BOXES", ((8, 8, 20, 24),))
    case = replace(images.CASES[name], size=(60, 40))
    images.measure(case)
    scale = case.arguments(images.Image.new("RGB", (60, 40))).get("scale", 1)
    assert f"| {60 * scale}x{40 * scale} |" in capsys.readouterr().out


@pytest.mark.parametrize("task", faces.TASKS)
def test_faces_are_measured_with_and_without(task, capsys, tmp_path):
    assert faces.PHOTOS["four faces in 24 megapixels"]().size == (6000, 4000)
    for kind, found in {"one face, turned by 30°": 1, "no face": 0}.items():
        faces.measure(task, kind, tmp_path)
        cells = capsys.readouterr().out.strip("| \n").split(" | ")
        assert cells[0] == f"{task}, {kind}" and int(cells[2]) == found and len(cells) == len(faces.COLUMNS)
    assert len(list(tmp_path.glob("*.png"))) == 3 * 2
