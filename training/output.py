"""What a run leaves: losses and curves, restored held-out images, and the trained pipeline with its card."""

import json
import math
import random
import shutil
import time
from copy import deepcopy
from dataclasses import asdict, replace
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from textir_hf import TextIRGenerator, TextIRPipeline
from textir_hf.atomic import replacing
from textir_hf.evaluation.tables import Cell, Table, markdown
from textir_hf.hub.cards import HERE, INVENTED, render_card, usage
from textir_hf.imaging.grid import draw_grid
from textir_hf.imaging.resample import downsample, to_array, to_tensor
from textir_hf.metrics.perceptual import LPIPS, quality
from textir_hf.models.embedding import embed_images
from textir_hf.tasks import get_task
from training.config import SOURCES, TrainingConfig
from training.data import SampleMaker, decode, row_captions
from training.latents import FrozenEncoder

CONDITIONS = ("right", "other", "empty")
_SHOWN = 8  # images in a grid
_RATES = ("step", "images/s", "waiting")  # not among the curves


class Log:
    """Collects losses on the device, reads them all at once, and writes `metrics.jsonl` and the tracker.

    Lines of steps after `step` are dropped from `metrics.jsonl`, since a resumed run makes them again.
    """

    def __init__(self, config: TrainingConfig, accelerator: Accelerator, step: int, images_per_update: int) -> None:
        self.accelerator, self.step, self.images = accelerator, step, images_per_update
        self.path = Path(config.output_dir) / "metrics.jsonl"
        self.terms: dict[str, list[Tensor]] = {}
        self.began, self.waited = time.perf_counter(), 0.0
        if config.report_to:
            accelerator.init_trackers("textir", {name: str(value) for name, value in asdict(config).items()})
        if accelerator.is_main_process and self.path.exists():
            rows = [row for row in read_metrics(self.path) if row["step"] <= step]
            with replacing(self.path) as temporary:
                temporary.write_text("".join(f"{json.dumps(row)}\n" for row in rows))

    def add(self, terms: dict[str, Tensor]) -> None:
        """Adds the losses of a step, without reading them."""
        for name, value in terms.items():
            self.terms.setdefault(name, []).append(value)

    def read(self, step: int, waited: float, shared: list[float]) -> tuple[dict[str, float], list[float]]:
        """The mean losses since the last call, and the means of `shared`, over all processes.

        `step` updates are done, and this process waited `waited` seconds in all for data.
        """
        means = [torch.stack(values).float().mean() for values in self.terms.values()]
        numbers = torch.tensor(shared, dtype=torch.float32, device=means[0].device)
        means = self.accelerator.reduce(torch.cat([torch.stack(means), numbers]), "mean").tolist()
        values, agreed = dict(zip(self.terms, means, strict=False)), means[len(self.terms) :]
        if bad := [f"{name} {value:.3g}" for name, value in values.items() if not math.isfinite(value)]:
            raise FloatingPointError(
                f"The loss is not finite within steps {self.step} to {step - 1}: {', '.join(bad)}. Go on from the last "
                "checkpoint with --resume-from-checkpoint latest and a lower --learning-rate."
            )
        now = time.perf_counter()
        values["images/s"] = self.images * (step - self.step) / (now - self.began)
        values["waiting"] = (waited - self.waited) / (now - self.began)
        self.terms, self.step, self.began, self.waited = {}, step, now, waited
        return values, agreed

    def write(self, step: int, values: dict[str, float]) -> None:
        """Adds a line to `metrics.jsonl` and to the tracker, unless there are no values."""
        self.accelerator.log(values, step)
        if values and self.accelerator.is_main_process:
            with self.path.open("a") as file:
                file.write(json.dumps({"step": step} | values) + "\n")


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The whole lines of a `metrics.jsonl`; a killed process may have cut the last one short."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def plot_curves(rows: list[dict[str, float]], path: Path) -> None:
    """The losses and validation figures of `metrics.jsonl` over the steps, each in a panel, as one PNG."""
    names = sorted({name for row in rows for name in row} - {*_RATES})
    lines = max(1, -(-len(names) // 4))
    figure = Figure(figsize=(13.6, 2.6 * lines), layout="tight")
    for place, name in enumerate(names, 1):
        steps, values = np.array([(row["step"], row[name]) for row in rows if name in row]).T
        window = max(1, len(values) // 100)
        smooth = np.convolve(values, np.ones(window) / window, mode="valid")
        axis = figure.add_subplot(lines, 4, place, title=name, xlabel="step")
        axis.plot(steps[window - 1 :], smooth, marker="." if len(values) < 30 else "")
    figure.savefig(path)


class Validation:
    """The same held-out images with the same damage each time, restored by the pipeline as users call it.

    The right condition is that of an image's captions, or of the image itself if there are none; the other one is the
    next image's. Figures are those of `textir evaluate`; with a mask, of the masked region alone.
    """

    def __init__(self, config: TrainingConfig, rows: list[dict], maker: SampleMaker, encoder: FrozenEncoder) -> None:
        self.task, self.encoder = maker.task, encoder
        self.lpips = LPIPS(config.lpips).to(encoder.device) if config.lpips else None
        self.targets, self.damages, self.captions = [], [], []
        for row in rows:
            image = decode(row[config.image_column], config.sample_size)
            if image is not None:
                rng = random.Random(len(self.targets))
                self.targets.append(image.permute(1, 2, 0).numpy())  # [S, S, 3] uint8
                self.damages.append(maker.task.degrade(image[None].float() / 255, rng, maker.draw_mask))
                self.captions.append(row_captions(row, config.caption_column))

    @torch.no_grad()
    def run(self, restorer: TextIRGenerator, path: Path) -> dict[str, float]:
        """Writes the grid to `path`; returns PSNR (dB), SSIM and perhaps LPIPS as "validation/figure/condition"."""
        if not self.targets:
            return {}
        encoder, device, values = self.encoder, self.encoder.device, {}
        pipe = TextIRPipeline(restorer, encoder.clip, encoder.tokenizer, encoder.image_processor, encoder.recentering)
        pipe.set_progress_bar_config(disable=True)
        if all(self.captions):
            right = pipe.encode_prompt(self.captions)
        else:
            images = [to_tensor(target, device) for target in self.targets]
            right = torch.cat([embed_images(encoder.clip, encoder.image_processor, image) for image in images])
        empty = encoder.texts([""])[0]
        columns = {"degraded": [], "right": [], "other": [], "empty": [], "target": []}
        for i, (target, damage) in enumerate(zip(self.targets, self.damages, strict=True)):
            visible = (damage["degraded"][:3] * self.task.input_scale).expand(3, -1, -1)
            columns["degraded"].append(Image.fromarray(to_array(visible[None])))
            columns["target"].append(Image.fromarray(target))
            conditions = torch.stack([right[i], right[i - 1], empty])
            restored = pipe(prompt_embeds=conditions, **self._arguments(target, damage)).images
            mask = damage["mask"][0].bool().numpy() if "mask" in damage else None
            for name, image in zip(CONDITIONS, restored, strict=True):
                columns[name].append(image)
                for figure, value in quality(np.asarray(image), target, mask, self.lpips).items():
                    values.setdefault(f"validation/{figure}/{name}", []).append(value)
        path.parent.mkdir(parents=True, exist_ok=True)
        cells = [[(name, images[0]), *zip(repeat(""), images[1:_SHOWN])] for name, images in columns.items()]
        draw_grid(cells, cell=max(64, len(self.targets[0]))).save(path)
        return {name: float(np.mean(each)) for name, each in values.items()}

    def _arguments(self, target: np.ndarray, damage: dict) -> dict:
        if "mask_image" in self.task.requires:
            return {"image": target, "mask_image": Image.fromarray(damage["mask"][0].bool().numpy())}
        if "scale" in self.task.requires:
            return {"image": to_array(downsample(to_tensor(target), damage["factor"])), "scale": damage["factor"]}
        return {"image": to_array(damage["degraded"][None]) if self.task.in_channels == 3 else target}


def write_pipeline(
    folder: Path, config: TrainingConfig, step: int, batch: int, restorer: TextIRGenerator, encoder: FrozenEncoder
) -> None:
    """Writes the complete pipeline of a run, after `step` updates of `batch` images, with its card."""
    run = folder.parent
    parts = (as_stored(encoder.clip), encoder.tokenizer, encoder.image_processor, encoder.recentering)
    public, lines = public_config(config), read_metrics(run / "metrics.jsonl")
    grids = sorted((run / "validation").glob("*.png"))
    try:
        plot_curves(lines, run / "curves.png")
        with replacing(folder) as temporary:
            TextIRPipeline(restorer, *parts).save_pretrained(temporary)
            public.save(temporary / "training_config.json")
            shutil.copy(run / "curves.png", temporary)
            if grids:
                shutil.copy(grids[-1], temporary / "samples.png")
            (temporary / "README.md").write_text(make_card(public, step, batch, lines, bool(grids)))
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
    changes = {"output_dir": "", "cache_dir": "", "resume_from_checkpoint": None}
    for name in ("masks", "clip", "init_from", "lpips"):
        path = getattr(config, name)
        changes[name] = Path(path).name if path and Path(path).expanduser().exists() else path
    names = [Path(path).name if Path(path).expanduser().exists() else path for path in config.dataset]
    return replace(config, **changes, dataset=names)


def make_card(config: TrainingConfig, step: int, batch: int, lines: list[dict], samples: bool) -> str:
    """A model card of a run, from its config without local paths and the lines of its `metrics.jsonl`."""
    task, size, names = get_task(config.task), config.sample_size, config.dataset
    recipe = SOURCES.get(config.preset, "settings of its own, listed below")
    settings = [f"- {k.replace('_', '-')}: {v}" for k, v in asdict(config).items() if v not in (None, "", False)]
    results = "No images were held out, so nothing was measured."
    if measured := next((line for line in reversed(lines) if "validation/psnr/right" in line), None):
        where = "On held-out images" + (", in the masked regions" if "mask_image" in task.requires else "")
        figures = [name for name in ("psnr", "ssim", "lpips") if f"validation/{name}/right" in measured]
        rows = {f.upper(): [Cell(measured[f"validation/{f}/{condition}"]) for condition in CONDITIONS] for f in figures}
        results = f"{where}, under the right condition, another image's, and the empty prompt:\n\n"
        results += markdown(Table("", list(CONDITIONS), rows))
    results += "\n\n![Losses and figures over the steps](curves.png)"
    results += "\n\n![Held-out images, restored under three conditions](samples.png)" * samples
    sections = {
        "How to use it": usage(task, HERE),
        "Training": f"Data: {', '.join(names)}. Recipe: {recipe}.\n\n{step:,} steps of {batch} images "
        f"at {size}x{size} pixels. The published weights are the run's moving average.",
        "Results": results,
        "Limits": f"{INVENTED}\n\nIt knows only images like those it was trained on, and has their biases.",
        "Settings": "\n".join(settings),
    }
    from_hub = len(names) == 1 and names[0].count("/") == 1 and not Path(names[0]).suffix
    summary, metadata = "Restores damaged images to match a text prompt.", {"datasets": names} if from_hub else {}
    return render_card(task, f"TextIR, {task.name}", summary, sections, **metadata)
