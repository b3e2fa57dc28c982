"""Writes the model cards, docs/results.md and the README's table, from `templates/` and the reports in `results/`.

python -m model_cards.make          # or: make cards
python -m model_cards.make --check  # fails if a page is stale, or a report is of other weights
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from string import Template

from huggingface_hub import EvalResult, ModelCard

from textir_hf.atomic import replacing
from textir_hf.evaluation.measures import OURS
from textir_hf.evaluation.protocols import PRESETS
from textir_hf.evaluation.tables import Table, format_cell, markdown, read_tables, sha256
from textir_hf.hub.cards import CITATION, INVENTED, usage
from textir_hf.models.embedding import CHECKPOINTS, ENCODER
from textir_hf.tasks import TASKS

HERE = Path(__file__).parent
README, RESULTS = HERE.parent / "README.md", HERE.parent / "docs" / "results.md"
REPORTS = HERE / "results"
TASK_OF = {task.checkpoint: task for task in TASKS.values()}
NAMES = (ENCODER, *TASK_OF)
PUBLIC = sorted(path.stem for path in REPORTS.glob("public-*.json"))  # reports on sets that anyone can download
GROUPS = "real faces by group"  # title of the tables that groups.py adds
_HEADLINES = {  # checkpoint: its most telling table, and the preset whose published numbers are nearest to it
    "textir-mini-inpainting": ("irregular masks", "table-1"),
    "textir-mini-super-resolution": ("16x", "table-3"),
    "textir-mini-colorization": ("colors", "table-2"),
}
_QUALITY = ("PSNR (dB)", "SSIM", "LPIPS")
_MORE = ("masked LPIPS", "detail", "seam", "recognized among 24 (%)")
_METRICS = {"PSNR (dB)": "psnr", "SSIM": "ssim", "LPIPS": "lpips", "CLIP score": "clip_score"}
_METRICS |= {"measured (%)": "recall", "labeled true or false": "auc", "balanced accuracy (%)": "accuracy"}
_TERMS = (
    "The checkpoint is part of the `textir-hf` package; nothing is downloaded. The terms of its training images allow "
    "**research use only, no commercial use**. The code is under Apache-2.0."
)


def fill(template: str, **values: str) -> str:
    """A template of `templates/` with its `$names` replaced; each must be given."""
    return Template((HERE / "templates" / f"{template}.md").read_text(encoding="utf-8")).substitute(values).strip()


def tables_of(name: str) -> list[Table]:
    return read_tables(REPORTS / f"{name}.json")


def _report(name: str) -> dict:
    return json.loads((REPORTS / f"{name}.json").read_text())


def peers_of(name: str) -> list[str]:
    """The other programs that were measured beside a checkpoint."""
    return _report(name)["config"].get("against", [])


def make_card(name: str) -> str:
    report, tables = _report(name), tables_of(name)
    versions = ", ".join(f"{package} {version}" for package, version in report["versions"].items())
    source = (
        f"Command: `{report['command']}`, with {versions}. [The report](results/{name}.json) has the values of every "
        'image and the hashes of weights and data. "±" is half of the 95 % bootstrap interval over images.'
    )
    folded = [f"<details><summary>{t.title}</summary>\n\n{markdown(t)}\n\n</details>" for t in tables]
    values = {"source": source, "tables": "\n\n".join(folded)}
    files = sorted((CHECKPOINTS / name).rglob("*.safetensors"))
    size = f"Its files have {sum(file.stat().st_size for file in files) / 1e6:.1f} MB in fp16."
    if task := TASK_OF.get(name):
        side = json.loads((CHECKPOINTS / name / "restorer" / "config.json").read_text())["sample_size"]
        size += f" It was trained at {side}x{side} pixels."
        values |= {"usage": usage(task, name), "measured": fill("measured", **values), "groups": fill("groups")}
    card = ModelCard(fill(name, files=size, invented=INVENTED, terms=_TERMS, **values) + f"\n\n{CITATION}\n")
    card.data.model_name, card.data.eval_results = name, eval_results(tables, card.data.pipeline_tag)
    return str(card)


def eval_results(tables: list[Table], kind: str) -> list[EvalResult]:
    """The checkpoint's own means, under the right prompt, as metadata; `kind` is its pipeline tag on the Hub."""
    return [
        EvalResult(
            task_type=kind,
            dataset_type="textir-mini-test",
            dataset_name=table.title,
            metric_type=_METRICS[column],
            metric_name=f"{method}: {column}",
            metric_value=round(cell.mean, table.digits),
        )
        for table in tables
        for method, cells in table.rows.items()
        for column, cell in zip(table.columns, cells, strict=True)
        if column in _METRICS and cell.mean is not None and "paired" not in table.title
        if method == OURS[0] or not {"LPIPS", "masked LPIPS"} & {*table.columns}
    ]


