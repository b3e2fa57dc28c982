"""Held-out images under the right, another and the empty condition: a grid to look at, and figures."""

import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from textir_hf import TextIRPipeline
from textir_hf.atomic import replacing
from textir_hf.imaging.grid import draw_grid
from textir_hf.imaging.resample import downsample, to_array, to_tensor
from textir_hf.metrics import functional
from textir_hf.models.embedding import embed_images
from textir_hf.models.generator import TextIRGenerator
from training.config import TrainingConfig
from training.data import SampleMaker, decode, row_captions
from training.encoder import FrozenEncoder

SHOWN = 8  # images in a grid
CONDITIONS = ("right", "other", "empty")


class Validation:
    """The same held-out images with the same damage each time, restored by the pipeline as users call it.

    The right condition is that of an image's captions, or of the image itself if there are none; the other one is the
    next image's. Figures are those of `textir evaluate`; with a mask, of the masked region alone.
    """

    def __init__(self, config: TrainingConfig, rows: list[dict], maker: SampleMaker, encoder: FrozenEncoder) -> None:
        self.task, self.encoder, self.lpips = maker.task, encoder, None
        if config.lpips:
            from textir_hf.metrics.perceptual import LPIPS

            self.lpips = LPIPS(config.lpips).to(encoder.device)
        self.targets, self.damages, self.captions = [], [], []
        for row in rows:
            image = decode(row[config.image_column], config.sample_size)
            if image is not None:
                rng = random.Random(len(self.targets))
                self.targets.append(image.permute(1, 2, 0).numpy())  # [S, S, 3] uint8
                self.damages.append(maker.task.degrade(image[None].float() / 255, rng, maker.masks))
                self.captions.append(row_captions(row, config.caption_column))

    def conditions(self, pipe: TextIRPipeline) -> Tensor:
        """Of every image in the order of `CONDITIONS`, `[N, 3, D]`."""
        if all(self.captions):
            right = pipe.encode_prompt(self.captions)
        else:
            clip, processor, device = self.encoder.clip, self.encoder.image_processor, self.encoder.device
            right = torch.cat([embed_images(clip, processor, to_tensor(target, device)) for target in self.targets])
        return torch.stack([right, right.roll(1, 0), self.encoder.texts([""]).expand_as(right)], 1)

    def arguments(self, index: int) -> dict:
        """The pipeline's arguments for a damaged image."""
        target, damage = self.targets[index], self.damages[index]
        if "mask_image" in self.task.requires:
            return {"image": target, "mask_image": Image.fromarray(damage["mask"][0].bool().numpy())}
        if "scale" in self.task.requires:
            return {"image": to_array(downsample(to_tensor(target), damage["factor"])), "scale": damage["factor"]}
        if self.task.in_channels == 3:
            return {"image": to_array(damage["degraded"][None])}
        return {"image": target}

    @torch.no_grad()
    def run(self, restorer: TextIRGenerator, path: Path) -> dict[str, float]:
        """Writes the grid to `path`; returns PSNR (dB), SSIM and perhaps LPIPS as "validation/figure/condition"."""
        if not self.targets:
            return {}
        encoder, values = self.encoder, {}
        pipe = TextIRPipeline(restorer, encoder.clip, encoder.tokenizer, encoder.image_processor, encoder.recentering)
        pipe.set_progress_bar_config(disable=True)
        columns = {"degraded": [], "right": [], "other": [], "empty": [], "target": []}
        for i, conditions in enumerate(self.conditions(pipe)):
            visible = (self.damages[i]["degraded"][:3] * self.task.input_scale).expand(3, -1, -1)
            columns["degraded"].append(Image.fromarray(to_array(visible[None])))
            columns["target"].append(Image.fromarray(self.targets[i]))
            restored = pipe(prompt_embeds=conditions, **self.arguments(i)).images
            for name, image in zip(CONDITIONS, restored, strict=True):
                columns[name].append(image)
                for figure, value in self._measure(np.asarray(image), i).items():
                    values.setdefault(f"validation/{figure}/{name}", []).append(value)
        path.parent.mkdir(parents=True, exist_ok=True)
        cells = [
            [("" if i else name, image) for i, image in enumerate(images[:SHOWN])] for name, images in columns.items()
        ]
        with replacing(path) as temporary:
            draw_grid(cells, cell=max(64, len(self.targets[0]))).save(temporary)
        return {name: float(np.mean(each)) for name, each in values.items()}

    def _measure(self, result: np.ndarray, index: int) -> dict[str, float]:
        target, mask = self.targets[index], self.damages[index].get("mask")
        where = None if mask is None else mask[0].bool().numpy()
        values = {"psnr": functional.psnr(result, target, where), "ssim": functional.ssim(result, target, where)}
        if self.lpips:
            region = None if mask is None else mask[None].bool().to(self.encoder.device)
            images = (to_tensor(image, self.encoder.device) for image in (result, target))
            values["lpips"] = self.lpips(*images, region).item()
        return values
