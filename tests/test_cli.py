import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import hole, picture
from PIL import Image
from skimage import data

from textir_hf.cli.main import main
from textir_hf.imaging.files import open_image, read_settings


@pytest.fixture
def folder(pipeline, tmp_path):
    """Tiny checkpoints, pictures, masks and a place for results."""
    for task in ("inpainting", "super-resolution", "colorization"):
        pipe = pipeline(task)
        for module in pipe.restorer.modules():
            if hasattr(module, "noise_strength"):
                torch.nn.init.constant_(module.noise_strength, 0.5)
        pipe.save_pretrained(tmp_path / task)
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for i in range(3):
        picture(seed=i).save(tmp_path / "images" / f"{i}.png")
        hole().save(tmp_path / "masks" / f"{i}.png")
    return tmp_path


def run(folder, command, task, *rest, image="images/0.png", prompt="a face", output="out.png"):
    arguments = [
        command,
        str(folder / image),
        "--prompt",
        prompt,
        "-o",
        str(folder / output),
        "--checkpoint",
        str(folder / task),
    ]
    return main([*arguments, *rest])


def test_the_three_commands_write_their_result(folder, capsys):
    mask = str(folder / "masks" / "0.png")
    assert run(folder, "inpaint", "inpainting", "--mask", mask, output="filled.png") == 0
    assert run(folder, "upscale", "super-resolution", "--scale", "4", output="large.png") == 0
    assert run(folder, "colorize", "colorization", output="color.webp") == 0
    assert open_image(folder / "filled.png").size == (40, 36)
    assert open_image(folder / "large.png").size == (160, 144)
    outside = np.asarray(hole()) < 128
    assert np.array_equal(np.asarray(open_image(folder / "filled.png"))[outside], np.asarray(picture())[outside])
    assert capsys.readouterr().out.splitlines() == [str(folder / n) for n in ("filled.png", "large.png", "color.webp")]


def test_seed_and_reference_reach_the_pipeline(folder):
    other = str(folder / "images" / "1.png")
    results = []
    for i, rest in enumerate(([], ["--beta", "0.5"], ["--beta", "0.5", "--reference", other], ["--seed", "1"])):
        assert run(folder, "upscale", "super-resolution", "--scale", "2", *rest, output=f"{i}.png") == 0
        results.append((folder / f"{i}.png").read_bytes())
    assert len(set(results)) == 4


def test_edits_and_sweeps_write_their_result(folder, capsys):
    mask = str(folder / "masks" / "0.png")
    options = {"region": ["--region", mask], "factor": ["--factor", "4"], "colors": ["--colors"]}
    tasks = {"region": "inpainting", "factor": "super-resolution", "colors": "colorization"}
    for name, rest in options.items():
        assert run(folder, "edit", tasks[name], *rest, "--prompt", "a red flower", output=f"{name}.png") == 0
        assert open_image(folder / f"{name}.png").size == (40, 36)
        assert run(folder, "sweep", tasks[name], *rest, "--beta", "0", "1", output=f"{name}-grid.png") == 0
        assert open_image(folder / f"{name}-grid.png").width > 3 * 160
    assert len(capsys.readouterr().out.splitlines()) == 6
    (folder / "images" / "broken.png").write_text("no picture")
    assert run(folder, "sweep", "colorization", "--colors", image="images", output="grids") == 1
    assert len(list((folder / "grids").iterdir())) == 3 and "broken.png is not a picture" in capsys.readouterr().err


def test_settings_are_in_the_png_unless_they_shall_not(folder):
    assert run(folder, "colorize", "colorization", "--beta", "0.5", output="with.png") == 0
    assert run(folder, "colorize", "colorization", "--no-metadata", output="without.png") == 0
    settings = read_settings(open_image(folder / "with.png"))
    assert settings["prompt"] == ["a face"] and settings["beta"] == 0.5 and settings["model"] == "colorization"
    assert read_settings(open_image(folder / "without.png")) == {}


