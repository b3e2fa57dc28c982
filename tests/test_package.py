"""What users rely on: the public names, the README's commands, light imports, the demo."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np

import textir_hf
from textir_hf.cli.main import main
from textir_hf.imaging.files import open_image

ROOT = Path(__file__).parent.parent


def test_public_names():
    assert textir_hf.__all__ == [
        "MiniCLIPConfig",
        "MiniCLIPModel",
        "TextIRGenerator",
        "TextIRPipeline",
        "TextRecentering",
        "__version__",
        "estimate_scale",
        "open_image",
        "save_image",
        "sweep",
    ]
    assert all(hasattr(textir_hf, name) for name in textir_hf.__all__)


def test_import_needs_no_training_or_app_packages():
    heavy = ("gradio", "datasets", "evaluate", "torchvision", "training")
    code = f"import sys, textir_hf, textir_hf.cli; print([m for m in {heavy} if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_versions_agree():
    assert f"version: {textir_hf.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_readme_has_its_two_commands_and_its_python_runs(tmp_path, monkeypatch):
    readme = (ROOT / "README.md").read_text()
    assert re.search(r"^    pip install -r requirements.txt && python -m textir_hf demo", readme, re.M)
    assert re.search(r'^    pip install -r requirements.txt -e "\.\[test\]" && pytest', readme, re.M)
    assert "torchvision" not in (ROOT / "requirements.txt").read_text()
    monkeypatch.chdir(tmp_path)
    for code in re.findall(r"```python\n(.*?)```", readme, re.S):
        exec(code, {})
    assert list(tmp_path.glob("*.png"))


def test_demo_writes_one_sheet_and_makes_its_folder(tmp_path, capsys):
    assert main(["demo", "--output", str(tmp_path / "new" / "demo")]) == 0
    (path,) = (tmp_path / "new" / "demo").iterdir()
    assert capsys.readouterr().out == f"Sheet: {path}\n" and path.suffix == ".png"
    sheet = np.asarray(open_image(path))
    assert sheet.shape[0] > 1000 and sheet.shape[1] > 900 and sheet.std() > 30
    (tmp_path / "file").write_text("")
    assert main(["demo", "--output", str(tmp_path / "file")]) == 2
