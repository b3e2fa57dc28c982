import json
import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from conftest import encoded, make_image, make_mask
from datasets import Dataset, Features, Image, List, Value, disable_progress_bars, load_dataset
from processes import Forked, fork_ranks, wait_until

from textir_hf import TextIRPipeline
from textir_hf.cli.main import main
from textir_hf.imaging.raster import to_raster

disable_progress_bars()


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


def one_prompt(folder: Path, path: Path, *more) -> list[str]:
    """The command for a file without captions."""
    command = arguments(folder, "--dataset", path, "--prompt", "a face", *more)
    place = command.index("--prompt-column")
    return command[:place] + command[place + 2 :]


def results(folder: Path) -> dict[int, dict]:
    rows = load_dataset("parquet", data_files=str(folder / "out" / "part-*.parquet"), split="train")
    assert len(rows["row"]) == len(set(rows["row"]))
    return {row["row"]: row for row in rows}


def test_two_processes_killed_and_started_again_do_each_image_once(folder):
    out = folder / "out"
    processes = fork_ranks(2, main, arguments(folder))
    wait_until(lambda: len(list(out.glob("part-*"))) >= 2, processes[0])
    for process in processes:
        process.kill()
    before = {p: p.stat().st_mtime_ns for p in out.glob("part-*")}
    assert before
    for process in fork_ranks(2, main, arguments(folder)):
        assert process.wait() == 0, process.err()
    assert all(p.stat().st_mtime_ns == t for p, t in before.items())
    rows, pipe = results(folder), TextIRPipeline.from_pretrained(folder / "checkpoint")
    pipe.set_progress_bar_config(disable=True)
    assert sorted(rows) == list(range(10))
    for number, row in rows.items():
        prompt = "a red flower" if number % 3 else "a face"
        expected = pipe(prompt, make_image(24 if number % 2 else 40, 36, seed=number)).images[0]
        assert row["prompt"] == prompt and json.loads(row["settings"])["prompt"] == prompt
        assert np.array_equal(to_raster(row["image"]).rgb, to_raster(expected).rgb)


def test_bad_rows_are_named_and_tried_again(folder, capsys):
    (folder / "images" / "3.png").write_bytes(b"no image")
    assert main(arguments(folder, "--batch-size", 4)) == 1
    (line,) = re.findall("textir: .*", capsys.readouterr().err)
    assert line.startswith("textir: row 3: ")
    assert sorted(results(folder)) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert json.loads((folder / "out" / "failed-0.jsonl").read_text())["row"] == 3
    assert main(arguments(folder)) == 1 and capsys.readouterr().err.startswith("textir: row 3: ")
    make_image().save(folder / "images" / "3.png")
    assert main(arguments(folder)) == 0 and 3 in results(folder)
    assert capsys.readouterr().out.endswith("9 restored before, 0 failed\n")


def rows_file(path: Path, values: list) -> Path:
    Dataset.from_list([{"image": value} for value in values]).to_parquet(path)
    return path


def test_paths_in_the_rows_of_a_file_are_followed_only_where_asked(folder, capsys):
    image, url = folder / "images" / "1.png", (folder / "images" / "2.png").as_uri()
    values = [encoded(make_image()), *({"bytes": None, "path": path} for path in (str(image), url, "/etc/passwd"))]
    command = one_prompt(folder, rows_file(folder / "rows.parquet", values))
    assert main(command) == 1
    captured = capsys.readouterr()
    assert sorted(results(folder)) == [0] and captured.err.count("--allow-paths") == 3
    assert main([*command, "--allow-paths", "--output", str(folder / "out2")]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("3 rows restored") and "row 3" in captured.err


def test_a_file_that_breaks_off_costs_no_row_before_it(folder, capsys):
    files = [rows_file(folder / f"{n}.parquet", [encoded(make_image(seed=n))] * 3) for n in range(2)]
    content = bytearray(files[1].read_bytes())
    content[60:-400] = bytes(len(content) - 460)
    files[1].write_bytes(content)
    assert main(one_prompt(folder, folder / "[01].parquet", "--batch-size", 2)) == 1
    captured = capsys.readouterr()
    assert "beyond row 2" in captured.err and sorted(results(folder)) == [0, 1, 2]
    assert captured.out.startswith("3 rows restored")


def test_a_stopped_run_writes_what_it_has(folder):
    make_image(300, 200).save(folder / "images" / "10.png")
    for i in range(11, 16):
        shutil.copy(folder / "images" / "10.png", folder / "images" / f"{i}.png")
    (folder / "images" / "metadata.jsonl").unlink()
    command = one_prompt(folder, folder / "images", "--shard-size", 2)
    process = Forked(main, command)
    wait_until(lambda: len(list((folder / "out").glob("part-*"))) >= 2, process)
    os.kill(process.pid, signal.SIGINT)
    code, err, done = process.wait(), process.err(), results(folder)
    assert code == 130 and f"stopped, {len(done)} rows done" in err and "Traceback" not in err
    assert 4 <= len(done) < 16
    assert main(command) == 0 and len(results(folder)) == 16


def test_another_run_is_refused_in_the_same_folder(folder, capsys, pipeline):
    assert main(arguments(folder)) == 0
    assert main(arguments(folder, "--beta", 0.5, "--split", "train")) == 2
    assert "holds results of another run (beta differ)" in capsys.readouterr().err
    pipeline("colorization", signed_fusion=True).save_pretrained(folder / "checkpoint")
    assert main(arguments(folder)) == 2
    assert "holds results of another run (checkpoint differ)" in capsys.readouterr().err


def test_masks_come_from_a_column(folder, pipeline, capsys):
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


def test_bad_input_is_said_before_anything_is_written(folder, capsys):
    for change, message in (
        (["--dataset", "/none.parquet"], "/none.parquet"),
        (["--prompt-column", "words"], "prompt_column words"),
        (["--prompt", "a face"], "either --prompt or --prompt-column"),
        (["--task", "inpainting"], "mask_image must be given"),
    ):
        assert main(arguments(folder, *change)) == 2
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1 and not (folder / "out").exists()
