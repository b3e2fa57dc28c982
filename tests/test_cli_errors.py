"""What goes wrong on a command line, or with what it prints, becomes one line and an exit status."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_line import run
from PIL import Image

from textir_hf.cli.errors import explain
from textir_hf.cli.main import main

EARLY = [  # found before a checkpoint is loaded: command, more words, options of `words`, what the line must say
    ("colorize", ["--beta", "nan"], {}, "--beta"),
    ("colorize", ["--wrong"], {}, "--wrong. See textir --help"),
    ("colorize", [], {"image": "images/9.png"}, "images/9.png is not a file"),
    ("colorize", [], {"output": "out.xyz"}, "must end in one of"),
    ("colorize", [], {"output": f"{'n' * 300}.png"}, "too long"),
    ("colorize", [], {"image": "clear.png", "output": "out.jpg"}, "transparency"),
    ("colorize", ["--max-megapixels", "0.001"], {}, "0.001 million"),
    ("colorize", [], {"image": "images", "output": "images"}, "is the folder of the inputs"),
    ("colorize", [], {"image": "images", "output": "text.png/more"}, "text.png is a file"),
    ("colorize", [], {"image": "empty", "output": "results"}, "no image"),
    ("colorize", [], {"output": "hard.png"}, "would overwrite the input images/0.png"),
    ("colorize", ["--reference-image", "images/1.png"], {"output": "images/1.png"}, "would overwrite"),
    ("edit", [], {}, "edit needs one of mask_image, factor, colors"),
    ("inpaint", [], {}, "--mask-image"),
]
LATE = [  # found by the pipeline, or by loading it
    ("upscale", [], {}, "arguments are required: --scale"),
    ("upscale", ["--scale", "4", "--box", "0,0,99,9"], {}, "box"),
    ("colorize", [], {"task": "broken"}, "broken cannot be loaded"),
    ("colorize", [], {"task": "inpainting"}, "needs one for colorization"),
]


@pytest.fixture
def awkward(command_folder):
    """The folder with some awkward files."""
    Path("text.png").write_text("no image")
    Path("hard.png").hardlink_to("images/0.png")
    Image.new("RGBA", (40, 36)).save("clear.png")
    shutil.copytree("colorization", "broken")
    Path("broken/restorer/config.json").write_text("{")
    return command_folder


def contents(folder: Path) -> dict:
    return {p: p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


@pytest.mark.parametrize(
    ("command", "rest", "options", "message"),
    [(command, rest, {"task": "a/b"} | options, message) for command, rest, options, message in EARLY] + LATE,
)
def test_a_mistake_is_one_line_and_leaves_everything_as_it_was(awkward, capsys, command, rest, options, message):
    before = contents(awkward)
    assert run(command, *rest, **options) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("textir: ") and err.count("\n") == 1
    assert message in err and contents(awkward) == before


def test_nobody_has_to_read_the_output():
    code = "import sys; from textir_hf.cli.errors import run_safely; sys.exit(run_safely(lambda: print('out.png')))"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait() == 141


def test_terminals_that_cannot_print_a_path_get_it_spelled_out():
    code = "from textir_hf.cli.errors import run_safely; run_safely(lambda: print('é.png'))"
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii"}
    result = subprocess.run([sys.executable, "-c", code], env=ascii_only, capture_output=True)
    assert result.stdout == b"\\xe9.png\n" and not result.stderr


def test_every_error_becomes_a_sentence():
    with pytest.raises(RuntimeError) as out_of_memory:
        torch.empty(2**60)
    assert explain(out_of_memory.value) == explain(MemoryError()) and explain(MemoryError()).startswith("Out of memory")
    assert explain(KeyError("x")).startswith("Unexpected KeyError ('x'). Please report it")
    assert explain(OSError("a download\nfailed")) == "a download failed" and explain(KeyboardInterrupt()) == "stopped"
    with pytest.raises(IsADirectoryError) as folder:
        Path("/").read_bytes()
    assert explain(folder.value) == "/ cannot be read or written: is a directory."


def test_a_bug_has_a_status_of_its_own(monkeypatch, capsys):
    monkeypatch.setattr("textir_hf.cli.restore.find_jobs", lambda *_: {}["missing"])
    assert main(["colorize", "in.png", "--prompt", "a", "-o", "out.png"]) == 70
    assert "Unexpected KeyError" in capsys.readouterr().err