def test_an_unknown_scale_is_offered_and_never_used(folder, capsys):
    image = Image.fromarray(data.astronaut()[:256, 100:356])
    image.resize((64, 64), Image.BICUBIC).resize((256, 256), Image.BICUBIC).save(folder / "blurred.png")
    assert run(folder, "upscale", "super-resolution", image="blurred.png") == 2
    assert "--scale must be given, 2 to 64. It looks enlarged 4x already" in capsys.readouterr().err
    assert not (folder / "out.png").exists()


def test_folders_are_done_whole_and_bad_files_reported(folder, capsys):
    (folder / "images" / "broken.jpg").write_text("no picture")
    hole(10, 10).save(folder / "masks" / "2.png")
    masks = str(folder / "masks")
    assert run(folder, "inpaint", "inpainting", "--mask", masks, image="images", output="results") == 1
    assert sorted(p.name for p in (folder / "results").iterdir()) == ["0.png", "1.png"]
    out, err = capsys.readouterr()
    assert "2 of 4 pictures restored" in out
    assert "broken.jpg is not a picture" in err and "mask_image must have the image's size" in err
    assert run(folder, "colorize", "colorization", image="masks", output="gray") == 0
    assert len(list((folder / "gray").iterdir())) == 3


@pytest.mark.parametrize(
    ("command", "changes", "rest", "message"),
    [
        ("colorize", {"image": "images/9.png"}, [], "is no file"),
        ("colorize", {"image": "text.png"}, [], "is not a picture"),
        ("colorize", {"prompt": ""}, [], "--prompt must not be empty"),
        ("colorize", {"output": "out.xyz"}, [], "must end in one of"),
        ("colorize", {"output": "no/out.png"}, [], "does not exist"),
        ("colorize", {"output": "images/0.png"}, [], "is the input itself"),
        ("colorize", {"image": "images", "output": "out.png"}, [], "must be another folder"),
        ("colorize", {"image": "empty", "output": "results"}, [], "holds no picture"),
        ("upscale", {}, ["--scale", "1.5"], r"--scale must lie in 2..64, got 1.5"),
        ("upscale", {}, ["--scale", "65"], r"--scale must lie in 2..64, got 65"),
        ("upscale", {}, ["--scale", "4", "--box", "1,2"], '--box must be "face" or'),
        ("upscale", {}, ["--scale", "4", "--max-megapixels", "0.001"], "more than 0.001 million"),
        ("edit", {}, [], "edit needs --region, --factor or --colors"),
        ("edit", {}, ["--factor", "1"], "--factor must lie in 2..64, got 1"),
        ("sweep", {}, [], "sweep needs --region, --factor or --colors"),
        ("inpaint", {}, ["--mask", "small.png"], "mask_image must have the image's size 40x36, got 8x8"),
        ("inpaint", {}, ["--mask", "black.png"], "marks nothing"),
        ("inpaint", {}, ["--mask", "missing.png"], "is no file"),
        ("inpaint", {"image": "images", "output": "results"}, ["--mask", "black.png"], "--mask must be a folder"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_file(folder, monkeypatch, capsys, command, changes, rest, message):
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir()
    (folder / "text.png").write_text("no picture")
    hole(8, 8).save(folder / "small.png")
    Image.new("L", (40, 36)).save(folder / "black.png")
    task = {"upscale": "super-resolution", "inpaint": "inpainting"}.get(command, "colorization")
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert run(folder, command, task, *rest, **changes) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("textir: ") and err.count("\n") == 1
    assert message.replace(r"\.", ".") in err
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("checkpoint", ["textir-mini-nothing", "images"])
def test_unknown_checkpoints_are_one_line(folder, capsys, checkpoint):
    task = str(folder / checkpoint) if checkpoint == "images" else checkpoint
    assert (
        main(
            [
                "colorize",
                str(folder / "images/0.png"),
                "--prompt",
                "a",
                "-o",
                str(folder / "o.png"),
                "--checkpoint",
                task,
            ]
        )
        == 2
    )
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("textir: ") and err.count("\n") == 1 and not (folder / "o.png").exists()


def test_module_and_usage_errors():
    result = subprocess.run([sys.executable, "-m", "textir_hf", "upscale", "x.png"], capture_output=True, text=True)
    assert result.returncode == 2 and "usage: textir upscale" in result.stderr and "Traceback" not in result.stderr
