"""The documentation: its examples run, and the names in it exist."""

import json
import re
import shlex
import shutil
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from textir_hf import TextIRPipeline
from textir_hf.cli.main import build_parser
from textir_hf.cli.main import main as textir
from training.train import main as train

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
GUIDES = [README, ROOT / "docs/quickstart.md", *sorted((ROOT / "docs/guides").glob("*.md")), ROOT / "docs/train.md"]
REFERENCE = "\n".join(path.read_text() for path in sorted((ROOT / "docs/reference").glob("*.md")))
_BLOCK = re.compile(r'^```(python|shell)(?: title="([^"]*)")?\n(.*?)^```|^( {4}\S(?:[^\n]*\\\n)*[^\n]*)$', re.M | re.S)
_TINY = (
    "--holdout 2 --sample-size 32 --channels 4 6 8 --style-dim 8 --discriminator-channels 4 8 "
    "--train-batch-size 2 --max-train-steps 2 --checkpointing-steps 2 --dataloader-num-workers 0"
)


def blocks(page: Path) -> list[tuple[str, str]]:
    """The language and text of every block that needs no more than a test has, indented commands among them."""
    found = []
    for language, title, text, line in _BLOCK.findall(page.read_text()):
        assert not title or title.startswith("Needs "), title
        if not title:
            found.append((language or "shell", text or line.strip()))
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """The files that the guides use, small."""
    folder = tmp_path_factory.mktemp("files")
    face = Image.fromarray(data.astronaut()).crop((153, 42, 291, 180))
    mask = Image.new("L", face.size)
    mask.paste(255, (39, 82, 99, 123))
    group = Image.fromarray(data.astronaut()).crop((113, 0, 333, 240)).resize((28, 30), Image.Resampling.BICUBIC)
    row = Image.new("RGB", (56, 30))
    row.paste(group, (0, 0))
    row.paste(group, (28, 0))
    images = {"photo": face, "mask": mask, "group": row, "small": face.resize((16, 16)), "gray": face.convert("L")}
    for name, image in images.items():
        image.save(folder / f"{name}.png")
    (folder / "sentences.txt").write_text("a smiling woman\na serious woman\na woman in an orange suit\n")
    (folder / "photos").mkdir()
    for i in range(4):
        face.rotate(90 * i).save(folder / "photos" / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def loaded():
    """Loads every embedded checkpoint once for all guides."""
    patch, load = pytest.MonkeyPatch(), TextIRPipeline.from_pretrained
    load_embedded = cache(lambda name, dtype: load(name, **({} if dtype is None else {"dtype": dtype})))

    def from_pretrained(name, **kwargs):
        embedded = str(name).startswith("textir-mini") and set(kwargs) <= {"dtype"}
        return load_embedded(name, kwargs.get("dtype")) if embedded else load(name, **kwargs)

    patch.setattr(TextIRPipeline, "from_pretrained", from_pretrained)
    yield
    patch.undo()


def run_command(line: str) -> None:
    """Runs a command of the documentation, training at tiny size; an unknown one fails."""
    words = shlex.split(line)
    if words[:2] == ["pip", "install"]:
        extras = set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.M))
        assert set(re.findall(r"\w+", "".join(re.findall(r"\[(.*?)\]", line)))) <= extras
        assert "-r" not in words or (ROOT / words[words.index("-r") + 1]).is_file()
    elif words[0] == "textir":
        assert textir(words[1:]) == 0, line
    elif words == ["python", "app.py"]:
        assert (ROOT / "app.py").is_file()
    elif words == ["python", "-m", "textir_hf", "demo"]:
        build_parser().parse_args(["demo"])  # tests/test_package.py runs it
    else:
        launcher, _, flags = line.partition(" -m training.train ")
        assert launcher in ("python", "accelerate launch"), line
        assert train(shlex.split(flags) + _TINY.split()) == 0


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run_in_their_order(page, files, loaded, tmp_path, monkeypatch):
    work = tmp_path / "work"
    shutil.copytree(files, work)
    monkeypatch.chdir(work)
    namespace: dict = {"__name__": page.stem}
    for language, text in blocks(page):
        if language == "python":
            exec(compile(text, str(page), "exec"), namespace)
        else:
            for line in text.replace("\\\n", " ").strip().splitlines():
                run_command(line)


@pytest.mark.parametrize(
    "page", [*GUIDES, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.stem
)
def test_commands_and_flags_in_prose_exist(page):
    text = page.read_text()
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M)
    assert set(re.findall(r"(?:`| {4})make ([a-z]+)", text)) <= set(targets)
    for module in re.findall(r"python -m ((?:benchmarks|docs|model_cards|textir_hf|training)\b[.\w]*)", text):
        assert find_spec(module), module
    flags = set(re.findall(r"`[^`\n]*?(--[a-z][a-z0-9-]+)", re.sub(r"```.*?```|`git [^`]*`", "", text, flags=re.S)))
    known = set(re.findall(r"`(--[a-z0-9-]+)`", REFERENCE))
    assert flags - known - {flag.replace("--", "--no-", 1) for flag in known} == set()


NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, loaded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    notebook, namespace = json.loads(path.read_text()), {"__name__": path.stem}
    assert notebook["nbformat"] == 4 and notebook["metadata"]["kernelspec"]["language"] == "python"
    for cell in notebook["cells"]:
        assert cell["cell_type"] in ("markdown", "code") and cell.get("outputs", []) == []
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{path.name} {cell['id']}", "exec"), namespace)
        if "parameters" in cell["metadata"].get("tags", []):
            namespace |= {"SIDE": 64}  # small
    assert len(NOTEBOOKS) == 2 and list(tmp_path.glob("*.png"))