def results_page() -> str:
    effects, peers, tasks = [], [], []
    for name, task in TASK_OF.items():
        for table in tables_of(name):
            if OURS[0] in table.rows:
                methods = (best_baseline(table, peers_of(name)), OURS[0])
                tasks += [[task.name, table.title, *_row(table, method, (*_QUALITY, *_MORE))] for method in methods]
                against = [peer for peer in peers_of(name) if peer in table.rows]
                peers += [[task.name, table.title, *_row(table, peer, _QUALITY)] for peer in against]
            if table.title.startswith("text effect"):
                columns = ("nearer to its sentence than to the contrary (%)", "shift (100 cosine)")
                effects += [[task.name, *_row(table, contrast, columns)] for contrast in table.rows]
    for name in PUBLIC:
        task = TASK_OF[_report(name)["checkpoint"]].name
        for table in tables_of(name):
            if ours := [row for row in table.rows if row.startswith("ours")]:
                title = f"{name.split('-')[1]}, {table.title}"
                methods = (best_baseline(table, peers_of(name)), *peers_of(name), ours[0])
                peers += [[task, title, *_row(table, method, _QUALITY)] for method in methods]
    by_group = {name: t for name in TASK_OF for t in tables_of(name) if t.title.startswith(GROUPS)}
    columns = ("LPIPS", "man / woman as asked (%)")
    rows = next(iter(by_group.values())).rows if by_group else ()
    groups = [[row, *(cell for t in by_group.values() for cell in _row(t, row, columns)[1:])] for row in rows]
    heads = [f"{TASK_OF[name].name}: {column}" for name in by_group for column in columns]
    head, quality = ("task", "images", "method"), (*_QUALITY, *_MORE)
    cards = ", ".join(f"`model_cards/{name}.md`" for name in NAMES)
    return fill(
        "results",
        cards=cards,
        tasks=_table((*head, *quality), tasks),
        peers=_table((*head, *_QUALITY), peers),
        effects=_table(("task", "contrast", "nearer to its own sentence (%)", "shift (100 cosine)"), effects),
        groups_text=fill("groups"),
        groups=_table(("group (images)", *heads), groups),
    )


def readme_table() -> str:
    """Three rows per task: ours, the best baseline by LPIPS, and the paper's numbers on its own data."""
    rows = []
    for name, (title, preset) in _HEADLINES.items():
        table, task = next(t for t in tables_of(name) if t.title.startswith(title)), TASK_OF[name].name
        baseline = best_baseline(table, peers_of(name))
        for method, label in ((OURS[0], f"`{name}`"), (baseline, baseline)):
            rows.append([task, label, f"{PRESETS[name].title}, {table.title}", *_row(table, method, _QUALITY)[1:]])
        paper = PRESETS[preset].published["TextIR, published"]
        rows.append([task, "paper, full size", PRESETS[preset].title, *(f"{value:.3f}" for value in paper)])
    return _table(("task", "method", "images", *_QUALITY), rows)


def best_baseline(table: Table, peers: Sequence[str] = ()) -> str:
    """The method with the lowest mean LPIPS, ours, peers and published rows aside."""
    column = table.columns.index("LPIPS")
    others = [n for n in table.rows if n not in peers and not n.startswith("ours") and not n.endswith("published")]
    means = [(table.rows[name][column].mean, name) for name in others]
    return min((mean, name) for mean, name in means if mean is not None)[1]


def _row(table: Table, method: str, columns: tuple[str, ...]) -> list[str]:
    """The method's name and its cells; empty where the table has no such column."""
    cells = dict(zip(table.columns, table.rows[method], strict=True))
    return [method, *(format_cell(cells[c], table.digits) if c in cells else "" for c in columns)]


def _table(heads: tuple[str, ...], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *rows))


def replace_marked(page: str, name: str, text: str) -> str:
    """The page with a new text between `<!-- name: ... -->` and `<!-- /name -->`."""
    head, rest = page.split(f"<!-- {name}: ", 1)
    comment, rest = rest.split("-->\n", 1)
    return f"{head}<!-- {name}: {comment}-->\n{text}\n<!-- /{name} -->{rest.split(f'<!-- /{name} -->', 1)[1]}"


def write(files: dict[Path, str], check: bool, command: str) -> None:
    """Writes generated files; or with `check`, exits with an error if one differs, and names the command."""
    stale = [p for p, text in files.items() if not p.is_file() or p.read_text(encoding="utf-8") != text]
    if check and stale:
        sys.exit(f"error: {', '.join(path.name for path in stale)} must be written again. Run: {command}")
    for path in stale:
        with replacing(path) as temporary:
            temporary.write_text(files[path], encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is stale")
    check = parser.parse_args().check
    files = {RESULTS: results_page() + "\n"}
    files[README] = replace_marked(README.read_text(encoding="utf-8"), "results", readme_table())
    for name in NAMES:
        files |= dict.fromkeys((HERE / f"{name}.md", CHECKPOINTS / name / "README.md"), make_card(name))
    write(files, check, "make cards")
    for name in (*NAMES, *PUBLIC) if check else ():
        folder = CHECKPOINTS / _report(name)["checkpoint"]
        weights = [*folder.rglob("*.safetensors"), CHECKPOINTS / ENCODER / "model.safetensors"]
        if _report(name)["weights"] != {f"{p.parent.name}/{p.name}": sha256(p) for p in weights}:
            sys.exit(f"error: the report of {name} is of other weights. Measure again: textir evaluate.")


if __name__ == "__main__":
    main()
