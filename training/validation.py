"""What a run shows of itself: sheets of held-out pictures, their figures, and the curves of the losses."""

import json
import random
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
import torch
from matplotlib import pyplot as plt
from PIL import Image, ImageDraw
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torch.nn import functional as F

from textir_hf.imaging.resample import to_array
from textir_hf.metrics.perceptual import LPIPS
from textir_hf.models.embedding import embed_texts
from training.config import TrainingConfig
from training.data import Degrader, decode_whole

SHOWN = 8


class Validation:
    """The same held-out pictures with the same damage, under the right, another and the empty condition.

    The right condition is a picture's caption, or its own embedding where there are no captions; the other one is the
    next picture's.
    """

    def __init__(self, config: TrainingConfig, rows: list[dict], degrader: Degrader, trainer) -> None:
        self.config, self.trainer = config, trainer
        self.lpips = LPIPS(config.lpips).to(trainer.device) if config.lpips else None
        found = decode_whole(rows, config)
        self.targets, rows = [image for _, image in found], [rows[i] for i, _ in found]
        parts = [degrader.degrade(t, random.Random(i)) for i, t in enumerate(self.targets)]
        self.inputs = {k: torch.stack([p[k] for p in parts]).to(trainer.device) for k in parts[0]} if parts else {}
        captions = [row.get(config.caption_column) for row in rows] if config.caption_column else []
        self.captions = [c if isinstance(c, str) else c[0] for c in captions if c]

    def _conditions(self, target: Tensor) -> dict[str, Tensor]:
        trainer = self.trainer

        def text(sentences: list[str]) -> Tensor:
            embedding = embed_texts(trainer.clip, trainer.tokenizer, sentences).cpu()
            return (embedding if trainer.recentering is None else trainer.recentering(embedding)).to(trainer.device)

        right = text(self.captions) if len(self.captions) == len(target) else trainer.embed(target)
        return {"right": right, "other": right.roll(1, 0), "empty": text([""]).expand_as(right)}

    @torch.inference_mode()
    def run(self, restorer, path: Path) -> dict[str, float]:
        """Writes the sheet to `path`; returns PSNR (dB), SSIM and perhaps LPIPS for each condition."""
        if not self.targets:
            return {}
        target = torch.stack(self.targets).to(self.trainer.device).float() / 255
        degraded, mask, strength = (self.inputs.get(k) for k in ("degraded", "mask", "strength"))
        rows, values = {}, {}
        for name, condition in self._conditions(target).items():
            with self.trainer.accelerator.autocast():
                samples = [
                    restorer(
                        degraded[i : i + 1], condition[i : i + 1], None if strength is None else strength[i]
                    ).sample
                    for i in range(len(target))
                ]
            restored = self.trainer.finish(torch.cat(samples).float(), target, degraded, mask).clamp(0, 1)
            rows[name] = restored
            values |= {f"{n}/{name}": v for n, v in self._measure(restored, target).items()}
        shown = degraded[:, :3] if degraded.shape[1] > 1 else degraded.expand(-1, 3, -1, -1) / 100
        draw_sheet({"degraded": shown, **rows, "target": target}, path)
        return values

    def _measure(self, restored: Tensor, target: Tensor) -> dict[str, float]:
        pairs = [(to_array(a[None]), to_array(b[None])) for a, b in zip(restored, target, strict=True)]
        values = {
            "psnr": float(np.mean([peak_signal_noise_ratio(b, a) for a, b in pairs])),
            "ssim": float(np.mean([structural_similarity(b, a, channel_axis=2) for a, b in pairs])),
        }
        if self.lpips:
            values["lpips"] = self.lpips(restored, target).mean().item()
        return values


def draw_sheet(rows: dict[str, Tensor], path: Path) -> None:
    """Rows of pictures `[N, 3, S, S]` in [0, 1] under each other, the first `SHOWN` of each, with their names."""
    parts = []
    for name, images in rows.items():
        strip = to_array(torch.cat(list(F.pad(images[:SHOWN].float().cpu(), (2, 2, 2, 2), value=1.0)), 2)[None])
        label = Image.new("RGB", (76, strip.shape[0]), "white")
        ImageDraw.Draw(label).text((4, strip.shape[0] // 2 - 6), name, fill="black")
        parts.append(np.concatenate([np.asarray(label), strip], 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp.png")
    Image.fromarray(np.concatenate(parts)).save(temporary)
    temporary.replace(path)


def plot_curves(metrics: Path, path: Path) -> None:
    """The losses and validation figures of `metrics.jsonl` over the steps, as one PNG."""
    rows = [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []
    names = [n for n in dict.fromkeys(n for r in rows for n in r) if n not in ("step", "images/s", "waiting")]
    figures = {}
    for name in names:
        figures.setdefault("/".join(name.split("/")[:2]) if name.startswith("validation/") else name, []).append(name)
    if not figures:
        return
    columns = min(4, len(figures))
    lines = -(-len(figures) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(3.4 * columns, 2.6 * lines), squeeze=False)
    for axis in axes.flat[len(figures) :]:
        axis.axis("off")
    for axis, (title, several) in zip(axes.flat, figures.items(), strict=False):
        for name in several:
            steps, values = zip(*((r["step"], r[name]) for r in rows if name in r), strict=True)
            window = max(1, len(values) // 100)
            smooth = np.convolve(values, np.ones(window) / window, mode="valid")
            axis.plot(steps[window - 1 :], smooth, marker="." if len(values) < 30 else "", label=name.split("/")[-1])
        axis.set_title(title, fontsize=10)
        axis.tick_params(labelsize=7)
        if len(several) > 1:
            axis.legend(fontsize=7)
    figure.supxlabel("step", fontsize=9)
    figure.tight_layout()
    temporary = path.with_suffix(".tmp.png")
    figure.savefig(temporary, dpi=120)
    plt.close(figure)
    temporary.replace(path)
