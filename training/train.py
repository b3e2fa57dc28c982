"""Trains a TextIR generator for one task on one machine.

python -m training.train --task inpainting --data faces.parquet --masks masks.parquet --output_dir runs/inpainting
"""

import json
import random
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm
from transformers import HfArgumentParser

from textir_hf import degradations
from textir_hf.clip import TextRecentering, embed_texts
from textir_hf.generator import TextIRGenerator
from training import losses
from training.captions import domain_sentences
from training.data import HoleSampler, draw_factor, embed_pictures, load_masks, load_pictures
from training.discriminator import Discriminator
from training.train_clip import CHECKPOINT
from training.train_clip import load as load_clip

TASKS = {  # task: in_channels, out_channels, strength_source, input_scale, output_scale
    "inpainting": (4, 3, "encoder", 1.0, 1.0),
    "super-resolution": (3, 3, "input", 1.0, 1.0),
    "colorization": (1, 2, "encoder", 0.01, 50.0),
}
LOG = ("l1", "clip", "features", "perceptual", "adversarial", "discriminator", "r1")


@dataclass
class TrainingConfig:
    """Everything that decides a run; the lambdas are those of TextIR, Eq. 8, where the defaults are the paper's."""

    task: str = field(metadata={"help": "inpainting, super-resolution or colorization"})
    data: list[str] = field(metadata={"help": "parquet files with the columns image and split"})
    output_dir: str = field(metadata={"help": "where checkpoints, pictures and the trained network go"})
    masks: str | None = field(default=None, metadata={"help": "parquet file of irregular hole masks"})
    clip: str = field(default=str(CHECKPOINT), metadata={"help": "folder of the dual encoder"})
    vgg: str | None = field(default=None, metadata={"help": "safetensors file of VGG16, for lambda_perceptual"})
    init_from: str | None = field(default=None, metadata={"help": "folder of a network to start from, of any size"})
    sample_size: int = 128
    channels: list[int] = field(default_factory=lambda: [32, 64, 128, 192])
    style_dim: int = 128
    discriminator_channels: list[int] = field(default_factory=lambda: [16, 32, 64, 128])
    batch_size: int = 16
    max_steps: int = 300_000
    max_minutes: float = field(default=0.0, metadata={"help": "stop after so many minutes of this run; 0 = never"})
    learning_rate: float = 2e-3
    beta1: float = field(default=0.0, metadata={"help": "Adam's momentum of the generator; the discriminator has none"})
    lambda_adversarial: float = 0.01
    lambda_clip: float = field(default=0.5, metadata={"help": "the paper has 0.5 for inpainting, else 0.1"})
    lambda_l1: float = 1.0
    lambda_perceptual: float = 0.01
    lambda_features: float = field(default=0.0, metadata={"help": "weight of the embedded encoder's feature loss"})
    adversarial_start: int = field(default=0, metadata={"help": "step from which the discriminator takes part"})
    r1_weight: float = 10.0
    r1_every: int = 16
    embedding_noise: float = field(default=0.0, metadata={"help": "length of the noise added to the condition"})
    ema_half_life: int = field(default=5000, metadata={"help": "pictures after which an old weight counts half"})
    bf16: bool = True
    validation_steps: int = 250
    checkpointing_steps: int = 250
    seed: int = 0

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"task must be one of {', '.join(TASKS)}, got {self.task!r}.")
        if self.sample_size % 2 ** (len(self.channels) - 1):
            raise ValueError(
                f"sample_size must be a multiple of {2 ** (len(self.channels) - 1)} for {len(self.channels)} levels, "
                f"got {self.sample_size}."
            )
        if self.lambda_perceptual and not self.vgg:
            raise ValueError(
                "lambda_perceptual needs the weights of VGG16: give their safetensors file with --vgg, or set it to 0."
            )


