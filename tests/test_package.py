"""What users rely on: the public names, light imports, the demo."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

import textir_hf
from textir_hf.cli.main import main
from textir_hf.imaging.files import open_image

ROOT = Path(__file__).parent.parent


def test_imports_stay_light():
    """The package loads what it needs when it needs it."""
    heavy = ("torch", "diffusers", "transformers", "scipy", "kornia", "gradio", "datasets", "evaluate", "training")
    code = f"import sys, textir_hf.imaging.files; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
    assert all(hasattr(textir_hf, name) for name in textir_hf.__all__)


def test_imports_go_the_way_that_the_documentation_says():
    (order,) = re.findall(r"Imports go one way: ([^.]*)\.", (ROOT / "docs" / "architecture.md").read_text())
    ranks, package = {name: rank for rank, name in enumerate(re.findall(r"`(\w+)`", order))}, ROOT / "textir_hf"
    assert set(ranks) >= {path.parent.name for path in package.glob("*/__init__.py")}
    for path in set(package.rglob("*.py")) - {package / "__main__.py"}:
        own = ranks.get(path.relative_to(package).parts[0], -1)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("textir_hf."):
                assert ranks.get(node.module.split(".")[1], -1) <= own, (path, node.module)


def test_demo_writes_one_grid_and_makes_its_folder(tmp_path, capsys):
    assert main(["demo", "--output", str(tmp_path / "new" / "demo")]) == 0
    (path,) = (tmp_path / "new" / "demo").iterdir()
    assert capsys.readouterr().out == f"Grid: {path}\n" and path.suffix == ".png"
    grid = np.asarray(open_image(path))
    assert grid.shape[0] > 1000 and grid.shape[1] > 900 and grid.std() > 30
