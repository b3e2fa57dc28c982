"""Held-out images under the right, another and the empty condition: a grid to look at, and figures."""

import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from textir_hf.atomic import replacing
from textir_hf.imaging.grid import draw_grid
from textir_hf.imaging.resample import to_array
from textir_hf.metrics import functional
from textir_hf.metrics.perceptual import LPIPS
from textir_hf.models.generator import TextIRGenerator
from training.config import TrainingConfig
from training.data import decode_rows
from training.embeddings import FrozenEncoder, captions
from training.samples import SampleMaker, collate

SHOWN = 8  # images in a grid


class Validation:
    """The same held-out images with the same degradation each time.

    The right condition is an image's caption, or its own embedding where there are no captions; the other one is the
    next image's. Figures are those of `textir evaluate`; where there is a mask, of the masked region alone.

    Args:
        config: The run's.
        rows: The held-out rows.
        maker: Degrades the images.
        encoder: Embeds images and captions.
    """

    def __init__(self, config: TrainingConfig, rows: list[dict], maker: SampleMaker, encoder: FrozenEncoder) -> None:
        self.task, self.encoder, self.batch_size = maker.task, encoder, config.optimization.train_batch_size
        self.lpips = LPIPS(config.run.lpips).to(encoder.device) if config.run.lpips else None
        found = decode_rows(rows, config)
        self.targets = torch.stack([image for _, image in found]).float() / 255 if found else torch.zeros(0)
        parts = [
            {"damaged": [], **maker.task.degrade(target[None], random.Random(i), maker.masks)}
            for i, target in enumerate(self.targets)
        ]
        batch = collate(parts) if parts else {}
        self.batch = {k: v.to(encoder.device) if isinstance(v, Tensor) else v for k, v in batch.items()}
        column = config.data.caption_column
        self.captions = captions([rows[i] for i, _ in found], column) if column else []

    def _conditions(self, target: Tensor) -> dict[str, Tensor]:
        texts = len(self.captions) == len(target)
        right = self.encoder.texts(self.captions) if texts else self.encoder.images(target)
        return {"right": right, "other": right.roll(1, 0), "empty": self.encoder.texts([""]).expand_as(right)}

    @torch.inference_mode()
    def run(self, restorer: TextIRGenerator, path: Path) -> dict[str, float]:
        """Writes the grid to `path`; returns PSNR (dB), SSIM and perhaps LPIPS for each condition."""
        if not len(self.targets):
            return {}
        target = self.targets.to(self.encoder.device)
        rows, values = {"degraded": self._visible()}, {}
        for name, condition in self._conditions(target).items():
            rows[name] = restored = self._restore(restorer, condition, target)
            values |= {f"{figure}/{name}": value for figure, value in self._measure(restored, target).items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            _grid(rows | {"target": target}).save(temporary)
        return values

    def _restore(self, restorer: TextIRGenerator, condition: Tensor, target: Tensor) -> Tensor:
        degraded, strength = self.batch["degraded"], self.batch.get("strength")
        samples = []
        with self.encoder.autocast():
            for start in range(0, len(target), self.batch_size):
                part = slice(start, start + self.batch_size)
                given = None if strength is None else strength[part]
                noise = [torch.Generator().manual_seed(0) for _ in degraded[part]]
                samples.append(restorer(degraded[part], condition[part], given, noise).sample)
        return self.task.restored(torch.cat(samples).float(), target, self.batch).clamp(0, 1)

    def _visible(self) -> Tensor:  # -> [N, 3, S, S] in [0, 1]
        degraded = self.batch["degraded"][:, :3] * self.task.input_scale
        return degraded.expand(-1, 3, -1, -1)

    def _measure(self, restored: Tensor, target: Tensor) -> dict[str, float]:
        mask = self.batch.get("mask")
        masks = [None] * len(target) if mask is None else [m[0].bool().cpu().numpy() for m in mask]
        triples = [(to_array(a[None]), to_array(b[None]), m) for a, b, m in zip(restored, target, masks, strict=True)]
        values = {
            "psnr": float(np.mean([functional.psnr(*triple) for triple in triples])),
            "ssim": float(np.mean([functional.ssim(*triple) for triple in triples])),
        }
        if self.lpips:
            values["lpips"] = self.lpips(restored, target, mask).mean().item()
        return values


def _grid(rows: dict[str, Tensor]) -> Image.Image:
    """The first `SHOWN` images of each row, with the row's name above the first."""
    cells = [
        [(name if i == 0 else "", Image.fromarray(to_array(image[None]))) for i, image in enumerate(images[:SHOWN])]
        for name, images in rows.items()
    ]
    return draw_grid(cells, cell=max(64, rows["target"].shape[-1]))
