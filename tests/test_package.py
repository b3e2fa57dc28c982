"""What users rely on: the public names, light imports, the demo."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
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


def test_imports_stay_light():
    """The package loads what it needs when it needs it."""
    heavy = ("torch", "diffusers", "transformers", "scipy", "kornia", "gradio", "datasets", "evaluate", "training")
    code = f"import sys, textir_hf; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def _imports() -> dict[str, set[str]]:
    """For each module of `textir_hf`, those of the package that it imports anywhere; the public names are lazy."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "textir_hf").rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        names = {f"{node.module}.{alias.name}" for node in nodes for alias in node.names}
        found[module] = {name for name in names if name.startswith("textir_hf.")}
    return {
        module: {name if name in found else name.rpartition(".")[0] for name in names} - {module, "textir_hf"}
        for module, names in found.items()
    }


def test_imports_go_the_way_that_the_documentation_says():
    (order,) = re.findall(r"Imports go one way: ([^.]*)\.", (ROOT / "docs" / "architecture.md").read_text())
    packages, imports = re.findall(r"`(\w+)`", order), _imports()
    assert set(packages) >= {path.parent.name for path in (ROOT / "textir_hf").glob("*/__init__.py")}
    list(TopologicalSorter(imports).static_order())  # raises CycleError where modules import each other
    ranks = {f"textir_hf.{name}": rank for rank, name in enumerate(packages)}

    def rank(module: str) -> int:
        return ranks.get(".".join(module.split(".")[:2]), -1)

    wrong = [(module, name) for module, names in imports.items() for name in names if rank(module) < rank(name)]
    assert set(wrong) <= {("textir_hf.__main__", "textir_hf.cli.main")}


def test_demo_writes_one_grid_and_makes_its_folder(tmp_path, capsys):
    assert main(["demo", "--output", str(tmp_path / "new" / "demo")]) == 0
    (path,) = (tmp_path / "new" / "demo").iterdir()
    assert capsys.readouterr().out == f"Grid: {path}\n" and path.suffix == ".png"
    grid = np.asarray(open_image(path))
    assert grid.shape[0] > 1000 and grid.shape[1] > 900 and grid.std() > 30
    (tmp_path / "file").write_text("")
    assert main(["demo", "--output", str(tmp_path / "file")]) == 2
    assert "is a file" in capsys.readouterr().err
