"""Grids of images, for people to look at."""

from pathlib import Path

import numpy as np
from PIL import Image

from textir_hf.evaluation.conditions import OURS
from textir_hf.evaluation.measures import Measures
from textir_hf.evaluation.report import Rows
from textir_hf.imaging.files import save_image
from textir_hf.imaging.grid import draw_grid

_CELL = 128


def draw_grids(measures: Measures, grouped: dict[str, Rows], folder: Path) -> None:
    """Writes for each table the best, median and worst image by LPIPS under the right prompt, by every method."""
    for table in measures.damage.tables:
        columns = grouped[table][OURS[0]]
        values = columns.get("masked LPIPS", columns["LPIPS"])
        order = np.argsort(values)
        chosen = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
        rows = [_row(measures, table, int(i), f"{name}: LPIPS {values[i]:.3f}") for name, i in chosen.items()]
        save_image(draw_grid(rows, _CELL), folder / f"{table.split(' ')[0]}.png")


def _row(measures: Measures, table: str, index: int, label: str) -> list[tuple[str, Image.Image]]:
    image, sentences = measures.test_set.image(index), measures.conditions.sentences[index]
    damaged = Image.fromarray(measures.damage.damaged(image, measures.damage.extent(index, table)))
    cells = [(label, damaged.resize(image.shape[1::-1], Image.Resampling.NEAREST))]
    for method, result in measures.restored(index, table).items():
        shown_as = f"right prompt: “{'; '.join(sentences)}”" if method == OURS[0] else method
        cells.append((shown_as, Image.fromarray(result)))
    return [*cells, ("original", Image.fromarray(image))]
