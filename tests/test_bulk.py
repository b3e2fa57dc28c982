import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import picture
from datasets import disable_progress_bars, load_dataset

from textir_hf import TextIRPipeline
from textir_hf.cli.bulk import main
from textir_hf.imaging.raster import to_raster

disable_progress_bars()


@pytest.fixture
def folder(pipeline, tmp_path):
    """A tiny checkpoint and ten pictures of two sizes with captions."""
    pipeline("colorization").save_pretrained(tmp_path / "checkpoint")
    (tmp_path / "images").mkdir()
    lines = []
    for i in range(10):
        picture(24 if i % 2 else 40, 36, seed=i).save(tmp_path / "images" / f"{i}.png")
        lines.append(json.dumps({"file_name": f"{i}.png", "text": "a red flower" if i % 3 else "a face"}))
    (tmp_path / "images" / "metadata.jsonl").write_text("\n".join(lines))
    return tmp_path


def arguments(folder: Path, *more: str) -> list[str]:
    common = ["--task", "colorization", "--checkpoint", str(folder / "checkpoint"), "--output", str(folder / "out")]
    return [*common, "--dataset", str(folder / "images"), "--prompt_column", "text", "--shard_size", "1", *more]


def results(folder: Path) -> dict[int, dict]:
    rows = load_dataset("parquet", data_files=str(folder / "out" / "part-*.parquet"), split="train")
    assert len(rows["row"]) == len(set(rows["row"]))
    return {row["row"]: row for row in rows}


def test_two_processes_killed_and_started_again_do_each_picture_once(folder):
    words = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        "2",
        "--standalone",
        "-m",
        "textir_hf.cli.bulk",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*words, *arguments(folder)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    out = folder / "out"
    for _ in range(600):
        if len(list(out.glob("part-*"))) >= 2 or process.poll() is not None:
            break
        time.sleep(0.05)
    for each in [*psutil.Process(process.pid).children(recursive=True), process]:
        os.kill(each.pid, signal.SIGKILL)
    process.wait()
    before = {p: p.stat().st_mtime_ns for p in out.glob("part-*")}
    assert before
    again = subprocess.run([*words, *arguments(folder)], env=environment, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert all(p.stat().st_mtime_ns == t for p, t in before.items()) and not list(out.glob(".*"))
    rows, pipe = results(folder), TextIRPipeline.from_pretrained(folder / "checkpoint")
    pipe.set_progress_bar_config(disable=True)
    assert sorted(rows) == list(range(10))
    for number, row in rows.items():
        prompt = "a red flower" if number % 3 else "a face"
        expected = pipe(prompt, picture(24 if number % 2 else 40, 36, seed=number)).images[0]
        assert row["prompt"] == prompt and json.loads(row["settings"])["prompt"] == prompt
        assert np.array_equal(to_raster(row["image"]).rgb, to_raster(expected).rgb)


def test_damaged_pictures_are_reported_and_the_others_done(folder, capsys):
    (folder / "images" / "3.png").write_bytes(b"no picture")
    assert main(arguments(folder)) == 1
    assert "row 3: The picture cannot be decoded" in capsys.readouterr().err
    assert sorted(results(folder)) == [0, 1, 2, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--dataset", "/none.parquet"], "cannot be opened"),
        (["--split", "other"], "cannot be opened"),
        (["--prompt_column", "words"], "--prompt_column words is not there"),
        (["--prompt", "a face"], "either --prompt or --prompt_column"),
        (["--mask_column", "image"], "needed for inpainting, and for nothing else"),
        (["--scale", "4"], "needed for super-resolution, and for nothing else"),
    ],
)
def test_bad_input_is_said_before_anything_is_written(folder, capsys, change, message):
    assert main(arguments(folder, *change)) == 2
    assert message in capsys.readouterr().err and not (folder / "out").exists()
