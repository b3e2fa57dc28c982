"""What goes wrong on a command line, or with what it prints, becomes one line and an exit status."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_line import run, words
from conftest import make_mask
from PIL import Image
from test_tasks import Denoising

from textir_hf.cli.errors import explain, status
from textir_hf.cli.main import main
from textir_hf.tasks import TASKS, checkpoint_folder, embedded_checkpoints


@pytest.fixture
def folder(command_folder):
    return command_folder


HEAVY = ("torch", "diffusers", "transformers", "scipy", "skimage.feature", "datasets", "accelerate")


def contents(folder: Path) -> dict:
    return {p: p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


MISTAKES = [
    ("colorize", ["--beta", "nan"], {}, "--beta must be a number, got nan"),
    ("colorize", ["--beta", "inf"], {}, "--beta must be a number, got inf"),
    ("colorize", ["--beta", "1e300"], {}, "--beta must lie in -100..100"),
    ("sweep", ["--colors", "--beta", "0", "101"], {}, "--beta must lie in -100..100, got 101"),
    ("colorize", ["--skip-strength", "0.5", "2"], {}, "--skip-strength must lie in 0..1, got 2"),
    ("colorize", ["--seed", "12345678901234567890"], {}, "--seed must lie in 0..9223372036854775807"),
    ("colorize", ["--batch-size", "0"], {}, "--batch-size must lie in 1.."),
    ("colorize", ["--max-megapixels", "inf"], {}, "--max-megapixels must be a number"),
    ("colorize", ["--max-megapixels", "0"], {}, "--max-megapixels must lie in"),
    ("colorize", ["--dtype", "float8"], {}, "--dtype invalid choice: 'float8'"),
    ("colorize", ["--wrong"], {}, "unrecognized arguments: --wrong. See textir --help"),
    ("nothing", [], {}, "invalid choice: 'nothing'"),
    ("colorize", ["images/1.png", "images/2.png"], {}, "Give the folder"),
    ("colorize", [], {"image": "https://example.com/a.png"}, "Download it first"),
    ("colorize", ["--reference-image", "http://example.com/a.png"], {}, "--reference-image must be a file"),
    ("inpaint", ["--mask-image", "https://example.com/a.png"], {}, "--mask-image must be a file"),
    ("colorize", [], {"image": "images/9.png"}, "images/9.png is no file"),
    ("colorize", [], {"image": "text.png"}, "text.png"),
    ("colorize", [], {"prompt": " "}, "--prompt must not be empty"),
    ("colorize", [], {"prompt": "\udcff"}, "--prompt must be UTF-8 text"),
    ("colorize", [], {"output": "out.xyz"}, "must end in one of"),
    ("colorize", [], {"output": "no/out.png"}, "does not exist"),
    ("colorize", [], {"output": "images.png"}, "exists and is no file"),
    ("colorize", [], {"output": f"{'n' * 300}.png"}, "the name is too long"),
    ("colorize", [], {"image": "clear.png", "output": "out.jpg"}, "would lose the image's transparency"),
    ("colorize", [], {"image": "clear.png", "output": "out.bmp"}, "would lose the image's transparency"),
    (
        "colorize",
        [],
        {"image": "wide.png", "output": "out.webp"},
        "sides of 16383 pixels at most, got 16400x8",
    ),
    ("upscale", ["--scale", "5"], {"image": "wide.png", "output": "out.jpg"}, "sides of 65500 pixels at most"),
    ("upscale", ["--scale", "64"], {"image": "large.png"}, "The result would have 128000x128000 pixels"),
    ("colorize", ["--max-megapixels", "0.001"], {}, "more than 0.001 million"),
    ("colorize", [], {"image": "images", "output": "out.png"}, "the output must be a folder too"),
    ("colorize", [], {"image": "images", "output": "images"}, "is the folder of the inputs"),
    ("colorize", [], {"image": "images", "output": "text.png/more"}, "text.png is a file"),
    ("colorize", [], {"image": "empty", "output": "results"}, "holds no image"),
    ("colorize", [], {"output": "images/0.png"}, "would overwrite the input images/0.png"),
    ("colorize", [], {"output": "link.png"}, "would overwrite the input images/0.png"),
    (
        "colorize",
        ["--reference-image", "images/1.png"],
        {"output": "images/1.png"},
        "would overwrite the input images/1.png",
    ),
    ("inpaint", ["--mask-image", "masks/0.png"], {"output": "masks/0.png"}, "would overwrite the input masks/0.png"),
    ("inpaint", ["--mask-image", "masks"], {"image": "images", "output": "masks"}, "is the folder of the inputs"),
    (
        "edit",
        ["--mask-image", "masks/0.png"],
        {"output": "masks/0.png", "task": "inpainting"},
        "would overwrite the input",
    ),
    ("upscale", ["--scale", "1.5"], {}, "--scale must lie in 2..64, got 1.5"),
    ("upscale", ["--scale", "65"], {}, "--scale must lie in 2..64, got 65"),
    ("upscale", ["--scale", "4", "--tile", "0"], {}, "--tile must"),
    ("upscale", ["--scale", "4", "--box", "1,2"], {}, "--box must be LEFT,TOP,RIGHT,BOTTOM in pixels, got 1,2"),
    ("upscale", ["--scale", "4", "--box", "1,2,9,9", "--faces", "all"], {}, "--box and --faces cannot both be given"),
    ("upscale", ["--scale", "4", "--faces", "0"], {}, "--faces must be all, auto, largest, or numbers"),
    ("upscale", ["--scale", "4", "--face-prompts", "a face"], {}, "--face-prompts needs --faces"),
    ("upscale", ["--scale", "4", "--box", "0,0,99,9"], {}, "box must lie in the image of 40x36 pixels"),
    ("edit", [], {}, "edit needs --mask-image, --factor or --colors"),
    ("edit", ["--factor", "4", "--colors"], {}, "--factor and --colors cannot be given together"),
    ("edit", ["--factor", "1"], {"task": "super-resolution"}, "--factor must lie in 2..64, got 1"),
    ("sweep", [], {}, "sweep needs --mask-image, --factor or --colors"),
    ("sweep", ["--factor", "8", "100"], {"task": "super-resolution"}, "--factor must lie in 2..64, got 100"),
    ("inpaint", [], {}, "the following arguments are required: --mask-image"),
    ("inpaint", ["--mask-image", "small.png"], {}, "mask_image must have the image's size 40x36, got 8x8"),
    ("inpaint", ["--mask-image", "black.png"], {}, "mask_image marks nothing"),
    ("inpaint", ["--mask-image", "missing.png"], {}, "missing.png is no file"),
    ("inpaint", ["--mask-image", "masks"], {}, "is one image, so --mask-image must be one too"),
    ("inpaint", ["--mask-image", "masks/0.png", "--feather", "nan"], {}, "--feather must"),
    ("inpaint", ["--mask-image", "masks/0.png", "--feather", "-1"], {}, "--feather must"),
    ("edit", ["--mask-image", "small.png"], {"task": "inpainting"}, "mask_image must have the image's size"),
    (
        "colorize",
        [],
        {"task": "textir-mini-nothing"},
        "--checkpoint textir-mini-nothing cannot be found: expected one of textir-mini-inpainting",
    ),
    ("colorize", [], {"task": "images"}, "--checkpoint images is no checkpoint: it has no model_index.json"),
    ("colorize", [], {"task": "inpainting"}, "is for inpainting, and this command needs one for colorization"),
]


@pytest.fixture
def awkward(folder):
    """The folder with some awkward files."""
    Path("text.png").write_text("no image")
    Path("images.png").mkdir()
    Path("link.png").symlink_to("images/0.png")
    make_mask(8, 8).save("small.png")
    Image.new("L", (40, 36)).save("black.png")
    Image.new("RGBA", (40, 36)).save("clear.png")
    Image.new("RGB", (16_400, 8)).save("wide.png")
    Image.new("L", (2000, 2000)).save("large.png")
    return folder


@pytest.mark.parametrize(("command", "rest", "options", "message"), MISTAKES)
def test_a_mistake_is_one_line_and_leaves_everything_as_it_was(awkward, capsys, command, rest, options, message):
    before = contents(awkward)
    assert run(command, *rest, **options) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("textir: ") and err.count("\n") == 1
    assert message in err and contents(awkward) == before


def test_mistakes_are_found_before_a_network_is_loaded(awkward):
    lines = [words(command, *rest, **options) for command, rest, options, _ in MISTAKES]
    lines += [["--help"], ["upscale", "--help"], ["convert", "none.pth", "-o", "out"], words("upscale")]
    lines += [["publish", "empty", "--repo", "a/b"], ["publish", "empty", "--repo", "no name"]]
    lines += [["faces", "none.png", "-o", "out.png"], ["export", "nothing", "-o", "out"]]
    lines += [["evaluate", "--preset", "table-1", "--data", "images", "-o", "out"]]
    lines += [["demo", "-o", "text.png"], ["bulk", "--task", "colorization", "--dataset", "images", "-o", "out"]]
    code = f"""
