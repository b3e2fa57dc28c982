"""The commands that restore images do what their flags say."""

import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import pixels, run, words
from conftest import make_image, make_mask
from PIL import Image
from processes import Forked, wait_until

from textir_hf import TextIRPipeline
from textir_hf.cli.main import COMMANDS, build_parser, main
from textir_hf.imaging.files import open_image, read_settings
from textir_hf.tasks import TASKS


@pytest.fixture
def folder(command_folder):
    return command_folder


def test_every_argument_of_a_task_has_a_flag_of_its_name():
    for task in TASKS.values():
        assert COMMANDS[task.command] == ("restore", task.summary)
        required = [word for name in task.requires for word in (f"--{name.replace('_', '-')}", "2")]
        args = vars(build_parser([task.command]).parse_args(words(task.command, *required)))
        assert {*task.requires, *task.accepts} <= args.keys()
    edit = vars(build_parser(["edit"]).parse_args(words("edit")))
    assert {name for task in TASKS.values() for name in (task.degradation, *task.edit_accepts)} <= edit.keys()


def test_flags_give_the_result_of_the_arguments_with_their_names(folder):
    pipe = TextIRPipeline.from_pretrained("super-resolution")
    image, other, mask = make_image(), open_image("images/1.png"), make_mask()
    cases = (
        (["--beta", 0.5, "--skip-strength", 0.5], {"beta": 0.5, "skip_strength": 0.5}),
        (["--reference-image", "images/1.png"], {"reference_image": other}),
        (["--skip-strength", "0.1,0.5,0.9"], {"skip_strength": [0.1, 0.5, 0.9]}),
        (["--prompt", "a red flower"], {"prompt": [["a face", "a red flower"]]}),
        (["--box", "2,3,14,15"], {"box": (2, 3, 14, 15)}),
        (["--region", "masks/0.png", "a red flower"], {"regions": [(mask, "a red flower")]}),
        (["--seed", 1], {"generator": torch.Generator().manual_seed(1)}),
    )
    for flags, arguments in cases:
        assert run("upscale", "--scale", 2, *flags) == 0
        expected = pipe(**{"prompt": "a face", "image": image, "scale": 2} | arguments).images[0]
        assert np.array_equal(pixels("out.png"), np.asarray(expected)), flags


def test_edits_and_sweeps_write_their_result(folder, capsys):
    options = {"mask_image": ["--mask-image", "masks/0.png"], "factor": ["--factor", 4], "colors": ["--colors"]}
    for task in TASKS.values():
        assert run("edit", *options[task.degradation], task=task.name, output="edit.png") == 0
        assert open_image("edit.png").size == (40, 36)
    assert capsys.readouterr().out.split() == ["edit.png"] * 3
    Path("images/broken.png").write_text("no image")
    assert run("sweep", "--colors", "--beta", 0, 1, image="images", output="grids") == 1
    assert "images/broken.png" in capsys.readouterr().err
    grids = list(Path("grids").iterdir())
    assert len(grids) == 3 and all(open_image(grid).width > 3 * 160 for grid in grids)


def test_metadata_is_carried_over_unless_the_user_wants_none(folder):
    exif = Image.Exif()
    exif[306] = "2024:01:01 10:00:00"
    make_image(36, 40).save("photo.jpg", exif=exif)
    for flags, date, prompt in (((), exif[306], "a face"), (("--no-metadata",), None, None)):
        assert run("colorize", *flags, image="photo.jpg") == 0
        made = open_image("out.png")
        assert made.getexif().get(306) == date and read_settings(made).get("prompt") == prompt


def test_whatever_happens_to_one_image_of_a_folder_the_others_are_done_with_masks_of_their_names(folder, capsys):
    Path("images/broken.jpg").write_text("no image")
    Path("images/notes.txt").write_text("no image, and not named like one")
    make_mask(10, 10).save("masks/2.png")
    Path("masks/1.png").unlink()
    make_mask().save("masks/1.JPE", "JPEG")  # any suffix will do
    assert run("inpaint", "--mask-image", "masks", image="images", output="new/results") == 1
    assert sorted(p.name for p in Path("new/results").iterdir()) == ["0.png", "1.png"]
    out, err = capsys.readouterr()
    assert out == "2 of 4 images restored to new/results\n"
    assert len(err.splitlines()) == 2 and "images/2.png: mask_image" in err
    assert all(line.count("images/") == 1 and line.startswith("textir: ") for line in err.splitlines())


def test_folders_are_walked_through(folder, capsys):
    deep = Path("images/more/deep")
    deep.mkdir(parents=True)
    (folder / "images" / ".hidden").mkdir()
    for place in (deep / "a.gif", deep / "b.avif", "images/0.jpg", "images/._0.jpg", "images/.hidden/c.png"):
        make_image(seed=9).save(place)
    assert run("inpaint", "--mask-image", "masks/0.png", image="images", output="flat") == 0
    names = ["0.jpg.png", "0.png.png", "1.png", "2.png"]
    assert sorted(p.name for p in Path("flat").iterdir()) == names
    for _ in range(2):  # the second time, results are among the images
        more = ["--mask-image", "masks/0.png", "--recursive"]
        assert run("inpaint", *more, image="images", output="images/results") == 0
    found = sorted(str(p.relative_to("images/results")) for p in Path("images/results").rglob("*.*"))
    assert found == [*names, "more/deep/a.png", "more/deep/b.png"]
    assert capsys.readouterr().out.endswith("6 of 6 images restored to images/results\n" * 2)
    assert run("colorize", image="images/more", output="new") == 2 and "--recursive" in capsys.readouterr().err


def test_a_stopped_folder_says_how_far_it_came_and_goes_on(folder):
    make_image(300, 200).save("images/3.png")
    for i in range(4, 12):
        shutil.copy("images/3.png", f"images/{i}.png")
    command = words("colorize", image="images", output="results")
    process = Forked(main, command)
    wait_until(lambda: list(Path("results").glob("*.png")), process)
    os.kill(process.pid, signal.SIGINT)
    code, err, done = process.wait(), process.err(), sorted(Path("results").iterdir())
    assert code == 130 and 0 < len(done) < 12
    line = re.search(r"textir: stopped, (\d+) of 12 done", err)
    assert line and len(done) - 1 <= int(line[1]) <= len(done), err  # it may be stopped before it counts what it wrote
    assert "Traceback" not in err and all(p.suffix == ".png" for p in done) and [pixels(p).shape for p in done]
    done[0].write_bytes(b"mine")
    assert main([*command, "--skip-existing"]) == 0 and len(list(Path("results").iterdir())) == 12
    assert done[0].read_bytes() == b"mine"  # what is there is left, and no network loaded where nothing is to be done
    assert run("colorize", "--skip-existing", output=done[0], task="nowhere/at-all") == 0
