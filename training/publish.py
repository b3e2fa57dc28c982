"""The trained pipeline as a folder that can be published: weights, card, curves and sheet."""

import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

from textir_hf import TextIRGenerator, TextIRPipeline
from textir_hf.hub.publish import publish
from training.config import TrainingConfig

_CALL = {
    "inpainting": 'pipe("a sentence", image, mask_image=mask)',
    "super-resolution": 'pipe("a sentence", image, scale=8)',
    "colorization": 'pipe("a sentence", image)',
}


def write_pipeline(folder: Path, config: TrainingConfig, step: int, batch: int, restorer: TextIRGenerator, *parts):
    """Writes the complete pipeline of a run; an older folder is replaced when all is written.

    Args:
        folder: The folder to write, inside the run's.
        config: The run's.
        step: Updates done.
        batch: Pictures in one update.
        restorer: The averaged network.
        *parts: The dual encoder, tokenizer, image processor and recentering.
    """
    run = folder.parent
    pipe = TextIRPipeline(restorer, *parts)
    with tempfile.TemporaryDirectory(dir=run, prefix=".writing-") as temporary:
        whole = Path(temporary) / "pipeline"
        pipe.save_pretrained(whole)
        names = {k: _short(v) for k, v in asdict(config).items()}
        TrainingConfig(**names | {"output_dir": "", "cache_dir": ""}).save(whole / "training_config.json")
        sheets = sorted((run / "validation").glob("*.png"))
        for source, name in ((run / "curves.png", "curves.png"), *((s, "samples.png") for s in sheets[-1:])):
            if source.exists():
                shutil.copy(source, whole / name)
        write_card(whole, config, step, batch, _last_validation(run / "metrics.jsonl"))
        if folder.exists():
            folder.rename(Path(temporary) / "old")
        whole.rename(folder)


def _last_validation(metrics: Path) -> dict[str, float]:
    rows = [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []
    rows = [r for r in rows if any(n.startswith("validation/") for n in r)]
    return {n.removeprefix("validation/"): v for n, v in rows[-1].items() if "/" in n} if rows else {}


def _short(value):
    """Local paths to their names: nobody else has these folders."""
    if isinstance(value, list):
        return [_short(v) for v in value]
    return Path(value).name if isinstance(value, str) and Path(value).expanduser().exists() else value


def write_card(folder: Path, config: TrainingConfig, step: int, batch: int, figures: dict[str, float]) -> None:
    """A model card of what this run did, saved as the folder's README.md."""
    data = config.dataset_name or _short(config.train_data_dir) or ", ".join(_short(config.data_files))
    card = ModelCardData(
        library_name="diffusers",
        pipeline_tag="image-to-image",
        tags=["textir", config.task, "image-restoration"],
        datasets=[config.dataset_name] if config.dataset_name else None,
    )
    names = sorted({n.split("/")[0] for n in figures})
    conditions = list(dict.fromkeys(n.split("/")[1] for n in figures))
    table = [f"| condition | {' | '.join(n.upper() for n in names)} |", "|---" * (len(names) + 1) + "|"]
    for condition in conditions:
        cells = [f"{figures[f'{name}/{condition}']:.4g}" for name in names]
        table.append(f"| {condition} | {' | '.join(cells)} |")
    measured = "\n".join(table) if figures else "No pictures were held out, so nothing was measured."
    pictures = [f"![{text}]({name})" for name, text in _PICTURES.items() if (folder / name).exists()]
    skipped = ("output_dir", "cache_dir", "resume_from_checkpoint", "source", "expected")
    settings = {k: _short(v) for k, v in asdict(config).items() if v not in (None, "", False) and k not in skipped}
    text = _CARD.format(
        metadata=card.to_yaml(),
        task=config.task,
        call=_CALL[config.task],
        name=config.hub_model_id or "PATH",
        data=data,
        step=f"{step:,}",
        batch=batch,
        size=config.sample_size,
        source=config.source or "settings of its own, listed below",
        expected=f" The recipe should reach: {config.expected}." if config.expected else "",
        measured=measured,
        pictures="\n\n".join(pictures),
        settings="\n".join(f"- {k}: {v}" for k, v in settings.items()),
    )
    ModelCard(text).save(folder / "README.md")


_PICTURES = {
    "samples.png": "Held-out pictures: degraded, restored under the right, another and the empty condition, target",
    "curves.png": "Losses and figures over the steps",
}
_CARD = """---
{metadata}
---

# TextIR, {task}

Restores pictures towards what a sentence says (Bai et al., TextIR, 2023), with
`textir_hf`.

```python
from textir_hf import TextIRPipeline

pipe = TextIRPipeline.from_pretrained("{name}")
restored = {call}.images[0]
```

## Training

Data: {data}. Recipe: {source}.{expected}

{step} steps of {batch} pictures at {size}x{size} pixels. The published weights are the run's moving average.

## Measured

On held-out pictures, under the right condition, another picture's, and the empty sentence:

{measured}

{pictures}

## Limits

What the network puts where information is missing is invented, not recovered: nobody must be identified by it. It knows
pictures like those it was trained on, and their biases.

## Settings

{settings}
"""


def push(folder: Path, repo: str) -> None:
    """Pushes the folder; where that fails it says how to do it later."""
    try:
        print(publish(folder, repo))
    except ValueError as error:
        print(
            f"The pipeline is whole in {folder}, but {error} Push it later with: textir publish {folder} --repo {repo}"
        )
