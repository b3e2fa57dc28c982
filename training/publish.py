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
from training.validation import CONDITIONS


def write_pipeline(
    folder: Path, config: TrainingConfig, step: int, batch: int, restorer: TextIRGenerator, encoder: FrozenEncoder
) -> None:
    """Writes the complete pipeline of a run, after `step` updates of `batch` images, with its card.

    Raises:
        OSError: It cannot be written. An older pipeline and the checkpoints are whole.
    """
    run = folder.parent
    parts = (as_stored(encoder.clip), encoder.tokenizer, encoder.image_processor, encoder.recentering)
    public, lines = public_config(config), read_metrics(run / "metrics.jsonl")
    grids = sorted((run / "validation").glob("*.png"))
    try:
        plot_curves(lines, run / "curves.png")
        with replacing(folder) as temporary:
            TextIRPipeline(restorer, *parts).save_pretrained(temporary)
            public.save(temporary / "training_config.json")
            shutil.copy(run / "curves.png", temporary / "curves.png")
            results = [_table(lines, config.task), "![Losses and figures over the steps](curves.png)"]
            if grids:
                shutil.copy(grids[-1], temporary / "samples.png")
                results.append("![Held-out images, restored under three conditions](samples.png)")
            card = make_card(public, step, batch, "\n\n".join(results))
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


def public_config(config: TrainingConfig) -> TrainingConfig:
    """The config without what is the machine's own: local paths are shortened to their names."""
    public = replace(config, output_dir="", cache_dir="", resume_from_checkpoint=None, dataset=[])
    for name in config.dataset:
        public.dataset.append(Path(name).name if Path(name).expanduser().exists() else name)
    for option in ("masks", "clip", "init_from", "lpips"):
        value = getattr(config, option)
        if value and Path(value).expanduser().exists():
            setattr(public, option, Path(value).name)
    return public


def make_card(config: TrainingConfig, step: int, batch: int, results: str) -> str:
    """A model card of a run, whose config has no local paths; `results` is Markdown."""
    task, size, names = get_task(config.task), config.sample_size, config.dataset
    from_hub = len(names) == 1 and names[0].count("/") == 1 and not Path(names[0]).suffix
    source, expected = SOURCES.get(config.preset, ("settings of its own, listed below", ""))
    recipe = source + (f". It should reach: {expected}" if expected else "")
    settings = [f"- {k.replace('_', '-')}: {v}" for k, v in asdict(config).items() if v not in (None, "", False)]
    sections = {
        "How to use it": usage(task, HERE),
        "Training": f"Data: {', '.join(names)}. Recipe: {recipe}.\n\n{step:,} steps of {batch} images "
        f"at {size}x{size} pixels. The published weights are the run's moving average.",
        "Results": results,
        "Limits": f"{INVENTED}\n\nIt knows only images like those it was trained on, and has their biases.",
        "Settings": "\n".join(settings),
    }
    metadata = card_data(task, **{"datasets": names} if from_hub else {})
    return render_card(metadata, f"TextIR, {task.name}", "Restores damaged images to match a text prompt.", sections)


def _table(lines: list[dict], task: str) -> str:
    """The last validation as Markdown."""
    rows = [line for line in lines if "validation/psnr/right" in line]
    if not rows:
        return "No images were held out, so nothing was measured."
    table = [f"| | {' | '.join(CONDITIONS)} |", "|---" * 4 + "|"]
    for figure in ("psnr", "ssim", "lpips"):
        if f"validation/{figure}/right" in rows[-1]:
            cells = [f"{rows[-1][f'validation/{figure}/{condition}']:.4g}" for condition in CONDITIONS]
            table.append(f"| {figure.upper()} | {' | '.join(cells)} |")
    where = "On held-out images" + (", in the masked regions" if "mask_image" in get_task(task).requires else "")
    return f"{where}, under the right condition, another image's, and the empty prompt:\n\n" + "\n".join(table)
