"""Writes the model cards of the embedded checkpoints from `facts.py` and the reports in `results/`.

Each card lies here and, ready to be published, in its checkpoint's folder. Its links are relative to either.

python -m model_cards.make          # or: make cards
python -m model_cards.make --check  # fails if a card differs from what would be written
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from model_cards.facts import FACTS, Facts
from textir_hf.atomic import replacing
from textir_hf.evaluation.tables import Table, markdown, read_tables
from textir_hf.hub.cards import INVENTED, card_data, render_card, usage
from textir_hf.models.embedding import CHECKPOINTS
from textir_hf.tasks import get_task

HERE = Path(__file__).parent
REPORTS = HERE / "results"
CURVES = ("beta", "skip_strength", "factor")
_BY_SHARE = "by the mask's share"
_METRICS = {
    "PSNR (dB)": "psnr",
    "SSIM": "ssim",
    "LPIPS": "lpips",
    "masked PSNR (dB)": "psnr",
    "masked SSIM": "ssim",
    "masked LPIPS": "lpips",
    "detail": "detail",
    "seam": "seam",
    "CLIP score": "clip_score",
    "measured (%)": "recall",
    "balanced accuracy (%)": "accuracy",
    "nearer to its sentence than to the contrary (%)": "text_effect",
    "nearer than the contrary's result (%)": "text_effect",
}


def card_tables(tables: list[Table]) -> list[Table]:
    """The tables that a card has: curves are drawn, and the report has the figures by the mask's share."""
    return [t for t in tables if t.title.split(",")[0] not in CURVES and _BY_SHARE not in t.title]


def eval_results(tables: list[Table], kind: str) -> list[EvalResult]:
    """The checkpoint's own figures as metadata.

    Args:
        tables: Of its report.
        kind: Its pipeline tag on the Hub.
    """
    results = []
    for table in card_tables(tables):
        for method, cells in table.rows.items():
            if "LPIPS" in table.columns and not method.startswith("ours"):
                continue
            for column, cell in zip(table.columns, cells, strict=True):
                metric = _METRICS.get(column, "auc" if "AUC" in table.title else None)
                if metric is None or cell.mean is None:
                    continue
                results.append(
                    EvalResult(
                        task_type=kind,
                        dataset_type="textir-mini-test",
                        dataset_name=table.title,
                        metric_type=metric,
                        metric_name=f"{method}: {column}",
                        metric_value=round(cell.mean, table.digits),
                    )
                )
    return results


def make_card(name: str) -> str:
    """The text of a card."""
    facts, path = FACTS[name], REPORTS / f"{name}.json"
    tables = read_tables(path)
    sample = _existing(f"samples/{name}.jpg")
    summary = facts.summary
    if sample:
        summary += f"\n\n![Photos, damaged, and restored towards several sentences]({sample})"
    sections = {
        "What it does": f"{facts.does}\n\n{_size(name)}",
        "How to use it": _usage(name, facts),
        "Training": f"{facts.training}\n\n{_data(facts)}",
        "Measured": _measured(name, facts, tables),
        "Limits, bias and misuse": _limits(facts),
    }
    return render_card(_metadata(name, facts, tables, sample), name, summary, sections)


def _metadata(name: str, facts: Facts, tables: list[Table], sample: str | None) -> ModelCardData:
    results = eval_results(tables, "image-to-image" if facts.task else "feature-extraction")
    common: dict[str, Any] = {
        "model_name": name,
        "license": "other",
        "license_name": "research-use-only",
        "license_link": "LICENSE",
        "metrics": sorted({result.metric_type for result in results}),
        "eval_results": results,
    }
    if sample:
        common["widget"] = [{"text": facts.summary, "output": {"url": sample}}]
    if facts.task:
        return card_data(get_task(facts.task), **common)
    return ModelCardData(
        library_name="transformers", pipeline_tag="feature-extraction", tags=["textir", "clip"], **common
    )


def _size(name: str) -> str:
    files = sorted((CHECKPOINTS / name).rglob("*.safetensors"))
    text = f"Its files have {sum(file.stat().st_size for file in files) / 1e6:.1f} MB in fp16."
    config = CHECKPOINTS / name / "restorer" / "config.json"
    if not config.is_file():
        return text
    side = json.loads(config.read_text())["sample_size"]
    return f"{text} It was trained at {side}x{side} pixels."


def _usage(name: str, facts: Facts) -> str:
    code = usage(get_task(facts.task), name) if facts.task else f"```python\n{facts.usage}\n```"
    terms = (
        "It comes inside the `textir-hf` package, without a download. The terms of its training images allow **research "
        "use only, not commercial use**. The code around it is Apache-2.0."
    )
    return "\n\n".join(part for part in (code, facts.hint, terms) if part)


def _data(facts: Facts) -> str:
    rows = ["| data | training images | terms |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in facts.data)]
    return "\n".join(rows)


def _measured(name: str, facts: Facts, tables: list[Table]) -> str:
    source = provenance(name, f"[The report](results/{name}.json)")
    parts = [facts.protocol, source, *(markdown(table) for table in card_tables(tables))]
    curves = _existing(f"samples/{name}-curves.png")
    if curves:
        parts.append(f"![The text's shift and the distance to the original against beta and s]({curves})")
    return "\n\n".join(parts)


def provenance(name: str, report: str) -> str:
    """How a checkpoint's figures were made.

    Args:
        name: The checkpoint.
        report: What to call its report, or a link to it.
    """
    facts = json.loads((REPORTS / f"{name}.json").read_text())
    versions = ", ".join(f"{package} {version}" for package, version in facts["versions"].items())
    return (
        f"The command is `{facts['command']}`, with {versions}. {report} has the values of every "
        'image and the hashes of weights and data. Test images were never trained on. "±" is half of the 95 % bootstrap '
        "interval."
    )


def _limits(facts: Facts) -> str:
    small = (
        "It was trained for minutes to a few hours on two CPU cores: good for trying the method, not for serious work."
    )
    items = [*facts.limits, *([INVENTED] if facts.task else []), facts.groups, small]
    return "\n".join(f"- {item}" for item in items)


def _existing(part: str) -> str | None:
    return part if (HERE / part).is_file() else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a card differs")
    args = parser.parse_args()
    cards: dict[Path, str] = {}
    for name in FACTS:
        text = make_card(name)
        cards |= {HERE / f"{name}.md": text, CHECKPOINTS / name / "README.md": text}
    write(cards, args.check, "make cards")


def write(files: dict[Path, str], check: bool, command: str) -> None:
    """Writes generated files, or exits with an error if one differs.

    Args:
        files: Texts by path.
        check: Only compare.
        command: What writes them.
    """
    if check:
        stale = [path.name for path, text in files.items() if not path.is_file() or path.read_text() != text]
        if stale:
            sys.exit(f"error: {', '.join(stale)} differ from what would be written. Run: {command}")
        return
    for path, text in files.items():
        with replacing(path) as temporary:
            temporary.write_text(text)


if __name__ == "__main__":
    main()
