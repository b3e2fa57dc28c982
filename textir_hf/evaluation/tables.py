"""Tables of results: as Markdown, and as JSON with every single value."""

import hashlib
import json
import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
from scipy.stats import bootstrap

from textir_hf.atomic import replacing

_PACKAGES = ("torch", "diffusers", "transformers", "kornia", "numpy", "scikit-image")


@dataclass
class Cell:
    mean: float | None = None  # None where it was not measured
    half: float | None = None  # half the width of the mean's 95 % bootstrap interval
    values: list[float] = field(default_factory=list)  # of the single images, if they are known


@dataclass
class Table:
    title: str
    columns: list[str]
    rows: dict[str, list[Cell]]  # cells of each method, in the columns' order
    digits: int = 3  # of the means, after the point


def cell(values: list[float]) -> Cell:
    """Mean and 95 % bootstrap interval over images, 2,000 draws of a fixed seed; without values, an empty cell."""
    if not values:
        return Cell()
    result = Cell(float(np.mean(values)), None, [round(float(value), 5) for value in values])
    if len(values) > 1:
        drawn = bootstrap((values,), np.mean, n_resamples=2000, batch=200, method="percentile", rng=0)
        result.half = float(np.diff(drawn.confidence_interval)[0]) / 2
    return result


def markdown(table: Table) -> str:
    lines = [f"| {table.title} | {' | '.join(table.columns)} |", f"|{'---|' * (len(table.columns) + 1)}"]
    for name, cells in table.rows.items():
        lines.append(f"| {name} | {' | '.join(format_cell(c, table.digits) for c in cells)} |")
    return "\n".join(lines)


def format_cell(cell: Cell, digits: int) -> str:
    """Mean and half interval; empty where it was not measured."""
    if cell.mean is None:
        return ""
    return f"{cell.mean:.{digits}f}" + ("" if cell.half is None else f" ± {cell.half:.{digits}f}")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def package_versions() -> dict[str, str]:
    return {p: version(p) for p in _PACKAGES} | {"python": platform.python_version()}


def write_report(
    path: Path, name: str, tables: list, weights: list[Path], data: list[Path], command: str, config: dict | None = None
) -> None:
    """Writes everything needed to check the results of a checkpoint as JSON: hashes, versions, command, tables."""
    report = {"checkpoint": name, "command": command, "config": config or {}, "versions": package_versions()}
    report["weights"] = {f"{p.parent.name}/{p.name}": sha256(p) for p in weights}
    report["data"] = {p.name: sha256(p) for p in data}
    report["tables"] = [asdict(t) for t in tables]
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n")


def read_tables(path: Path) -> list[Table]:
    tables = json.loads(path.read_text())["tables"]
    return [Table(**t | {"rows": {n: [Cell(**c) for c in cs] for n, cs in t["rows"].items()}}) for t in tables]
