import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import make_image
from PIL import Image
from processes import fork_ranks

from textir_hf.cli.main import main
from textir_hf.evaluation import damages, protocols
from textir_hf.evaluation.measures import OURS, Measures
from textir_hf.evaluation.protocols import PRESETS
from textir_hf.evaluation.run import FRECHET
from textir_hf.evaluation.tables import cell, markdown, read_tables
from textir_hf.tasks import TASKS


@pytest.fixture
def arguments(test_sets, lpips_file, pipeline, tmp_path):
    """Words of `textir evaluate` for a tiny checkpoint of a task."""

    def make(task: str, *more: str) -> list[str]:
        checkpoint = tmp_path / f"tiny-{task}"
        if not checkpoint.exists():
            pipeline(task, sample_size=64).save_pretrained(checkpoint)
        words = ["evaluate", "--preset", f"textir-mini-{task}", "--data", str(test_sets), "--lpips", str(lpips_file)]
        return [*words, "--checkpoint", str(checkpoint), "--output", str(tmp_path / "results"), *more]

    return make


@pytest.fixture
def short(monkeypatch):
    """Shortens the presets to one contrast and one factor."""
    for name, preset in list(PRESETS.items()):
        monkeypatch.setitem(PRESETS, name, replace(preset, factors=preset.factors[:1], contrasts=preset.contrasts[:1]))


def check_results(task: str, folder: Path, printed: str) -> None:
    """The tables of a run are printed, and hold every row and column; beside them is what a check needs."""
    tables = read_tables(folder / "report.json")
    assert all(markdown(table) in printed for table in tables)
    kinds = {"inpainting": damages.FILLERS, "super-resolution": damages.UPSCALERS}
    kinds["colorization"] = ("gray", "mean a and b of the training set")
    quality = [t for t in tables if OURS[0] in t.rows]
    assert len(quality) == (2 if task == "inpainting" else 1)
    for table in quality:
        assert set(table.rows) == {*kinds[task], *OURS} and FRECHET[:7] == table.columns[-1][:7]
        assert all(c.mean is not None for row in OURS for c in table.rows[row])
    (effect,) = [t for t in tables if t.title.startswith("text effect")]
    assert list(effect.rows) == [c.name for c in PRESETS[f"textir-mini-{task}"].contrasts]
    columns = {"inpainting": {"detail", "seam"}, "super-resolution": {"detail", "recognized among 3 (%)"}}
    assert set(quality[0].columns) >= columns.get(task, {"colorfulness"})
    facts = json.loads((folder / "report.json").read_text())
    assert len(facts["weights"]) == 3 and facts["versions"]["torch"] and facts["data"]
    grids = {table.title.split(" ")[0].rstrip(",") + ".png" for table in quality}
    written = {"tables.md", "report.json", "evaluation.json", "values-0.jsonl"}
    assert {p.name for p in folder.iterdir()} == written | grids


@pytest.mark.parametrize("task", ["inpainting", "colorization"])
def test_a_run_prints_tables_and_leaves_what_a_check_needs(task, arguments, pipeline, tmp_path, capsys, short):
    pipeline("super-resolution", sample_size=64).save_pretrained(tmp_path / "refiner")
    refiner = ["--refiner", str(tmp_path / "refiner")] if task == "inpainting" else []
    assert main(arguments(task, *refiner)) == 0
    folder = tmp_path / "results"
    check_results(task, folder, capsys.readouterr().out)
    assert bool(json.loads((folder / "evaluation.json").read_text())["refiner"]) == bool(refiner)


def test_a_run_goes_on_only_with_the_same_images_of_a_folder(arguments, tmp_path, capsys, short):
    words = arguments("colorization", "--preset", "faces-colorization", "--split", "train", "--data")
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        for i in range(2):
            make_image(64, 64, seed=len(name) + i).save(tmp_path / name / f"{i}.png")
    assert [main([*words, str(tmp_path / name)]) for name in ("one", "one", "other")] == [0, 0, 2]
    assert "data differ" in capsys.readouterr().err


def test_a_killed_run_goes_on_to_the_same_values(arguments, tmp_path, monkeypatch, capsys, short):
    words, path = arguments("super-resolution"), tmp_path / "results" / "values-0.jsonl"
    assert main(words) == 0
    check_results("super-resolution", path.parent, capsys.readouterr().out)
    unbroken = (tmp_path / "results" / "tables.md").read_text()
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[1][:40])  # killed while writing
    indices, measure = [], Measures.measure
    monkeypatch.setattr(Measures, "measure", lambda self, index: indices.append(index) or measure(self, index))
    assert main(words) == 0
    assert indices == [1, 2] and (tmp_path / "results" / "tables.md").read_text() == unbroken
    assert main([*words, "--limit", "2"]) == 2
    assert "images" in capsys.readouterr().err  # differ from those of the folder


