"""Trains a TextIR generator for one task, on a laptop or on many GPUs.

accelerate launch -m training.train --preset textir-mini-inpainting --data_files faces.parquet --output_dir runs/faces
accelerate launch -m training.train --preset inpainting-ffhq-256 --train_data_dir ffhq --output_dir runs/ffhq
"""

import json
import math
import shutil
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, DistributedType
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.utils import broadcast_object_list, gather_object, set_seed
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn import functional as F
from torch.utils.data import DataLoader
from tqdm import tqdm

from textir_hf.evaluation.data import load_masks
from textir_hf.imaging import color, masks, resample
from textir_hf.models.embedding import ENCODER, embed_images, load_encoder
from textir_hf.models.generator import TextIRGenerator
from textir_hf.tasks.super_resolution import MAX_FACTOR
from training import losses
from training.config import TASKS, TrainingConfig, parse
from training.data import (
    MOST_CORRUPT,
    Degrader,
    Pictures,
    SampleNumbers,
    StreamedPictures,
    StreamedRows,
    collate,
    training_and_held_out,
)
from training.discriminator import Discriminator
from training.embeddings import cached_embeddings, recentering
from training.grow import adopt, grow
from training.publish import push, write_pipeline
from training.recolor import surroundings
from training.validation import Validation, plot_curves

LOG = ("l1", "clip", "features", "perceptual", "adversarial", "discriminator", "r1")
SAME = ("task", "sample_size", "channels", "style_dim", "discriminator_channels", "streaming", "seed", "clip")


class Progress:
    """What a checkpoint holds besides networks and optimizers: the averaged weights and how far the run is."""

    def __init__(self, parameters: list[Tensor]) -> None:
        self.step, self.samples = 0, 0
        self.average = [whole(p).clone() for p in parameters]
        self.positions: dict[int, dict] = {}  # of the processes in their streams

    def update_average(self, parameters: list[Tensor], batch: int, half_life: int) -> None:
        decay = min(0.5 ** (batch / half_life), (1 + self.step) / (10 + self.step))
        for average, value in zip(self.average, parameters, strict=True):
            average.lerp_(whole(value), 1 - decay)

    def state_dict(self) -> dict:
        return dict(vars(self))

    def load_state_dict(self, state: dict) -> None:
        for average, value in zip(self.average, state.pop("average"), strict=True):
            average.copy_(value)
        vars(self).update(state)