import sys
from textir_hf.cli.main import main
codes = [main(line) for line in eval(sys.argv[1])]
print([module for module in {HEAVY} if module in sys.modules], file=sys.stderr)
sys.exit(codes.count(2) != {len(lines) - 2})
"""
    result = subprocess.run([sys.executable, "-c", code, ascii(lines)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stderr.splitlines()[-1] == "[]"


def test_unfit_checkpoints_are_one_line(folder, capsys):
    shutil.copytree("colorization", "broken")
    Path("broken/restorer/config.json").write_text("{")
    for checkpoint in ("broken", "nowhere/at-all"):
        assert run("colorize", task=checkpoint) == 2
        assert capsys.readouterr().err.count("\n") == 1 and not Path("out.png").exists()
    assert {checkpoint_folder(name).is_dir() for name in embedded_checkpoints()} == {True}


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator")
def test_a_device_that_is_not_there_is_said(folder, capsys):
    assert run("colorize", "--device", "cuda") == 2
    assert "--device cuda is not there: PyTorch finds none" in capsys.readouterr().err


def shell(*arguments, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "textir_hf", *arguments], capture_output=True, **options)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_nobody_has_to_read_the_output(folder, unbuffered):
    Path("out.png").write_bytes(b"")
    command = [sys.executable, "-m", "textir_hf", *words("colorize", "--skip-existing")]
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait() == 141


def test_terminals_that_cannot_print_a_path_get_it_spelled_out(folder):
    Path("é.png").write_bytes(b"")
    arguments = words("colorize", "--skip-existing", output="é.png")
    result = shell(*arguments, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert result.returncode == 0 and result.stdout == b"\\xe9.png\n", result.stderr
    result = shell(*words("colorize", image="none.png")[:-2], b"\xff")
    assert result.returncode == 2 and result.stderr.count(b"\n") == 1 and b"\\udcff" in result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_output_that_cannot_be_printed_is_one_line(folder):
    Path("out.png").write_bytes(b"")
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "textir_hf", *words("colorize", "--skip-existing")]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 2 and result.stderr == "textir: A file cannot be read or written: the disk is full.\n"


def test_every_error_becomes_a_sentence():
    with pytest.raises(RuntimeError) as out_of_memory:
        torch.empty(2**60)
    assert explain(out_of_memory.value) == explain(MemoryError()) and explain(MemoryError()).startswith("Out of memory")
    hidden = RuntimeError("Failed to import a module")
    hidden.__cause__ = OSError(errno.ENOMEM, "Cannot allocate memory")
    assert explain(hidden) == explain(MemoryError()) and status(hidden) == 2
    assert explain(KeyError("x")).startswith("Unexpected KeyError ('x'). Please report it")
    assert explain(OSError("a download\nfailed")) == "a download failed" and explain(KeyboardInterrupt()) == "stopped"
    with pytest.raises(IsADirectoryError) as folder:
        Path("/").read_bytes()
    assert explain(folder.value) == "/ cannot be read or written: it is a folder."


def test_an_error_of_ours_has_a_status_of_its_own(monkeypatch, capsys):
    class Broken(Denoising):
        @property
        def accepts(self):
            return {}["missing"]

    monkeypatch.setitem(TASKS, "denoising", Broken())
    assert main(["denoise", "in.png", "--prompt", "a", "-o", "out.png", "--checkpoint", "a/b"]) == 70
    assert "Unexpected KeyError" in capsys.readouterr().err
