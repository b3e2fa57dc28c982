"""Trains the image tower, its late stages included, and the head of the text tower."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from textir_hf.atomic import replacing
from textir_hf.models.towers import ImageTower
from training.encoder.frozen import embed
from training.encoder.measure import balanced_accuracy, recall
from training.encoder.sources import CaptionSource, Draw, LabeledSource, Source
from training.encoder.texts import FrozenTexts

_FLOOR = 0.02  # of the cosine schedule, as a share of the full learning rates
_SHOWN = 20  # steps between two reports
_DRAWN, _ASKED = range(2)  # what a step's random numbers are for


@dataclass
class TuningConfig:
    """Options of a stage.

    Args:
        steps: In all.
        sizes: Images of each source in a step.
        weights: Of the sources' losses.
        backbone_rate: Learning rate of the image tower's last stages.
        image_rate: Of the image tower's head and of the temperature.
        text_rate: Of the text tower's head.
        weight_decay: Of AdamW.
        warmup: Steps until the full learning rates, which then fall along a cosine.
        first_stage: The first stage of the backbone that learns.
        average: Decay of the running average of the weights, which is measured and written.
        measure_minutes: Minutes between two checkpoints, each with a measurement of the held-out images.
        workers: Processes that decode and vary images.
    """

    steps: int = 3000
    sizes: tuple[int, ...] = (112, 48, 32)
    weights: tuple[float, ...] = (1.0, 0.6, 0.4)
    backbone_rate: float = 2.5e-4
    image_rate: float = 4e-4
    text_rate: float = 4e-4
    weight_decay: float = 0.1
    warmup: int = 30
    first_stage: int = 3
    average: float = 0.995
    measure_minutes: float = 5.0
    workers: int = 0


class Draws(Dataset):
    """What each step takes from the sources: draws and images, which follow from the step's number alone.

    Args:
        sources: Of the run.
        sizes: Images of each source in a step.
        side: Of the images, pixels.
    """

    def __init__(self, sources: list[Source], sizes: tuple[int, ...], side: int) -> None:
        self.sources, self.sizes, self.side = sources, sizes, side

    def __getitem__(self, step: int) -> tuple[list[Draw], Tensor]:
        rng = np.random.default_rng([_DRAWN, step])
        draws = [source.draw(size, rng) for source, size in zip(self.sources, self.sizes, strict=True)]
        pixels = [
            source.images.augmented(draw.rows, self.side, source.least_crop, rng)
            for source, draw in zip(self.sources, draws, strict=True)
        ]
        return draws, torch.cat(pixels)


def _as_drawn(item):
    return item


class Tuner:
    """The networks of a stage with their optimizer, average and random state, on the image tower's device.

    Args:
        tower: Image tower.
        texts: Embeds sentences by their numbers.
        sources: What a step consists of, by name.
        config: Options.
        folder: Of the checkpoint.
        log_scale: Logarithm of the inverse temperature to begin with.
    """

    def __init__(
        self,
        tower: ImageTower,
        texts: FrozenTexts,
        sources: dict[str, Source],
        config: TuningConfig,
        folder: Path,
        log_scale: Tensor,
    ) -> None:
        self.tower = nn.utils.convert_conv2d_weight_memory_format(tower, torch.channels_last)
        self.device = next(tower.parameters()).device
        self.texts, self.sources, self.config, self.folder = texts.to(self.device), sources, config, folder
        self.log_scale = nn.Parameter(log_scale.to(self.device, copy=True))
        self.modules = nn.ModuleDict({"image": tower, "text": texts})
        tower.backbone.requires_grad_(True)
        for part in (tower.backbone.stem, *tower.backbone.stages[: config.first_stage]):
            part.requires_grad_(False)
        if config.first_stage == len(tower.backbone.stages):
            tower.backbone.head.requires_grad_(False)
        self.optimizer = self._optimizer()
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)
        self.batches: Iterator[tuple[list[Draw], Tensor]] | None = None
        self.step = 0
        self.averaged = {name: value.clone() for name, value in self._learning().items()}

    def _optimizer(self) -> torch.optim.AdamW:
        late = [p for p in self.tower.backbone.parameters() if p.requires_grad]
        head = [p for name, p in self.tower.named_parameters() if not name.startswith("backbone.")]
        text = [p for p in self.texts.parameters() if p.requires_grad]
        rates = (self.config.backbone_rate, self.config.image_rate, self.config.text_rate)
        groups = zip((late, [*head, self.log_scale], text), rates, strict=True)
        return torch.optim.AdamW(
            [{"params": parameters, "lr": rate} for parameters, rate in groups if parameters],
            betas=(0.9, 0.98),
            weight_decay=self.config.weight_decay,
        )

    def _rate(self, step: int) -> float:
        """Share of the full learning rates."""
        cosine = 0.5 * (1 + math.cos(math.pi * min(step / self.config.steps, 1)))
        return min((step + 1) / max(self.config.warmup, 1), _FLOOR + (1 - _FLOOR) * cosine)

    def _learning(self) -> dict[str, Tensor]:
        return {name: value.detach() for name, value in self.modules.named_parameters() if value.requires_grad}

    def train_step(self) -> Tensor:
        """One update; the loss of each source, on the device."""
        self.modules.train()
        self.optimizer.zero_grad()
        scale = self.log_scale.exp().clamp(max=100)
        rng, sources = np.random.default_rng([_ASKED, self.step]), list(self.sources.values())
        draws, pixels = next(self._batches())
        with torch.autocast(self.device.type, torch.bfloat16):
            embedded = F.normalize(self._embed(pixels).float(), dim=-1)
        losses = torch.stack(  # similarities in fp32: bf16 cannot tell neighbors apart
            [
                source.loss(draw, images, self.texts, scale, rng)
                for source, draw, images in zip(sources, draws, embedded.split(self.config.sizes), strict=True)
            ]
        )
        weights = torch.tensor(self.config.weights, device=self.device)
        (losses * weights).sum().backward()
        nn.utils.clip_grad_norm_([p for group in self.optimizer.param_groups for p in group["params"]], 5.0)
        self.optimizer.step()
        self.schedule.step()
        self.step += 1
        decay = min(self.config.average, self.step / (self.step + 10))
        learned = self._learning()
        torch._foreach_lerp_([self.averaged[name] for name in learned], list(learned.values()), 1 - decay)
        return losses.detach()

    def _batches(self) -> Iterator[tuple[list[Draw], Tensor]]:
        """The draws and images of this step and those after it."""
        if self.batches is None:
            draws = Draws(list(self.sources.values()), self.config.sizes, self.side)
            steps = range(self.step, self.config.steps)
            loader = DataLoader(
                draws,
                batch_size=None,
                sampler=steps,
                num_workers=self.config.workers,
                collate_fn=_as_drawn,
                pin_memory=self.device.type == "cuda",
                generator=torch.Generator(),  # else the loader draws from the state that dropout follows
            )
            self.batches = iter(loader)
        return self.batches

    @property
    def side(self) -> int:
        """Side of the images that the tower sees, pixels."""
        return self.tower.grid * 32

    def _embed(self, pixels: Tensor) -> Tensor:
        pixels = pixels.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        return embed(self.tower, pixels, self.config.first_stage)

    def swap(self) -> None:
        """Exchanges the weights and their average."""
        for name, value in self._learning().items():
            kept = value.clone()
            value.copy_(self.averaged[name])
            self.averaged[name].copy_(kept)

    def save(self) -> None:
        """Writes `checkpoint.pt`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        captions = [source for source in self.sources.values() if isinstance(source, CaptionSource)]
        state = {
            "modules": self.modules.state_dict(),
            "averaged": self.averaged,
            "log_scale": self.log_scale.data,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "torch": torch.get_rng_state(),
            "memories": [(source.memory_rows, source.memory) for source in captions],
            "step": self.step,
        }
        with replacing(self.folder / "checkpoint.pt") as temporary:
            torch.save(state, temporary)

    def resume(self) -> None:
        """Goes on from `checkpoint.pt`, if there is one."""
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.modules.load_state_dict(state["modules"])
        self.averaged, self.step, self.batches = state["averaged"], state["step"], None
        self.log_scale.data.copy_(state["log_scale"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["torch"].cpu())
        captions = [source for source in self.sources.values() if isinstance(source, CaptionSource)]
        for source, (rows, memory) in zip(captions, state["memories"], strict=True):
            source.memory_rows, source.memory = rows, memory

    @torch.no_grad()
    def held_out(self) -> dict[str, dict[str, float]]:
        """Recall of captions and balanced accuracy of pairs on held-out images, by source; of the averaged weights."""
        self.swap()
        self.modules.eval()
        measured = {}
        for name, source in self.sources.items():
            rows = source.images.held_out
            if len(rows) and isinstance(source, CaptionSource):
                measured[name] = recall(self._embed_rows(source, rows), source, rows, self.texts)
            elif len(rows) and isinstance(source, LabeledSource):
                measured[name] = balanced_accuracy(self._embed_rows(source, rows), source, rows, self.texts)
        self.swap()
        return measured

    def _embed_rows(self, source: Source, rows: np.ndarray, size: int = 64) -> Tensor:
        """`[N, D]` at unit length, fp32."""
        parts = [source.images.normalized(rows[i : i + size], self.side) for i in range(0, len(rows), size)]
        with torch.autocast(self.device.type, torch.bfloat16):
            return F.normalize(torch.cat([self._embed(part).float() for part in parts]), dim=-1)

    def run(self, max_minutes: float = math.inf) -> None:
        """Trains until the steps or the minutes are over, and keeps a checkpoint."""
        start = saved = time.monotonic()
        first, losses = self.step, torch.zeros(len(self.sources), device=self.device)
        while self.step < self.config.steps and time.monotonic() - start < 60 * max_minutes:
            losses += self.train_step()
            if self.step % _SHOWN == 0:
                means = zip(self.sources, (losses / _SHOWN).tolist(), strict=True)
                print(f"step {self.step}:", *(f"{name} {mean:.3f}" for name, mean in means), flush=True)
                losses.zero_()
            if time.monotonic() - saved > 60 * self.config.measure_minutes:
                self._keep()
                saved = time.monotonic()
        if self.step > first:
            self._keep()

    def _keep(self) -> None:
        self.save()
        for name, shares in self.held_out().items():
            print(f"step {self.step}, held-out {name}:", *(f"{k} {v:.1f}" for k, v in shares.items()), flush=True)
