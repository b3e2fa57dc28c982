"""Writes the trained pipeline with its card, curves and validation grid."""

import shutil
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import nn

from textir_hf import TextIRGenerator, TextIRPipeline
from textir_hf.atomic import replacing
from textir_hf.hub.cards import HERE, INVENTED, card_data, render_card, usage
from textir_hf.tasks import get_task
from training.config import TrainingConfig
from training.encoder import FrozenEncoder
from training.log import plot_curves, read_metrics
from training.presets import SOURCES

_OWN = ("output_dir", "cache_dir", "resume_from_checkpoint")  # of the machine, not of the result


def write_pipeline(
    folder: Path, config: TrainingConfig, step: int, batch: int, restorer: TextIRGenerator, encoder: FrozenEncoder
) -> None:
    """Writes the complete pipeline of a run, after `step` updates of `batch` images, with its card.

    Raises:
        OSError: It cannot be written. An older pipeline and the checkpoints are whole.
    """
    run = folder.parent
    parts = (as_stored(encoder.clip), encoder.tokenizer, encoder.image_processor, encoder.recentering)
    public = replace(config, **{k: "" if k in _OWN else _public(v) for k, v in asdict(config).items()})
    try:
        plot_curves(run / "metrics.jsonl", run / "curves.png")
        with replacing(folder) as temporary:
            TextIRPipeline(restorer, *parts).save_pretrained(temporary)
            public.save(temporary / "training_config.json")
            images = {}
            for grid in sorted((run / "validation").glob("*.png"))[-1:]:
                shutil.copy(grid, temporary / "samples.png")
                images["samples.png"] = "Held-out images: degraded, restored under three conditions, target"
            if (run / "curves.png").exists():
                shutil.copy(run / "curves.png", temporary / "curves.png")
                images["curves.png"] = "Losses and figures over the steps"
            shown = [_table(run / "metrics.jsonl", config.task)] + [f"![{t}]({name})" for name, t in images.items()]
            card = make_card(public, step, batch, _is_on_hub(config.dataset), "\n\n".join(shown))
            (temporary / "README.md").write_text(card)
    except Exception as error:  # the libraries say "disk full" in several ways
        raise OSError(
            f"The pipeline cannot be written ({error}). The checkpoint of step {step} is whole: free some space and "
            "give the same command with --resume-from-checkpoint latest."
        ) from error


def as_stored(network: nn.Module) -> nn.Module:
    """A copy in a half format where that holds every weight exactly, as it does for weights that came from one."""
    for dtype in (torch.float16, torch.bfloat16):
        if all(torch.equal(p.to(dtype).to(p.dtype), p) for p in network.parameters()):
            return deepcopy(network).to(dtype)
    return network


def _public(value):
    """Local paths to their names: nobody else has these folders."""
    if isinstance(value, list):
        return [_public(v) for v in value]
    return Path(value).name if isinstance(value, str) and value and Path(value).expanduser().exists() else value


def _is_on_hub(dataset: list[str]) -> bool:
    name = Path(dataset[0])
    return len(dataset) == 1 and dataset[0].count("/") == 1 and not name.exists() and not name.suffix


def make_card(config: TrainingConfig, step: int, batch: int, from_hub: bool, results: str) -> str:
    """A model card of a run, whose config has no local paths; `results` is Markdown."""
    task, size = get_task(config.task), config.sample_size
    source, expected = SOURCES.get(config.preset, ("settings of its own, listed below", ""))
    recipe = source + (f". It should reach: {expected}" if expected else "")
    settings = [f"- {k.replace('_', '-')}: {v}" for k, v in asdict(config).items() if v not in (None, "", False)]
    sections = {
        "How to use it": usage(task, HERE),
        "Training": f"Data: {', '.join(config.dataset)}. Recipe: {recipe}.\n\n{step:,} steps of {batch} images "
        f"at {size}x{size} pixels. The published weights are the run's moving average.",
        "Results": results,
        "Limits": f"{INVENTED}\n\nIt knows only images like those it was trained on, and has their biases.",
        "Settings": "\n".join(settings),
    }
    metadata = card_data(task, **{"datasets": config.dataset} if from_hub else {})
    return render_card(metadata, f"TextIR, {task.name}", "Restores damaged images to match a text prompt.", sections)


def _table(metrics: Path, task: str) -> str:
    """The last validation as Markdown: a row for each condition."""
    rows = [row for row in read_metrics(metrics) if any(name.startswith("validation/") for name in row)]
    if not rows:
        return "No images were held out, so nothing was measured."
    cells: dict[str, list[str]] = {}
    for name in sorted(rows[-1].keys() - {"step"}):
        cells.setdefault(name.split("/")[2], []).append(f"{rows[-1][name]:.4g}")
    names = sorted({name.split("/")[1].upper() for name in rows[-1].keys() - {"step"}})
    table = [f"| condition | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for condition in ("right", "other", "empty"):
        table.append(f"| {condition} | {' | '.join(cells[condition])} |")
    where = "On held-out images" + (", in the masked regions" if "mask_image" in get_task(task).requires else "")
    return f"{where}, under the right condition, another image's, and the empty prompt:\n\n" + "\n".join(table)
