import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import interruptible, make_image, make_mask
from datasets import disable_progress_bars, load_dataset

from textir_hf import TextIRPipeline
from textir_hf.cli.main import main
from textir_hf.imaging.raster import to_raster

disable_progress_bars()
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone", "-m", "textir_hf"]


@pytest.fixture
def folder(pipeline, tmp_path):
    """A tiny checkpoint and ten images of two sizes with captions."""
    pipeline("colorization").save_pretrained(tmp_path / "checkpoint")
    (tmp_path / "images").mkdir()
    lines = []
    for i in range(10):
        make_image(24 if i % 2 else 40, 36, seed=i).save(tmp_path / "images" / f"{i}.png")
        lines.append(json.dumps({"file_name": f"{i}.png", "text": "a red flower" if i % 3 else "a face"}))
    (tmp_path / "images" / "metadata.jsonl").write_text("\n".join(lines))
    return tmp_path


def arguments(folder: Path, *more) -> list[str]:
    common = ["--task", "colorization", "--checkpoint", folder / "checkpoint", "--output", folder / "out"]
    data = ["--dataset", folder / "images", "--prompt-column", "text", "--shard-size", 1]
    return ["bulk", *map(str, (*common, *data, *more))]


def results(folder: Path) -> dict[int, dict]:
    rows = load_dataset("parquet", data_files=str(folder / "out" / "part-*.parquet"), split="train")
    assert len(rows["row"]) == len(set(rows["row"]))
    return {row["row"]: row for row in rows}


def wait_for_files(process: subprocess.Popen, out: Path, number: int) -> None:
    while len(list(out.glob("part-*"))) < number and process.poll() is None:
        time.sleep(0.02)


def test_two_processes_killed_and_started_again_do_each_image_once(folder):
    environment, out = os.environ | {"OMP_NUM_THREADS": "1"}, folder / "out"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([*LAUNCH, *arguments(folder)], env=environment, **quiet)
    wait_for_files(process, out, 2)
    for each in [*psutil.Process(process.pid).children(recursive=True), process]:
        os.kill(each.pid, signal.SIGKILL)
    process.wait()
    before = {p: p.stat().st_mtime_ns for p in out.glob("part-*")}
    assert before
    again = subprocess.run([*LAUNCH, *arguments(folder)], env=environment, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert all(p.stat().st_mtime_ns == t for p, t in before.items())
    rows, pipe = results(folder), TextIRPipeline.from_pretrained(folder / "checkpoint")
    pipe.set_progress_bar_config(disable=True)
    assert sorted(rows) == list(range(10))
    for number, row in rows.items():
        prompt = "a red flower" if number % 3 else "a face"
        expected = pipe(prompt, make_image(24 if number % 2 else 40, 36, seed=number)).images[0]
        assert row["prompt"] == prompt and json.loads(row["settings"])["prompt"] == prompt
        assert np.array_equal(to_raster(row["image"]).rgb, to_raster(expected).rgb)


def test_bad_rows_are_named_and_never_met_again(folder, capsys):
    (folder / "images" / "3.png").write_bytes(b"no image")
    assert main(arguments(folder, "--batch-size", 4)) == 1
    err = capsys.readouterr().err
    assert err.startswith("textir: row 3: ") and err.count("\n") == 1
    assert sorted(results(folder)) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    with (folder / "out" / "failed-0.jsonl").open("a") as file:
        file.write('{"row": ')  # as a killed process leaves it
    make_image().save(folder / "images" / "3.png")
    assert main(arguments(folder)) == 1 and capsys.readouterr().err == ""
    assert 3 not in results(folder)
    (folder / "out" / "part-000000000.parquet").unlink()
    (folder / "images" / "0.png").write_bytes(b"no image")
    assert main(arguments(folder)) == 1 and capsys.readouterr().err.startswith("textir: row 0: ")
    lines = (folder / "out" / "failed-0.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["row"] == 3 and json.loads(lines[-1])["row"] == 0


def test_a_stopped_run_writes_what_it_has(folder):
    make_image(300, 200).save(folder / "images" / "10.png")
    for i in range(11, 30):
        shutil.copy(folder / "images" / "10.png", folder / "images" / f"{i}.png")
    (folder / "images" / "metadata.jsonl").unlink()
    command = arguments(folder, "--shard-size", 5, "--prompt", "a face")
    column = command.index("--prompt-column")
    del command[column : column + 2]
    process = subprocess.Popen(interruptible(*command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for_files(process, folder / "out", 2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    done = results(folder)
    assert process.returncode == 130 and f"stopped, {len(done)} rows done" in err and "Traceback" not in err
    assert 10 <= len(done) < 30
    assert main(command) == 0 and len(results(folder)) == 30


def test_another_run_is_refused_in_the_same_folder(folder, capsys, pipeline):
    assert main(arguments(folder)) == 0
    assert main(arguments(folder, "--beta", 0.5, "--split", "train")) == 2
    assert "holds results of another run (--beta differ)" in capsys.readouterr().err
    pipeline("colorization", signed_fusion=True).save_pretrained(folder / "checkpoint")
    assert main(arguments(folder)) == 2
    assert "holds results of another run (--checkpoint differ)" in capsys.readouterr().err
    (folder / "out" / "bulk.json").unlink()
    assert main(arguments(folder)) == 2 and "results of an unknown run" in capsys.readouterr().err


def test_masks_come_from_a_column(folder, pipeline, capsys):
    from datasets import Dataset, Features, Image, List, Value

    rows = [
        {"image": make_image(seed=i), "mask": make_mask() if i else None, "text": ["a face", "a flower"]}
        for i in range(3)
    ]
    features = Features({"image": Image(), "mask": Image(), "text": List(Value("string"))})
    Dataset.from_list(rows, features=features).to_parquet(folder / "rows.parquet")
    pipeline("inpainting").save_pretrained(folder / "inpainting")
    change = ["--task", "inpainting", "--mask-column", "mask", "--dataset", folder / "rows.parquet"]
    assert main(arguments(folder, *change, "--checkpoint", folder / "inpainting")) == 1
    assert capsys.readouterr().err == "textir: row 0: The mask is empty.\n"
    found, outside = results(folder), np.asarray(make_mask()) < 128
    assert sorted(found) == [1, 2] and found[1]["prompt"] == "a face / a flower"
    assert np.array_equal(to_raster(found[1]["image"]).rgb[outside], np.asarray(make_image(seed=1))[outside])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--dataset", "/none.parquet"], "The data set /none.parquet cannot be opened"),
        (["--split", "other"], "cannot be opened"),
        (["--image-column", "photo"], "has no column photo, only image, text"),
        (["--prompt-column", "words"], "--prompt-column words is not there, the data has image, text"),
        (["--prompt", "a face"], "either --prompt or --prompt-column"),
        (["--mask-column", "image"], "--mask-column cannot be used with this checkpoint"),
        (["--scale", "4"], "--scale cannot be used with this checkpoint"),
        (["--task", "inpainting"], "--mask-column must be given"),
        (["--task", "super-resolution"], "--scale must be given"),
        (["--beta", "nan"], "--beta must be a finite number"),
        (["--beta", "1e300"], "--beta must lie in -100..100"),
        (["--checkpoint", "nowhere"], "--checkpoint nowhere cannot be found: expected one of"),
        (["--output", __file__], "must be a folder, but it is a file"),
    ],
)
def test_bad_input_is_said_before_anything_is_written(folder, capsys, change, message):
    assert main(arguments(folder, *change)) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1 and not (folder / "out").exists()
