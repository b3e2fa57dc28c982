"""Writes the trained pipeline with its card, curves and validation grid, and pushes it."""

import shutil
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import nn

from textir_hf import TextIRGenerator, TextIRPipeline
from textir_hf.atomic import replacing
from textir_hf.hub.cards import HERE, INVENTED, card_data, render_card, usage
from textir_hf.hub.publish import publish
from textir_hf.tasks import get_task
from training.config import TrainingConfig
from training.encoder import FrozenEncoder
from training.log import plot_curves, read_metrics
from training.presets import SOURCES

_OWN = ("output_dir", "cache_dir", "resume_from_checkpoint")  # of the machine, not of the result
_IMAGES = {
    "samples.png": "Held-out images: degraded, restored under the right, another and the empty condition, target",
    "curves.png": "Losses and figures over the steps",
}


def write_pipeline(
    folder: Path, config: TrainingConfig, step: int, batch: int, restorer: TextIRGenerator, encoder: FrozenEncoder
) -> None:
    """Writes the complete pipeline of a run, with its card.

    Args:
        folder: The folder to write, inside the run's.
        config: The run's.
        step: Updates done.
        batch: Images in one update.
        restorer: The averaged network.
        encoder: The run's.

    Raises:
        OSError: It cannot be written. An older pipeline and the checkpoints are whole.
    """
    run = folder.parent
    parts = (as_stored(encoder.clip), encoder.tokenizer, encoder.image_processor, encoder.recentering)
    try:
        plot_curves(run / "metrics.jsonl", run / "curves.png")
        with replacing(folder) as temporary:
            TextIRPipeline(restorer, *parts).save_pretrained(temporary)
            public = {k: "" if k in _OWN else _short(v) for k, v in asdict(config).items()}
            replace(config, **public).save(temporary / "training_config.json")
            grids = sorted((run / "validation").glob("*.png"))
            for source, name in ((run / "curves.png", "curves.png"), *((g, "samples.png") for g in grids[-1:])):
                if source.exists():
                    shutil.copy(source, temporary / name)
            card = make_card(config, step, batch, _last_validation(run / "metrics.jsonl"), temporary)
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


def _last_validation(metrics: Path) -> dict[str, float]:
    rows = [row for row in read_metrics(metrics) if any(name.startswith("validation/") for name in row)]
    return {n.removeprefix("validation/"): v for n, v in rows[-1].items() if "/" in n} if rows else {}


def _short(value):
    """Local paths to their names: nobody else has these folders."""
    if isinstance(value, list):
        return [_short(v) for v in value]
    return Path(value).name if isinstance(value, str) and value and Path(value).expanduser().exists() else value


def make_card(config: TrainingConfig, step: int, batch: int, figures: dict[str, float], folder: Path) -> str:
    """A model card of what a run did.

    Args:
        config: The run's.
        step: Updates done.
        batch: Images in one update.
        figures: "figure/condition" to its value.
        folder: Of the pipeline, whose images are shown.
    """
    task, size, data = get_task(config.task), config.sample_size, config.dataset
    from_hub = len(data) == 1 and data[0].count("/") == 1 and not Path(data[0]).exists() and not Path(data[0]).suffix
    source, expected = SOURCES.get(config.preset, ("settings of its own, listed below", ""))
    recipe = source + (f". It should reach: {expected}" if expected else "")
    images = [f"![{text}]({name})" for name, text in _IMAGES.items() if (folder / name).exists()]
    settings = [
        f"- {name.replace('_', '-')}: {_short(value)}"
        for name, value in asdict(config).items()
        if value not in (None, "", False) and name not in _OWN
    ]
    sections = {
        "How to use it": usage(task, config.hub_model_id or HERE),
        "Training": f"Data: {', '.join(_short(data))}. Recipe: {recipe}.\n\n{step:,} steps of {batch} images "
        f"at {size}x{size} pixels. The published weights are the run's moving average.",
        "Results": "\n\n".join([_table(figures, "mask_image" in task.requires), *images]),
        "Limits": f"{INVENTED}\n\nIt knows only images like those it was trained on, and has their biases.",
        "Settings": "\n".join(settings),
    }
    metadata = card_data(task, datasets=data) if from_hub else card_data(task)
    return render_card(metadata, f"TextIR, {task.name}", "Restores damaged images to match a text prompt.", sections)


def _table(figures: dict[str, float], masked: bool) -> str:
    if not figures:
        return "No images were held out, so nothing was measured."
    names = sorted({name.split("/")[0] for name in figures})
    conditions = list(dict.fromkeys(name.split("/")[1] for name in figures))
    table = [f"| condition | {' | '.join(n.upper() for n in names)} |", "|---" * (len(names) + 1) + "|"]
    for condition in conditions:
        cells = [f"{figures[f'{name}/{condition}']:.4g}" for name in names]
        table.append(f"| {condition} | {' | '.join(cells)} |")
    where = "On held-out images" + (", in the masked regions" if masked else "")
    return f"{where}, under the right condition, another image's, and the empty prompt:\n\n" + "\n".join(table)


def push(folder: Path, repo: str) -> None:
    """Pushes the folder; where that fails it says how to do it later."""
    try:
        print(publish(folder, repo))
    except ValueError as error:
        print(
            f"The pipeline is whole in {folder}, but {error} Push it later with: textir publish {folder} --repo {repo}"
        )