def test_two_processes_share_the_images(arguments, tmp_path):
    (tmp_path / "photos").mkdir()
    for i in range(2):
        make_image(64, 64, seed=i).save(tmp_path / "photos" / f"{i}.png")
    words = ["--preset", "photos-4x", "--data", str(tmp_path / "photos"), "--split", "train", "--limit", "2"]
    processes = fork_ranks(2, main, arguments("super-resolution", *words))
    assert [process.wait() for process in processes] == [0, 0], processes[0].err()
    shares = [(tmp_path / "results" / f"values-{rank}.jsonl").read_text().splitlines() for rank in (0, 1)]
    assert [[json.loads(line)["index"] for line in share] for share in shares] == [[0], [1]]
    (table, *_) = read_tables(tmp_path / "results" / "report.json")
    assert [process.out().count(markdown(table)) for process in processes] == [1, 0]


def test_our_own_results_from_a_folder_give_our_own_row(arguments, tmp_path, short, capsys, monkeypatch):
    folder, restored = tmp_path / "own", Measures.restored

    def kept(self, index, table):
        results, path = restored(self, index, table), folder / table / self.test_set.name(index)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(results[OURS[0]]).save(path)
        return results

    with monkeypatch.context() as patch:
        patch.setattr(Measures, "restored", kept)
        assert main(arguments("super-resolution")) == 0
    words = arguments("super-resolution", "--against", f"Peer={folder}", "--output", str(tmp_path / "again"))
    assert main(words) == 0
    quality, paired, _ = read_tables(tmp_path / "again" / "report.json")
    assert quality.rows["Peer"] == quality.rows[OURS[0]] and all(c.mean == c.half == 0 for c in paired.rows["Peer"])
    for column, found in zip(paired.columns, paired.rows["nearest"], strict=True):
        ours, theirs = (quality.rows[row][quality.columns.index(column)].values for row in (OURS[0], "nearest"))
        expected = cell(np.subtract(ours, theirs).tolist())
        assert (found.mean, found.half) == pytest.approx((expected.mean, expected.half), abs=1e-4)

    second = sorted((folder / "4x").iterdir())[1]
    Image.new("RGB", (64, 64)).save(second)  # no run goes on with values of other results
    assert main(words) == 2 and "against" in capsys.readouterr().err
    second.unlink()
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "Peer" in error and second.name in error


def test_photos_without_captions_are_measured_as_they_are(arguments, tmp_path, short):
    folder, theirs = tmp_path / "photos", tmp_path / "theirs" / "4x"
    folder.mkdir()
    theirs.mkdir(parents=True)
    for i, size in enumerate(((70, 67), (64, 83))):
        make_image(*size, seed=i).save(folder / f"{i}.png")
        width, height = (side // 4 * 4 for side in size)
        result = make_image(*size, seed=i).crop((0, 0, width, height))
        result = result.point(lambda value: value ^ 1) if i else result
        result.save(theirs / f"photos-{i:05d}.png")
    words = ["--preset", "photos-4x", "--data", str(folder), "--split", "train"]
    assert main(arguments("super-resolution", *words, "--against", f"Peer={theirs.parent}")) == 0
    table, paired = read_tables(tmp_path / "results" / "report.json")
    assert {"bicubic", "Peer", "ours, empty prompt"} <= set(table.rows) and "Peer" in paired.rows
    psnr = table.rows["Peer"][table.columns.index("PSNR (dB)")]
    assert psnr.values == pytest.approx([100, 48.13], abs=0.01) and "CLIP score" not in table.columns
    make_image(70, 67).save(theirs / "photos-00000.png")
    assert main(arguments("super-resolution", *words, "--against", f"Peer={theirs.parent}")) == 2


@pytest.mark.parametrize("task", TASKS)
def test_saved_inputs_hold_no_lost_pixel(task, arguments, tmp_path, test_sets, capsys):
    folder = tmp_path / "inputs"
    words = arguments(task)
    assert main([*words[:-2], "--save-inputs", str(folder)]) == 0  # needs no --output
    prompts = json.loads((folder / "prompts.json").read_text())
    tables = sorted((folder / "images").iterdir())
    assert all([p.name for p in sorted(table.iterdir())] == sorted(prompts) for table in tables)
    for table in tables:
        for path in table.iterdir():
            image = np.asarray(Image.open(path))
            if task == "inpainting":
                mask = np.asarray(Image.open(folder / "masks" / table.name / path.name))
                assert set(np.unique(mask)) == {0, 255} and (image[mask > 0] == 255).all()
            elif task == "super-resolution":
                assert image.shape[0] == 64 // int(table.name.removesuffix("x"))
            else:
                assert np.ptp(image.astype(int), 2).max() <= 2  # gray
    assert not (tmp_path / "results").exists()


def test_bad_input_is_refused_before_anything_is_computed(arguments, test_sets, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Measures, "prepare", lambda *_: pytest.fail("computed"))
    for change, words in (
        (["--preset", "table-1", "--masks", str(tmp_path), "--data", "a/b/c"], ["a/b/c", "a folder"]),
        (["--preset", "table-1"], ["--masks must be given"]),
        (["--preset", "table-3", "--data", str(test_sets / protocols.SCENES)], ["super-resolution", "inpainting"]),
        (["--limit", "1"], ["--limit", "2, got 1"]),
        (["--against", "Peer=/none"], ["NAME=FOLDER", "Peer=/none"]),
    ):
        assert main(arguments("inpainting", *change)) == 2
        error = capsys.readouterr().err
        assert all(word in error for word in words), error
