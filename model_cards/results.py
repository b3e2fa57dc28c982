"""Writes docs/results.md: all tables of the reports in `results/`.

python -m model_cards.results          # or: make results
python -m model_cards.results --check  # fails if the page differs from what would be written
"""

import argparse
from pathlib import Path

from model_cards.facts import FACTS
from model_cards.make import REPORTS, provenance, write
from textir_hf.evaluation.protocols import PRESETS
from textir_hf.evaluation.tables import Table, format_cell, markdown, read_tables

PAGE = Path(__file__).parent.parent / "docs" / "results.md"
HEADLINES = {  # checkpoint: the table that stands for it, and the preset whose published figures it is near to
    "textir-mini-inpainting": ("irregular masks", "table-1"),
    "textir-mini-super-resolution": ("16x", "table-3"),
    "textir-mini-colorization": ("colors", "table-2"),
}
RIGHT_PROMPT = "ours, right prompt"
_OWN_METHOD = "TextIR, published"
_COLUMNS = ("PSNR (dB)", "SSIM", "LPIPS")
_INTRODUCTION = """<!-- Written by `make results` from model_cards/results. Do not edit. -->

# Results

All figures of the embedded checkpoints, on test images that no training has seen.

- PSNR, SSIM and LPIPS compare with the original; "masked" counts the repainted pixels alone.
- "detail" is the energy of fine structure relative to the original's: 1 is as much, 0 is none.
- "seam" is the step across the mask's border relative to the original's at the same place: 1 is no seam.
- "recognized" says how often the original that is nearest to the result is its own.
- The Fréchet distance has the dual encoder's features; it is no FID.
"""


def results_page() -> str:
    """The text of docs/results.md."""
    parts = [_INTRODUCTION.strip(), f"## In short\n\n{readme_table()}"]
    for name, facts in FACTS.items():
        tables = read_tables(REPORTS / f"{name}.json")
        source = provenance(name, f"`model_cards/results/{name}.json`")
        parts += [f"## {name}", facts.protocol, source, *(markdown(table) for table in tables)]
    return "\n\n".join(parts) + "\n"


def figures() -> set[str]:
    """All cells of all reports, as the tables show them."""
    tables = [table for name in FACTS for table in read_tables(REPORTS / f"{name}.json")]
    return {format_cell(cell, t.digits) for t in tables for cells in t.rows.values() for cell in cells}


def readme_table() -> str:
    """Three rows a task: ours, the best baseline by LPIPS, and the paper's figure on data of its own."""
    lines = [f"| task | method | images | {' | '.join(_COLUMNS)} |", f"|{'---|' * (3 + len(_COLUMNS))}"]
    for name, (title, preset) in HEADLINES.items():
        table = next(t for t in read_tables(REPORTS / f"{name}.json") if t.title.startswith(title))
        task, published = PRESETS[name].task, PRESETS[preset]
        baseline = best_baseline(table)
        for method, label in ((RIGHT_PROMPT, f"`{name}`"), (baseline, baseline)):
            cells = dict(zip(table.columns, table.rows[method], strict=True))
            figures = [format_cell(cells[column], table.digits) for column in _COLUMNS]
            lines.append(f"| {task} | {label} | {PRESETS[name].title}, {table.title} | {' | '.join(figures)} |")
        figures = [f"{value:.3f}" for value in published.published[_OWN_METHOD]]
        lines.append(f"| {task} | paper, full size | {published.title} | {' | '.join(figures)} |")
    return "\n".join(lines)


def best_baseline(table: Table) -> str:
    """The method besides ours with the lowest mean LPIPS."""
    column = table.columns.index("LPIPS")
    means = [(cells[column].mean, name) for name, cells in table.rows.items() if not name.startswith("ours")]
    return min((mean, name) for mean, name in means if mean is not None)[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page differs")
    args = parser.parse_args()
    PAGE.parent.mkdir(exist_ok=True)
    write({PAGE: results_page()}, args.check, "make results")


if __name__ == "__main__":
    main()