class Trainer:
    """Holds networks, optimizers and data; `run` is the loop."""

    def __init__(self, config: TrainingConfig) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.folder = Path(config.output_dir)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "training_config.json").write_text(json.dumps(asdict(config), indent=2))
        self.clip, self.tokenizer, self.image_processor = load_clip(Path(config.clip))
        self.clip.requires_grad_(False)
        in_channels, out_channels, source, input_scale, output_scale = TASKS[config.task]
        self.generator, self.ema = (
            TextIRGenerator(
                task=config.task,
                sample_size=config.sample_size,
                in_channels=in_channels,
                out_channels=out_channels,
                channels=tuple(config.channels),
                embedding_dim=self.clip.config.projection_dim,
                style_dim=config.style_dim,
                strength_source=source,
                input_scale=input_scale,
                output_scale=output_scale,
            ).to(memory_format=torch.channels_last)
            for _ in range(2)
        )
        if config.init_from:
            self.generator.load_state_dict(TextIRGenerator.from_pretrained(config.init_from).state_dict())
        self.ema.load_state_dict(self.generator.state_dict())
        self.ema.eval().requires_grad_(False)
        self.discriminator = Discriminator(config.sample_size, tuple(config.discriminator_channels))
        self.discriminator.to(memory_format=torch.channels_last)
        rate = config.learning_rate
        self.optimizer = torch.optim.Adam(self.generator.parameters(), rate, (config.beta1, 0.99))
        self.discriminator_optimizer = torch.optim.Adam(self.discriminator.parameters(), rate, (0.0, 0.99))
        self.features = losses.EncoderFeatureLoss(self.clip.image_tower.backbone) if config.lambda_features else None
        self.perceptual = losses.VGGPerceptualLoss(config.vgg) if config.lambda_perceptual else None
        self.step, self.rng, self.random = 0, torch.Generator().manual_seed(config.seed), random.Random(config.seed)

        self.pictures = load_pictures(config.data, "train", config.sample_size)
        self.held_out = load_pictures(config.data, "test", config.sample_size)
        masks = load_masks(config.masks, "train", config.sample_size) if config.masks else None
        self.holes = HoleSampler(config.sample_size, masks)
        self.embeddings = self._embeddings()
        self.recentering = self._recentering()

    def _embeddings(self) -> Tensor:
        path = self.folder / "embeddings.pt"
        if not path.exists():
            torch.save(embed_pictures(self.clip, self.image_processor, self.pictures), path)
        return torch.load(path, weights_only=True)

    @torch.inference_mode()
    def _recentering(self) -> TextRecentering:
        sentences = domain_sentences(self.config.data)
        parts = [embed_texts(self.clip, self.tokenizer, sentences[i : i + 64]) for i in range(0, len(sentences), 64)]
        text, image = torch.cat(parts), self.embeddings.flatten(0, 1)
        text_spread, image_spread = ((e - e.mean(0)).norm(dim=1).mean().item() for e in (text, image))
        module = TextRecentering(text.shape[1], scale=image_spread / text_spread)
        module.text_mean.copy_(text.mean(0))
        module.image_mean.copy_(image.mean(0))
        return module

    def degrade(self, target: Tensor, rng: random.Random) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """`[N, 3, S, S]` in [0, 1] to the network's input, and the inpainting's mask or the strengths."""
        if self.config.task == "inpainting":
            mask = self.holes(len(target), rng)
            return degradations.mask_out(target, mask), mask, None
        if self.config.task == "super-resolution":
            factors = [draw_factor(rng) for _ in target]
            small = [degradations.lose_resolution(t[None], f) for t, f in zip(target, factors, strict=True)]
            return torch.cat(small), None, torch.tensor(factors) / degradations.MAX_FACTOR
        return degradations.lightness(target), None, None

    def finish(self, sample: Tensor, target: Tensor, degraded: Tensor, mask: Tensor | None) -> Tensor:
        """The network's output as an RGB image `[N, 3, S, S]`, with the known pixels of an inpainting in place."""
        if self.config.task == "inpainting":
            return degradations.composite(target, sample, mask)
        if self.config.task == "colorization":
            # Colours beyond sRGB would meet the clipping's zero gradient, and the root of lab_to_rgb has none at 0.
            return degradations.join_lab(degraded.clamp(1, 99), sample)
        return sample

    def train_step(self) -> dict[str, Tensor]:
        """One update of the generator and, once it takes part, of the discriminator (Eq. 6 to 8)."""
        config = self.config
        rows = torch.randint(len(self.pictures), (config.batch_size,), generator=self.rng)
        flip = torch.randint(2, (config.batch_size,), generator=self.rng)
        target = self.pictures[rows].float() / 255
        target = torch.where(flip[:, None, None, None] > 0, target.flip(-1), target)
        target = target.to(memory_format=torch.channels_last)
        embedding = self.embeddings[flip, rows]
        noise = torch.randn(embedding.shape, generator=self.rng) * config.embedding_noise / embedding.shape[1] ** 0.5
        condition = F.normalize(embedding + noise, dim=1)
        degraded, mask, strength = self.degrade(target, self.random)
        autocast = torch.autocast("cpu", torch.bfloat16, enabled=config.bf16)

        with autocast:
            sample = self.generator(degraded, condition, strength).sample.float()
        restored = self.finish(sample, target, degraded, mask)
        if config.task == "colorization":
            values = {"l1": F.smooth_l1_loss(sample / 100, degradations.chroma(target) / 100, beta=0.1)}
        else:
            values = {"l1": F.l1_loss(restored, target)}
        with autocast:
            if config.lambda_clip:
                values["clip"] = losses.clip_loss(self.clip, self.image_processor, restored, embedding)
            if self.features:
                values["features"] = self.features(restored, target)
            if self.perceptual:
                values["perceptual"] = self.perceptual(restored, target)
            adversarial = config.lambda_adversarial > 0 and self.step >= config.adversarial_start
            if adversarial:
                self.discriminator.requires_grad_(False)
                values["adversarial"] = losses.generator_loss(self.discriminator(restored).float())
        weights = {
            "l1": config.lambda_l1,
            "clip": config.lambda_clip,
            "features": config.lambda_features,
            "perceptual": config.lambda_perceptual,
            "adversarial": config.lambda_adversarial,
        }
        total = sum(weights[name] * value for name, value in values.items())
        if not torch.isfinite(total):
            terms = ", ".join(f"{n} {v.item():.3g}" for n, v in values.items())
            raise FloatingPointError(f"The loss is not finite at step {self.step}: {terms}.")
        self.optimizer.zero_grad()
        total.backward()
        self.optimizer.step()
        if adversarial:
            values |= self._discriminator_step(target, restored.detach(), autocast)
        self._update_ema()
        self.step += 1
        return {name: value.detach() for name, value in values.items()}

    def _discriminator_step(self, target: Tensor, restored: Tensor, autocast) -> dict[str, Tensor]:
        config = self.config
        self.discriminator.requires_grad_(True)
        with autocast:
            logits = self.discriminator(torch.cat([target, restored])).float()
            real, fake = logits.chunk(2)
            values = {"discriminator": losses.discriminator_loss(real, fake)}
        total = config.lambda_adversarial * values["discriminator"]
        if self.step % config.r1_every == 0:
            images = target.detach().requires_grad_()
            values["r1"] = losses.r1_penalty(self.discriminator(images), images)
            total = total + config.lambda_adversarial * config.r1_weight / 2 * config.r1_every * values["r1"]
        self.discriminator_optimizer.zero_grad()
        total.backward()
        self.discriminator_optimizer.step()
        return values

    @torch.no_grad()
    def _update_ema(self) -> None:
        decay = min(0.5 ** (self.config.batch_size / self.config.ema_half_life), (1 + self.step) / (10 + self.step))
        for average, value in zip(self.ema.parameters(), self.generator.parameters(), strict=True):
            average.lerp_(value, 1 - decay)

    def run(self) -> None:
        """Trains to `max_steps` or `max_minutes`, saving as it goes."""
        self.resume()
        start, config = time.monotonic(), self.config
        with tqdm(total=config.max_steps, initial=self.step, desc=config.task) as bar:
            while self.step < config.max_steps and not (
                config.max_minutes and time.monotonic() - start > 60 * config.max_minutes
            ):
                values = {name: value.item() for name, value in self.train_step().items()}
                bar.set_postfix({n: f"{values[n]:.3f}" for n in LOG if n in values})
                bar.update()
                with (self.folder / "metrics.jsonl").open("a") as file:
                    file.write(json.dumps({"step": self.step} | values) + "\n")
                if self.step % config.validation_steps == 0:
                    self.validate()
                if self.step % config.checkpointing_steps == 0:
                    self.save()
        self.save()
        self.validate()

    def _state(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        return {
            "generator": self.generator,
            "ema": self.ema,
            "discriminator": self.discriminator,
            "optimizer": self.optimizer,
            "discriminator_optimizer": self.discriminator_optimizer,
        }

    def save(self) -> None:
        """Writes the resumable state and the averaged network; an older one stays whole until the new one is."""
        version, words, gauss = self.random.getstate()
        state = {name: part.state_dict() for name, part in self._state().items()}
        state |= {"step": self.step, "rng": self.rng.get_state(), "random": [version, list(words), gauss]}
        state["task"] = self.config.task
        temporary = self.folder / "state.tmp"
        torch.save(state, temporary)
        temporary.replace(self.folder / "state.pt")
        self.ema.save_pretrained(self.folder / "restorer")
        self.recentering.save_pretrained(self.folder / "recentering")

    def resume(self) -> None:
        """Goes on from `state.pt` in the output folder, if it is there.

        Raises:
            ValueError: The state belongs to another task.
        """
        path = self.folder / "state.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        if state["task"] != self.config.task:
            raise ValueError(f"{path} holds a {state['task']} run, got --task {self.config.task}. Use another folder.")
        for name, part in self._state().items():
            part.load_state_dict(state[name])
        self.step = state["step"]
        self.rng.set_state(state["rng"])
        version, words, gauss = state["random"]
        self.random.setstate((version, tuple(words), gauss))

    @torch.inference_mode()
    def validate(self, count: int = 8) -> None:
        """Writes a sheet of held-out pictures: degraded, restored, target from top to bottom."""
        target = self.held_out[torch.linspace(0, len(self.held_out) - 1, count).long()].float() / 255
        embedding = embed_pictures(self.clip, self.image_processor, (target * 255).byte())[0]
        degraded, mask, strength = self.degrade(target, random.Random(1))
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.bf16):
            sample = self.ema(degraded, embedding, strength).sample.float()
        restored = self.finish(sample, target, degraded, mask).clamp(0, 1)
        shown = degraded[:, :3] if degraded.shape[1] > 1 else degraded.expand(-1, 3, -1, -1) / 100
        rows = [torch.cat(list(r), 2) for r in (shown, restored, target)]
        sheet = (torch.cat(rows, 1).movedim(0, -1) * 255).round().byte().numpy()
        (self.folder / "validation").mkdir(exist_ok=True)
        Image.fromarray(sheet).save(self.folder / "validation" / f"{self.step:07d}.png")


def main() -> None:
    try:
        (config,) = HfArgumentParser(TrainingConfig).parse_args_into_dataclasses()
        Trainer(config).run()
    except (ValueError, FileNotFoundError, FloatingPointError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
