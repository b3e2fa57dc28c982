import errno
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_image, make_mask, tiny_generator
from PIL import Image
from processes import Forked, wait_until
from skimage import data
from test_tasks import Denoising

from textir_hf import TextIRPipeline, TextRecentering
from textir_hf.cli.arguments import with_flags
from textir_hf.cli.errors import explain, status
from textir_hf.cli.main import build_parser, main
from textir_hf.hub.paths import checkpoint_folder
from textir_hf.imaging.files import open_image, read_settings
from textir_hf.tasks import TASKS, embedded_checkpoints

HEAVY = ("torch", "diffusers", "transformers", "scipy", "skimage.feature", "datasets", "accelerate")


@pytest.fixture(scope="module")
def checkpoints(encoder, tmp_path_factory):
    """A tiny checkpoint for each task, whose noise can be seen."""
    place = tmp_path_factory.mktemp("checkpoints")
    for task in TASKS:
        restorer = tiny_generator(task)
        for module in restorer.modules():
            if hasattr(module, "noise_strength"):
                torch.nn.init.constant_(module.noise_strength, 0.5)
        TextIRPipeline(restorer, *encoder, TextRecentering(32)).save_pretrained(place / task)
    return place


@pytest.fixture
def folder(checkpoints, tmp_path, monkeypatch):
    """Checkpoints, images, masks and a place for results; the current folder."""
    for task in TASKS:
        (tmp_path / task).symlink_to(checkpoints / task)
    for name in ("images", "masks", "empty"):
        (tmp_path / name).mkdir()
    for i in range(3):
        make_image(seed=i).save(tmp_path / "images" / f"{i}.png")
        make_mask().save(tmp_path / "masks" / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


COMMANDS = {task.command: name for name, task in TASKS.items()}


def words(command, *rest, image="images/0.png", prompt="a face", output="out.png", task=None):
    checkpoint = ["--checkpoint", task or COMMANDS.get(command, "colorization")]
    return [command, str(image), "--prompt", prompt, "-o", str(output), *checkpoint, *map(str, rest)]


def run(*arguments, **options) -> int:
    return main(words(*arguments, **options))


def pixels(path) -> np.ndarray:
    return np.asarray(open_image(path))


def contents(folder: Path) -> dict:
    return {p: p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def test_each_task_has_a_command_that_writes_its_result(folder, capsys):
    assert run("inpaint", "--mask", "masks/0.png", output="filled.png") == 0
    assert run("upscale", "--scale", 4, output="large.png") == 0
    assert run("colorize", output="color.webp") == 0
    assert open_image("large.png").size == (160, 144) and open_image("color.webp").size == (40, 36)
    outside = np.asarray(make_mask()) < 128
    assert np.array_equal(pixels("filled.png")[outside], np.asarray(make_image())[outside])
    assert capsys.readouterr().out.split() == ["filled.png", "large.png", "color.webp"]


def test_a_fourth_task_has_a_command_by_its_module_alone(folder, pipeline, monkeypatch, capsys):
    monkeypatch.setitem(TASKS, "denoising", Denoising())
    pipeline("denoising").save_pretrained(folder / "denoising")
    assert run("denoise", task="denoising") == 0 and open_image("out.png").size == (40, 36)
    assert run("denoise", task="inpainting") == 2
    assert "inpainting is for inpainting, and this command needs one for denoising" in capsys.readouterr().err
    assert main(["denoise", "images/0.png", "--prompt", "a face", "-o", "a.png"]) == 2
    assert "--checkpoint must be given: none for denoising comes with the package" in capsys.readouterr().err
    assert run("denoise", "--scale", 4, task="denoising") == 2
    assert "unrecognized arguments: --scale 4" in capsys.readouterr().err


def test_options_reach_the_pipeline(folder):
    other = ["--reference", "images/1.png"]
    options = (
        [],
        ["--beta", 0.5],
        ["--beta", 0.5, *other],
        ["--seed", 1],
        ["--strength", 0.5],
        ["--dtype", "bfloat16"],
    )
    for i, rest in enumerate(options):
        assert run("upscale", "--scale", 2, "--device", "cpu", *rest, output=f"{i}.png") == 0
    assert len({pixels(f"{i}.png").tobytes() for i in range(len(options))}) == len(options)


def test_edits_and_sweeps_write_their_result(folder, capsys):
    options = {"region": ["--region", "masks/0.png"], "factor": ["--factor", 4], "colors": ["--colors"]}
    for task in TASKS.values():
        rest = options[task.degradation]
        assert run("edit", *rest, task=task.name, output="edit.png") == 0
        assert open_image("edit.png").size == (40, 36)
        assert run("sweep", *rest, "--beta", 0, 1, task=task.name, output="grid.png") == 0
        assert open_image("grid.png").width > 3 * 160
    assert capsys.readouterr().out.split() == ["edit.png", "grid.png"] * 3
    Path("images/broken.png").write_text("no image")
    assert run("sweep", "--colors", image="images", output="grids") == 1
    assert len(list(Path("grids").iterdir())) == 3 and "images/broken.png" in capsys.readouterr().err


def test_metadata_is_carried_over_unless_it_shall_not(folder):
    exif = Image.Exif()
    exif[306], exif[274] = "2024:01:01 10:00:00", 6  # date, orientation
    make_image(36, 40).save("photo.jpg", exif=exif, dpi=(300, 300))
    for output in ("with.png", "with.jpg", "without.png", "without.jpg"):
        rest = ["--no-metadata"] if "without" in output else []
        assert run("colorize", "--beta", 0.5, *rest, image="photo.jpg", output=output) == 0
        with Image.open(output) as image:
            assert image.size == (40, 36)
            kept = image.getexif().get(306), image.getexif().get(274), round(image.info.get("dpi", (0,))[0])
            assert kept == (("2024:01:01 10:00:00", 1, 300) if not rest else (None, None, 0))
    settings = read_settings(open_image("with.png"))
    assert settings["prompt"] == "a face" and settings["beta"] == 0.5 and settings["model"] == "colorization"
    assert read_settings(open_image("without.png")) == {}


def test_an_unknown_scale_is_offered_and_never_used(folder, capsys):
    image = Image.fromarray(data.astronaut()[:256, 100:356])
    image.resize((64, 64), Image.BICUBIC).resize((256, 256), Image.BICUBIC).save("blurred.png")
    assert run("upscale", image="blurred.png") == 2
    assert "--scale must be given: how many times larger, 2 to 64. It looks upscaled 4x" in capsys.readouterr().err
    Image.effect_noise((64, 64), 50).save("sharp.png")
    assert run("upscale", image="sharp.png") == run("upscale", image="images", output="new") == 2
    assert "looks" not in capsys.readouterr().err and not list(folder.glob("out*"))


def test_whatever_happens_to_one_image_of_a_folder_the_others_are_done(folder, capsys):
    Path("images/broken.jpg").write_text("no image")
    Path("images/notes.txt").write_text("no image, and not named like one")
    make_mask(10, 10).save("masks/2.png")
    assert run("inpaint", "--mask", "masks", image="images", output="new/results") == 1
    assert sorted(p.name for p in Path("new/results").iterdir()) == ["0.png", "1.png"]
    out, err = capsys.readouterr()
    assert out == "2 of 4 images restored to new/results\n"
    assert len(err.splitlines()) == 2 and "images/2.png: --mask must have the image's size 40x36, got 10x10" in err
    assert all(line.count("images/") == 1 and line.startswith("textir: ") for line in err.splitlines())


def test_folders_are_walked_through(folder, capsys):
    deep = Path("images/more/deep")
    deep.mkdir(parents=True)
    (folder / "images" / ".hidden").mkdir()
    for place in (deep / "a.jp2", deep / "b.avif", "images/0.jpg", "images/._0.jpg", "images/.hidden/c.png"):
        make_image(seed=9).save(place)
    assert run("inpaint", "--mask", "masks/0.png", image="images", output="flat") == 0
    names = ["0.jpg.png", "0.png.png", "1.png", "2.png"]
    assert sorted(p.name for p in Path("flat").iterdir()) == names
    for _ in range(2):  # the second time, results lie among the images
        assert run("inpaint", "--mask", "masks/0.png", "--recursive", image="images", output="images/results") == 0
    found = sorted(str(p.relative_to("images/results")) for p in Path("images/results").rglob("*.*"))
    assert found == [*names, "more/deep/a.png", "more/deep/b.png"]
    assert capsys.readouterr().out.endswith("6 of 6 images restored to images/results\n" * 2)
    masks = Path("masks/more/deep")
    masks.mkdir(parents=True)
    make_mask().save(masks / "a.png")
    assert run("inpaint", "--mask", "masks", "--recursive", image="images/more", output="new") == 1
    assert run("colorize", image="images/more", output="new") == 2
    assert "holds no image" in (err := capsys.readouterr().err) and "Its subfolders do: give --recursive" in err


def test_images_of_a_folder_share_runs_of_the_network(folder):
    for size in (1, 2):
        assert run("colorize", "--batch-size", size, "--seed", 3, image="images", output=f"by{size}") == 0
    make_image(44, 36).save("images/1.png")
    Path("images/2.png").write_bytes(b"broken")
    assert run("colorize", "--batch-size", 3, "--seed", 3, image="images", output="by3") == 1
    for i in range(3):
        single = pixels(f"by1/{i}.png").astype(int)
        assert abs(single - pixels(f"by2/{i}.png")).max() <= 1
    assert abs(pixels("by1/0.png").astype(int) - pixels("by3/0.png")).max() <= 1


def test_results_that_are_there_can_be_left(folder, capsys):
    Path("results").mkdir()
    for output in ("results/1.png", "one.png"):
        Path(output).write_bytes(b"mine")
    assert run("colorize", "--skip-existing", image="images", output="results") == 0
    assert capsys.readouterr().out == "3 of 3 images restored to results, 1 of them before\n"
    assert run("colorize", "--skip-existing", output="one.png", task="nowhere/at-all") == 0
    assert Path("results/1.png").read_bytes() == Path("one.png").read_bytes() == b"mine"


MISTAKES = [
    ("colorize", ["--beta", "nan"], {}, "--beta must be a finite number, got nan"),
    ("colorize", ["--beta", "inf"], {}, "--beta must be a finite number, got inf"),
    ("colorize", ["--beta", "1e300"], {}, "--beta must lie in -100..100"),
    ("sweep", ["--colors", "--beta", "0", "101"], {}, "--beta must lie in -100..100, got 101"),
    ("colorize", ["--strength", "0.5", "2"], {}, "--strength must lie in 0..1, got 2"),
    ("colorize", ["--seed", "12345678901234567890"], {}, "--seed must be a whole number from 0 to 9223372036854775807"),
    ("colorize", ["--batch-size", "0"], {}, "--batch-size must be a whole number from 1"),
    ("colorize", ["--max-megapixels", "inf"], {}, "--max-megapixels must be a finite number"),
    ("colorize", ["--max-megapixels", "0"], {}, "--max-megapixels must lie in"),
    ("colorize", ["--dtype", "float8"], {}, "--dtype invalid choice: 'float8'"),
    ("colorize", ["--wrong"], {}, "unrecognized arguments: --wrong. See textir --help"),
    ("nothing", [], {}, "invalid choice: 'nothing'"),
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
    ("colorize", ["--reference", "images/1.png"], {"output": "images/1.png"}, "would overwrite the input images/1.png"),
    ("inpaint", ["--mask", "masks/0.png"], {"output": "masks/0.png"}, "would overwrite the input masks/0.png"),
    ("inpaint", ["--mask", "masks"], {"image": "images", "output": "masks"}, "is the folder of the inputs"),
    ("edit", ["--region", "masks/0.png"], {"output": "masks/0.png", "task": "inpainting"}, "would overwrite the input"),
    ("upscale", ["--scale", "1.5"], {}, "--scale must lie in 2..64, got 1.5"),
    ("upscale", ["--scale", "65"], {}, "--scale must lie in 2..64, got 65"),
    ("upscale", ["--scale", "4", "--tile", "0"], {}, "--tile must be a whole number"),
    ("upscale", ["--scale", "4", "--box", "1,2"], {}, "--box must be LEFT,TOP,RIGHT,BOTTOM in pixels, got 1,2"),
    ("upscale", ["--scale", "4", "--box", "1,2,9,9", "--faces", "all"], {}, "--box and --faces cannot both be given"),
    ("upscale", ["--scale", "4", "--faces", "0"], {}, "--faces must be all, auto, largest, or numbers"),
    ("upscale", ["--scale", "4", "--face-prompt", "a face"], {}, "--face-prompt needs --faces"),
    ("upscale", ["--scale", "4", "--box", "0,0,99,9"], {}, "--box must lie in the image of 40x36 pixels"),
    ("edit", [], {}, "edit needs --region, --factor or --colors"),
    ("edit", ["--factor", "4", "--colors"], {}, "--factor and --colors cannot be given together"),
    ("edit", ["--factor", "1"], {"task": "super-resolution"}, "--factor must lie in 2..64, got 1"),
    ("sweep", [], {}, "sweep needs --region, --factor or --colors"),
    ("sweep", ["--factor", "8", "100"], {"task": "super-resolution"}, "--factor must lie in 2..64, got 100"),
    ("inpaint", [], {}, "the following arguments are required: --mask"),
    ("inpaint", ["--mask", "small.png"], {}, "--mask must have the image's size 40x36, got 8x8"),
    ("inpaint", ["--mask", "black.png"], {}, "--mask marks nothing"),
    ("inpaint", ["--mask", "missing.png"], {}, "missing.png is no file"),
    ("inpaint", ["--mask", "masks"], {}, "is one image, so --mask and --region must be one too"),
    ("inpaint", ["--mask", "masks/0.png", "--feather", "nan"], {}, "--feather must be a finite number"),
    ("inpaint", ["--mask", "masks/0.png", "--feather", "-1"], {}, "--feather must be at least 0"),
    ("edit", ["--region", "small.png"], {"task": "inpainting"}, "--region must have the image's size"),
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
    assert out == "" and err.startswith("textir: ") and err.count("\n") == 1 and "mask_image" not in err
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


def test_faces_have_flags(folder, capsys):
    assert run("upscale", "--scale", 2, "--faces", "largest", image="images", output="out") == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 3 and all(f"textir: images/{i}.png: " in err for i in range(3))
    assert run("upscale", "--scale", 2, "--faces", "auto", output="auto.png", task="textir-mini-super-resolution") == 0
    settings = read_settings(open_image("auto.png"))
    assert settings["faces"] == "auto" and settings["faces_found"] == 0
    args = build_parser().parse_args(words("upscale", "--faces", "1,3", "--face-prompt", "a man"))
    assert args.faces == [1, 3] and args.face_prompts == ["a man"]


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


def test_a_stopped_folder_says_how_far_it_came_and_goes_on(folder):
    make_image(300, 200).save("images/3.png")
    for i in range(4, 25):
        shutil.copy("images/3.png", f"images/{i}.png")
    command = words("colorize", image="images", output="results")
    process = Forked(main, command)
    wait_until(lambda: list(Path("results").glob("*.png")), process)
    os.kill(process.pid, signal.SIGINT)
    code, err, done = process.wait(), process.err(), sorted(Path("results").iterdir())
    assert code == 130 and 0 < len(done) < 25
    line = re.fullmatch(r"textir: stopped, (\d+) of 25 done. Go on with --skip-existing.\n", err.split("\r")[-1])
    assert line and len(done) - 1 <= int(line[1]) <= len(done), err  # it may be stopped before it counts what it wrote
    assert all(p.suffix == ".png" for p in done) and [pixels(p).shape for p in done]
    assert main([*command, "--skip-existing"]) == 0 and len(list(Path("results").iterdir())) == 25


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
        def check_call(self, **arguments):
            return {}["missing"]

    monkeypatch.setitem(TASKS, "denoising", Broken())
    assert main(["denoise", "in.png", "--prompt", "a", "-o", "out.png", "--checkpoint", "a/b"]) == 70
    assert "Unexpected KeyError" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("mask_image must have the image's size", "--mask must have the image's size"),
        ("scale must lie in 2..64, got 1.", "--scale must lie in 2..64, got 1."),
        ("The image is too large: raise max_pixels.", "The image is too large: raise --max-megapixels."),
        ("A scale, and a region of the image.", "A scale, and a region of the image."),
        ("It is x: edit with region, got factor, colors.", "It is x: edit with --region, got --factor, --colors."),
    ],
)
def test_errors_speak_of_flags(message, expected):
    assert with_flags(message) == expected


def test_every_argument_of_a_task_has_a_flag():
    for task in TASKS.values():
        help_text = shell(task.command, "--help").stdout.decode()
        assert all(f"--{a.removesuffix('_image')}" in help_text for a in (*task.requires, *task.accepts))
