"""Curves and grids of images, for people to look at."""

from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from textir_hf.atomic import replacing
from textir_hf.evaluation.conditions import OURS
from textir_hf.evaluation.measures import Measures
from textir_hf.evaluation.report import CURVES, Rows
from textir_hf.evaluation.tables import Table
from textir_hf.imaging.files import save_image
from textir_hf.imaging.grid import draw_grid

_CELL = 128


def draw_curves(tables: list[Table], path: Path) -> None:
    """Writes means with their 95 % intervals against beta, s and the factor as PNG, if any table is a curve."""
    curves = [t for t in tables if t.title.split(",")[0] in CURVES]
    if not curves:
        return
    kinds = list(dict.fromkeys(column.split(",")[0] for table in curves for column in table.columns))
    size = (4.2 * len(curves), 2.9 * len(kinds))
    figure, axes = plt.subplots(len(kinds), len(curves), figsize=size, squeeze=False, sharey="row")
    for across, table in enumerate(curves):
        for down, kind in enumerate(kinds):
            _draw_curve(axes[down, across], table, kind)
    figure.tight_layout()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)


def _draw_curve(axis: Axes, table: Table, kind: str) -> None:
    """The columns of one kind against the rows."""
    name, xs = table.title.split(",")[0], [float(row) for row in table.rows]
    for i, column in enumerate(table.columns):
        if column.split(",")[0] != kind:
            continue
        cells = [row[i] for row in table.rows.values()]
        label = column.split(", ")[1].split(" (")[0]
        means = [np.nan if cell.mean is None else cell.mean for cell in cells]
        halves = [cell.half or 0.0 for cell in cells]
        axis.errorbar(xs, means, halves, marker="o", capsize=3, label=label)
    if name == "factor":
        axis.set_xscale("log", base=2)
        axis.set_xticks(xs, [f"{x:g}" for x in xs])
    axis.set_xlabel({"skip_strength": "skip strength s"}.get(name, name))
    axis.set_ylabel(kind)
    axis.grid(alpha=0.3)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=7)


def draw_grids(measures: Measures, grouped: dict[str, Rows], folder: Path) -> None:
    """Writes for each table the best, the median and the worst image by LPIPS under the right prompt, by every method.

    Args:
        measures: What measured them.
        grouped: The values of all images.
        folder: Where the grids are written.
    """
    for table in measures.damage.tables:
        columns = grouped[table][OURS[0]]
        values = columns.get("masked LPIPS", columns["LPIPS"])
        order = np.argsort(values)
        chosen = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
        rows = [_row(measures, table, int(i), f"{name}: LPIPS {values[i]:.3f}") for name, i in chosen.items()]
        save_image(draw_grid(rows, _CELL), folder / f"{table.split(' ')[0]}.png")


def _row(measures: Measures, table: str, index: int, label: str) -> list[tuple[str, Image.Image]]:
    image, sentences = measures.test_set.image(index), measures.conditions.sentences[index]
    damaged = measures.damage.show(image, measures.damage.extent(index, table))
    cells = [(label, damaged)]
    for method, result in measures.restored(index, table).items():
        shown_as = f"right prompt: “{'; '.join(sentences)}”" if method == OURS[0] else method
        cells.append((shown_as, Image.fromarray(result)))
    return [*cells, ("original", Image.fromarray(image))]