class Trainer:
    """Holds networks, optimizers and data; `run` is the loop."""

    def __init__(self, config: TrainingConfig) -> None:
        config.check_inputs()
        self.config, self.folder = config, Path(config.output_dir)
        self.folder.mkdir(parents=True, exist_ok=True)
        unused = DistributedDataParallelKwargs(find_unused_parameters=not config.noise)
        self.accelerator = Accelerator(
            cpu=not torch.accelerator.is_available(),
            mixed_precision=config.mixed_precision,
            log_with=config.report_to,
            project_dir=config.output_dir,
            kwargs_handlers=[unused],
        )
        _check_distribution(self.accelerator)
        self.device = self.accelerator.device
        set_seed(config.seed)
        self.clip, self.tokenizer, self.image_processor = load_encoder(config.clip)
        self.clip.requires_grad_(False).to(self.device)
        self._build_networks()
        self._build_losses()
        self._build_data()
        self.validation = Validation(config, self.held_out, self.degrader, self)
        self.corrupt: set[str] = set()
        self.waited = 0.0

    def _build_networks(self) -> None:
        config = self.config
        in_channels, out_channels, source, input_scale, output_scale = TASKS[config.task]
        self.network = {
            "task": config.task,
            "sample_size": config.sample_size,
            "in_channels": in_channels,
            "out_channels": out_channels,
            "channels": tuple(config.channels),
            "embedding_dim": self.clip.config.projection_dim,
            "style_dim": config.style_dim,
            "strength_source": source,
            "input_scale": input_scale,
            "output_scale": output_scale,
        }
        generator = TextIRGenerator(**self.network)
        if config.init_from:
            start = TextIRGenerator.from_pretrained(config.init_from)
            (adopt if len(start.config.channels) == len(config.channels) else grow)(start, generator)
        if config.gradient_checkpointing:
            generator.enable_gradient_checkpointing()
        discriminator = Discriminator(config.sample_size, tuple(config.discriminator_channels))
        self.generator, self.optimizer = self._prepare(generator, config.beta1)
        self.discriminator, self.discriminator_optimizer = self._prepare(discriminator, 0.0)
        self.progress = Progress(list(self.generator.parameters()))
        self.accelerator.register_for_checkpointing(self.progress)
        self.restorer = TextIRGenerator(**self.network).to(self.device).eval().requires_grad_(False)

    def _prepare(self, network: nn.Module, beta1: float) -> tuple[nn.Module, AcceleratedOptimizer]:
        """A network and its optimizer, shared by the processes: copied (DDP), or in pieces (FSDP2)."""
        if self.accelerator.is_fsdp2:  # takes no scalars and no channels_last; casting is autocast's
            self.accelerator.state.fsdp_plugin.mixed_precision_policy = None
            for parameter in network.parameters():
                parameter.data = torch.atleast_1d(parameter.data)
        else:
            network = network.to(memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(network.parameters(), self.config.learning_rate, (beta1, 0.99))
        return self.accelerator.prepare(network, optimizer)

    def _build_losses(self) -> None:
        config = self.config
        self.features = self.perceptual = None
        if config.lambda_features:
            backbone = self.clip.image_tower.backbone if config.clip == ENCODER else None
            backbone = backbone or load_encoder(ENCODER)[0].image_tower.backbone
            self.features = losses.EncoderFeatureLoss(backbone.requires_grad_(False)).to(self.device)
        if config.lambda_perceptual:
            self.perceptual = losses.VGGPerceptualLoss(losses.vgg_file(config.vgg)).to(self.device)
        self.weights = {
            "l1": config.lambda_l1,
            "clip": config.lambda_clip,
            "features": config.lambda_features,
            "perceptual": config.lambda_perceptual,
            "adversarial": config.lambda_adversarial,
        }

    def _build_data(self) -> None:
        config, accelerator = self.config, self.accelerator
        with accelerator.main_process_first():
            self.rows, self.held_out = training_and_held_out(config)
            masks = load_masks(config.masks, "train", config.sample_size) if config.masks else None
        changes = (config.least_crop, config.color_jitter, config.recolor_probability)
        self.degrader = Degrader(config.task, config.sample_size, masks, config.seed, *changes)
        self.embeddings = None
        if config.cache_embeddings:
            with accelerator.main_process_first():
                precision = accelerator.mixed_precision
                self.embeddings = cached_embeddings(self.embed, self.clip, precision, self.rows, config)
        parts = (self.clip, self.tokenizer, self.embed, self.embeddings)
        self.recentering, self.sentences = recentering(config, self.rows, *parts)

    def batches(self):
        """Batches of this process from where the run stands, without end."""
        config, accelerator, progress = self.config, self.accelerator, self.progress
        process, processes = accelerator.process_index, accelerator.num_processes
        if config.streaming:
            pictures = StreamedPictures(self.degrader)
            items = StreamedRows(self.rows, config, process, processes, progress.positions.get(process))
        else:
            pictures = Pictures(self.rows, config.image_column, self.degrader)
            items = SampleNumbers(progress.samples, config.train_batch_size, process, processes)
        loader = DataLoader(
            pictures,
            batch_sampler=items,
            num_workers=config.dataloader_num_workers,
            collate_fn=collate,
            pin_memory=self.device.type == "cuda",
        )
        iterator = iter(loader)
        while True:
            start = time.perf_counter()
            batch = next(iterator)
            self.waited += time.perf_counter() - start
            self._count_corrupt(batch.pop("corrupt"))
            position = batch.pop("position")
            if position:
                progress.positions[process] = position
            progress.samples += processes * config.train_batch_size
            yield {key: value.to(self.device, non_blocking=True) for key, value in batch.items()}

    def _count_corrupt(self, names: list[str]) -> None:
        for name in set(names) - self.corrupt:
            self.corrupt.add(name)
            tqdm.write(f"warning: damaged picture {len(self.corrupt)} skipped: {name}", file=sys.stderr)
        seen = max(1000, self.progress.samples) if self.config.streaming else len(self.rows)
        if len(self.corrupt) > MOST_CORRUPT * seen:
            raise ValueError(
                f"{len(self.corrupt)} of {seen} pictures are damaged, more than {MOST_CORRUPT:.0%}: "
                f"{', '.join(sorted(self.corrupt)[:20])}. Remove or replace them."
            )

    def embed(self, images: Tensor) -> Tensor:
        """Image embeddings of `[N, 3, S, S]` in [0, 1], without gradients: `[N, D]`."""
        images = images.to(self.device, memory_format=torch.channels_last)
        with torch.no_grad(), self.accelerator.autocast():
            return embed_images(self.clip, self.image_processor, images)

    def finish(self, sample: Tensor, target: Tensor, degraded: Tensor, mask: Tensor | None) -> Tensor:
        """The network's output as an RGB image `[N, 3, S, S]`, with the known pixels of an inpainting in place."""
        if self.config.task == "inpainting":
            return masks.composite(target, sample, mask)
        if self.config.task == "colorization":
            # Colors beyond sRGB would meet the clipping's zero gradient, and the root of lab_to_rgb has none at 0.
            return color.join_lab(degraded.clamp(1, 99), sample)
        return sample

    def _generator_losses(self, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """The terms of Eq. 8, the target and the restored images."""
        config, autocast = self.config, self.accelerator.autocast
        target = (batch["target"].float() / 255).to(memory_format=torch.channels_last)
        if self.embeddings is None:
            embedding = self.embed(target)
        else:
            embedding = self.embeddings[batch["flip"].cpu(), batch["row"].cpu()].to(self.device)
        sources = [torch.Generator(self.device).manual_seed(int(s)) for s in batch["seed"]]
        noise = torch.stack([torch.randn(embedding.shape[1], generator=g, device=self.device) for g in sources])
        embedding, swapped = self._swap(embedding, sources)
        condition = F.normalize(embedding + noise * config.embedding_noise / embedding.shape[1] ** 0.5, dim=1)
        degraded, mask, strength = batch["degraded"], batch.get("mask"), batch.get("strength")
        degraded = degraded.to(memory_format=torch.channels_last)
        sample = self.generator(degraded, condition, strength, sources if config.noise else None).sample.float()
        restored = self.finish(sample, target, degraded, mask)
        if config.task == "colorization":
            wanted = color.chroma(target)
            error = F.smooth_l1_loss(sample / 100, wanted / 100, beta=0.1, reduction="none")
        else:
            error = (restored - target).abs()
        # What another condition leaves as it is: a hole's border, the small picture, what lies around an object.
        if swapped.any() and config.task == "colorization":
            error = torch.where(swapped[:, None, None, None], error * surroundings(degraded, wanted), error)
        if swapped.any() and config.task == "inpainting":
            error = torch.where(swapped[:, None, None, None], error * 2 * losses.rim(mask), error)
        error = error.mean((1, 2, 3))
        if swapped.any() and config.task == "super-resolution":
            error = [*error]
            for i in swapped.nonzero().flatten().tolist():
                factor = strength[i].item() * MAX_FACTOR
                error[i] = F.l1_loss(*(resample.shrink(x[i : i + 1], factor) for x in (restored, target)))
            error = torch.stack(error)
        values = {"l1": error.mean()}
        with autocast():
            if config.lambda_clip and self.progress.step >= config.clip_start:
                values["clip"] = losses.clip_loss(self.clip, self.image_processor, restored, embedding)
            for name, loss in (("features", self.features), ("perceptual", self.perceptual)):
                if loss:
                    values[name] = self._matched(loss, restored, target, swapped)
        if self._adversarial():
            discriminator = self.accelerator.unwrap_model(self.discriminator)
            values["adversarial"] = losses.generator_loss(discriminator(restored).float())
        return values, target, restored

    @staticmethod
    def _matched(loss, restored: Tensor, target: Tensor, swapped: Tensor) -> Tensor:
        """The mean over the batch of a loss that counts only where the condition is the target's."""
        if not swapped.any():
            return loss(restored, target)
        share = (~swapped).float().mean()
        return loss(restored[~swapped], target[~swapped]) * share if share else restored.sum() * 0

    def _swap(self, embedding: Tensor, sources: list[torch.Generator]) -> tuple[Tensor, Tensor]:
        """Gives some pictures the next one's embedding, or a sentence's; also returns which, boolean `[N]`."""
        if not self.config.swap_probability:
            return embedding, torch.zeros(len(embedding), dtype=torch.bool, device=self.device)
        drawn = torch.stack([torch.rand(3, generator=g, device=self.device) for g in sources])
        swapped, other = drawn[:, 0] < self.config.swap_probability, embedding.roll(-1, 0)
        if self.sentences is not None:
            said = self.sentences[(drawn[:, 2].cpu() * len(self.sentences)).long()].to(other)
            other = torch.where(drawn[:, 1:2] < 0.5, said, other)
        return torch.where(swapped[:, None], other, embedding), swapped

    def _adversarial(self) -> bool:
        return self.config.lambda_adversarial > 0 and self.progress.step >= self.config.adversarial_start

    def _discriminator_losses(self, target: Tensor, restored: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        config = self.config
        real, fake = self.discriminator(torch.cat([target, restored])).float().chunk(2)
        values = {"discriminator": losses.discriminator_loss(real, fake)}
        total = config.lambda_adversarial * values["discriminator"]
        if self.progress.step % config.r1_every == 0:
            images = target.detach().requires_grad_()
            values["r1"] = losses.r1_penalty(self.discriminator(images, full_precision=True), images)
            total = total + config.lambda_adversarial * config.r1_weight / 2 * config.r1_every * values["r1"]
        return values, total

    def train_step(self, batches) -> dict[str, float]:
        """One update of the generator and, once it takes part, of the discriminator (Eq. 6 to 8).

        Raises:
            FloatingPointError: A loss is NaN or infinite.
        """
        accelerator, config = self.accelerator, self.config
        parts, sums = config.gradient_accumulation_steps, {}
        for part in range(parts):
            batch = next(batches)
            with ExitStack() as stack:
                if part < parts - 1:
                    for network in (self.generator, self.discriminator):
                        stack.enter_context(accelerator.no_sync(network))
                self.discriminator.requires_grad_(False)
                values, target, restored = self._generator_losses(batch)
                total = sum(self.weights[name] * value for name, value in values.items())
                self._check_finite(values, total)
                accelerator.backward(total / parts)
                self.discriminator.requires_grad_(True)
                if self._adversarial():
                    others, total = self._discriminator_losses(target, restored.detach())
                    values |= others
                    self._check_finite(values, total)
                    accelerator.backward(total / parts)
            for name, value in values.items():
                sums[name] = sums.get(name, 0) + value.detach().float() / parts
        optimizers = [self.optimizer, *([self.discriminator_optimizer] if self._adversarial() else [])]
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.progress.update_average(self.generator.parameters(), self.batch_size, config.ema_half_life)
        self.progress.step += 1
        means = accelerator.reduce(torch.stack(list(sums.values())), "mean")
        return dict(zip(sums, means.tolist(), strict=True))

    @property
    def batch_size(self) -> int:
        """Pictures in one update, of all processes."""
        config = self.config
        return config.train_batch_size * config.gradient_accumulation_steps * self.accelerator.num_processes

    def _check_finite(self, values: dict[str, Tensor], total: Tensor) -> None:
        if torch.isfinite(total):
            return
        terms = ", ".join(f"{n} {v.item():.3g}" for n, v in values.items() if not torch.isfinite(v)) or "their sum"
        last = self.checkpoints()[-1:]
        raise FloatingPointError(
            f"The loss is not finite at step {self.progress.step}: {terms}. "
            f"The last good checkpoint is {last[0] if last else 'none yet'}."
        )

    def run(self) -> Path:
        """Trains to `max_train_steps` or `max_minutes`, saving as it goes; returns the pipeline's folder."""
        accelerator, config, progress = self.accelerator, self.config, self.progress
        self.resume()
        if config.report_to:
            flat = {k: v if isinstance(v, (int, float, str)) else str(v) for k, v in vars(config).items()}
            accelerator.init_trackers("textir", flat)
        if accelerator.is_main_process:
            config.save(self.folder / "training_config.json")
        started, batches = time.monotonic(), self.batches()
        with tqdm(
            total=config.max_train_steps,
            initial=progress.step,
            desc=config.task,
            disable=not accelerator.is_local_main_process,
        ) as bar:
            while progress.step < config.max_train_steps and not self._out_of_time(started):
                begin, waited = time.perf_counter(), self.waited
                values = self.train_step(batches)
                seconds = time.perf_counter() - begin
                values |= {"images/s": self.batch_size / seconds, "waiting": (self.waited - waited) / seconds}
                bar.set_postfix({n: f"{values[n]:.3g}" for n in (*LOG, "images/s") if n in values})
                bar.update()
                self.log(values)
                if progress.step % config.validation_steps == 0:
                    self.validate()
                if progress.step % config.checkpointing_steps == 0:
                    self.save()
        if progress.step % config.checkpointing_steps:
            self.save()
        if progress.step % config.validation_steps:
            self.validate()
        return self.finalize()

    def _out_of_time(self, started: float) -> bool:
        late = [bool(self.config.max_minutes) and time.monotonic() - started > 60 * self.config.max_minutes]
        return broadcast_object_list(late)[0]  # all processes stop at one step

    def log(self, values: dict[str, float]) -> None:
        """Adds a line to `metrics.jsonl` and to the tracker."""
        self.accelerator.log(values, self.progress.step)
        if self.accelerator.is_main_process:
            with (self.folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps({"step": self.progress.step} | values) + "\n")

    def average(self) -> TextIRGenerator:
        """The generator with the averaged weights, on this process's device."""
        with torch.no_grad():
            for parameter, value in zip(self.restorer.parameters(), self.progress.average, strict=True):
                parameter.copy_(value.view_as(parameter))
        return self.restorer

    def validate(self) -> None:
        """Measures and shows the held-out pictures with the averaged weights."""
        if self.accelerator.is_main_process:
            values = self.validation.run(self.average(), self.folder / "validation" / f"{self.progress.step:07d}.png")
            if values:
                self.log({f"validation/{n}": v for n, v in values.items()})
        self.accelerator.wait_for_everyone()

    def checkpoints(self) -> list[Path]:
        """Whole checkpoints, the oldest first."""
        found = [p for p in self.folder.glob("checkpoint-*") if p.name.removeprefix("checkpoint-").isdigit()]
        return sorted(found, key=lambda p: int(p.name.removeprefix("checkpoint-")))

    def save(self) -> None:
        """Writes a checkpoint under a temporary name and renames it: whatever happens, none is ever half there.

        Raises:
            OSError: It cannot be written. Older checkpoints are whole.
        """
        accelerator, progress = self.accelerator, self.progress
        final = self.folder / f"checkpoint-{progress.step}"
        temporary = self.folder / f".writing-{final.name}"
        if self.config.streaming:
            gathered = gather_object([progress.positions])
            progress.positions = {k: v for positions in gathered for k, v in positions.items()}
        if accelerator.is_main_process:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
        accelerator.wait_for_everyone()
        try:
            accelerator.save_state(str(temporary))
            if accelerator.is_main_process:
                self.config.save(temporary / "training_config.json")
        except Exception as error:  # the libraries say "disk full" in several ways
            shutil.rmtree(temporary, ignore_errors=True)
            raise OSError(
                f"The checkpoint of step {progress.step} cannot be written ({error}). Older checkpoints are whole: "
                'free some space and go on with --resume_from_checkpoint "latest".'
            ) from error
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            shutil.rmtree(final, ignore_errors=True)
            temporary.rename(final)
            limit = self.config.checkpoints_total_limit
            for old in self.checkpoints()[: -limit or None] if limit else []:
                trash = self.folder / f".deleting-{old.name}"
                old.rename(trash)
                shutil.rmtree(trash)
        accelerator.wait_for_everyone()

    def resume(self) -> None:
        """Goes on from a checkpoint, if the config names one.

        Raises:
            ValueError: There is none where it should be, it is of another run, or a run would be overwritten.
        """
        wanted, found = self.config.resume_from_checkpoint, self.checkpoints()
        for rest in [*self.folder.glob(".writing-*"), *self.folder.glob(".deleting-*")]:
            if self.accelerator.is_main_process:
                shutil.rmtree(rest, ignore_errors=True)
        if not wanted:
            if found:
                raise ValueError(
                    f"{self.folder} holds the run that reached {found[-1].name}. Go on with --resume_from_checkpoint "
                    "latest, or choose another --output_dir."
                )
            if self.accelerator.is_main_process:
                (self.folder / "metrics.jsonl").unlink(missing_ok=True)
            return
        if wanted == "latest":
            if not found:  # killed before its first checkpoint, or not yet started
                self._keep_metrics(0)
                return
            wanted = found[-1]
        path = Path(wanted) if Path(wanted).is_dir() else self.folder / wanted
        if not (path / "training_config.json").is_file():
            raise ValueError(f"{wanted} is no checkpoint. {self.folder} has {[p.name for p in found] or 'none'}.")
        saved = json.loads((path / "training_config.json").read_text())
        for name in SAME:
            if saved[name] != getattr(self.config, name):
                raise ValueError(
                    f"{path} was made with --{name} {saved[name]}, got {getattr(self.config, name)}. Use the same, or "
                    "start another run from its network with --init_from."
                )
        for name in ("train_batch_size", "shuffle_buffer") if self.config.streaming else ():
            if saved[name] != getattr(self.config, name):
                raise ValueError(f"A stream goes on only with the same --{name}: {path} has {saved[name]}.")
        self.accelerator.load_state(str(path))
        for optimizer in (self.optimizer, self.discriminator_optimizer):
            for group in optimizer.param_groups:  # a run may go on at another rate
                group["lr"] = self.config.learning_rate
        readers, processes = len(self.progress.positions), self.accelerator.num_processes
        if self.config.streaming and readers not in (0, processes):
            raise ValueError(f"A stream goes on only with as many processes: {path} has {readers}, got {processes}.")
        self._keep_metrics(self.progress.step)

    def _keep_metrics(self, step: int) -> None:
        """Drops what was logged after the checkpoint."""
        path = self.folder / "metrics.jsonl"
        if self.accelerator.is_main_process and path.exists():
            lines = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
            temporary = path.with_suffix(".tmp")
            temporary.write_text("".join(f"{line}\n" for line in lines))
            temporary.replace(path)

    def finalize(self) -> Path:
        """Writes the pipeline's folder, with its card and curves, and pushes it if asked to."""
        folder = self.folder / "pipeline"
        if self.accelerator.is_main_process:
            parts = (self.clip, self.tokenizer, self.image_processor, self.recentering)
            plot_curves(self.folder / "metrics.jsonl", self.folder / "curves.png")
            write_pipeline(folder, self.config, self.progress.step, self.batch_size, self.average(), *parts)
            if self.config.push_to_hub:
                push(folder, self.config.hub_model_id)
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()
        return folder


def _check_distribution(accelerator: Accelerator) -> None:
    kind = accelerator.distributed_type
    first = kind == DistributedType.FSDP and not accelerator.is_fsdp2
    if first or kind in (DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise ValueError(
            f"Two networks train together, copied by DDP or in pieces by FSDP 2; accelerate is set to {kind.value}"
            f"{' 1' if first else ''}. Launch with training/accelerate/multi_gpu.yaml or fsdp.yaml."
        )


def whole(parameter: Tensor) -> Tensor:
    """The parameter itself, or what the pieces on all processes make together."""
    value = parameter.detach()
    return value.full_tensor() if isinstance(value, DTensor) else value


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except ValueError:  # a line cut short when the process was killed
        return math.inf


def main() -> None:
    try:
        folder = Trainer(parse()).run()
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
    print(f"Pipeline: {folder}")


if __name__ == "__main__":
    main()
