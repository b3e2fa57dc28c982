"""Trains a TextIR generator for one task, on a laptop or on many GPUs.

python -m training.train --preset textir-mini-super-resolution --dataset photos --output-dir runs/photos
accelerate launch -m training.train --preset inpainting-ffhq-256 --dataset ffhq --masks masks --output-dir runs/ffhq
"""

import math
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import set_seed
from torch import Tensor
from tqdm import tqdm

from textir_hf.atomic import replacing
from training.config import TrainingConfig, parse, run_command
from training.data import Batches, SampleMaker, training_and_held_out
from training.latents import FrozenEncoder, Latents
from training.objective import Objective
from training.output import Log, Validation, write_pipeline
from training.state import LAZY, State


class Run:
    """A run's data, encoder, networks and losses, all loaded and built; `minutes` so far, on which processes agree."""

    def __init__(self, config: TrainingConfig) -> None:
        config.check()
        Path(config.output_dir).mkdir(parents=True, exist_ok=True)
        self.config, self.minutes = config, 0.0
        self.accelerator = accelerator = Accelerator(
            cpu=not torch.accelerator.is_available(),
            mixed_precision=config.mixed_precision,
            log_with=config.report_to,
            project_dir=config.output_dir,
        )
        kind = accelerator.distributed_type
        if kind in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
            remedy = "Launch with --config_file training/accelerate/multi_gpu.yaml."
            raise ValueError(
                f"DDP copies both networks to each device, but accelerate is set to {kind.value}. {remedy}"
            )
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True  # all batches have one shape

        self.encoder = FrozenEncoder(config.clip, accelerator.device, accelerator.autocast)
        with accelerator.main_process_first():  # the first one fills the caches on the disk
            self.rows, held_out = training_and_held_out(config)
            self.latents = Latents(self.rows, config, self.encoder) if config.decoder else None
        self.encoder.recenter(self.rows, config)
        rows = None if config.streaming else self.rows
        self.maker = SampleMaker(config, self.encoder.dim, rows, self.latents)
        set_seed(config.seed)  # here, so that the networks do not depend on what was loaded or cached
        self.state = State(config, accelerator, self.encoder.dim)
        self.objective = Objective(config, self.encoder, self.state.restorer)
        self.validation = Validation(config, held_out, self.maker, self.encoder)

    def batches(self) -> Batches:
        """Batches of this process from the run's progress on."""
        return Batches(self.rows, self.maker, self.accelerator, self.state)


def train(config: TrainingConfig) -> Path:
    """Trains to `max_train_steps` or `max_minutes`, saving as it goes; returns the pipeline's folder.

    Raises:
        ValueError: An option, the data or a checkpoint does not fit.
        FloatingPointError: A loss is NaN or infinite.
        OSError: Something cannot be written. The checkpoints are whole.
        KeyboardInterrupt: A signal, whose number comes along, ended the run, which is saved.
    """
    run, started, folder = Run(config), time.monotonic(), Path(config.output_dir)
    accelerator, state, last = run.accelerator, run.state, config.max_train_steps
    state.resume()
    if accelerator.is_main_process:
        config.save(folder / "training_config.json")
    log = Log(config, accelerator, state.step, state.images_per_update)
    bar = tqdm(total=last, initial=state.step, desc=config.task, disable=not accelerator.is_local_main_process)
    late = False
    with closing(run.batches()) as batches, bar, stop_on_signal() as received:
        while state.step < last and not late:
            log.add(train_step(run, batches))
            bar.update()
            step, minutes = state.step, (time.monotonic() - started) / 60
            saving = step % config.checkpointing_steps == 0 or step == last
            # Several processes agree on the time, and to stop, only where they read the losses anyway.
            ending = accelerator.num_processes == 1 and (received or 0 < config.max_minutes <= minutes)
            if not (saving or ending or step % config.log_steps == 0):
                continue
            values, (run.minutes, signals) = log.read(step, batches.waited, [minutes, len(received)])
            late = 0 < config.max_minutes <= run.minutes
            log.write(step, values | {"learning_rate": learning_rate(config, step - 1, run.minutes)})
            bar.set_postfix(values)
            if saving or late or signals:
                checkpoint = state.save()
                if signals:
                    again = "give the same command with --resume-from-checkpoint latest."
                    raise KeyboardInterrupt([*received, signal.SIGINT][0], f"{checkpoint} is saved: {again}")
                if accelerator.is_main_process:
                    log.write(step, run.validation.run(state.averaged(), folder / "validation" / f"{step:07d}.png"))
                accelerator.wait_for_everyone()
                log.began = time.perf_counter()  # the time to save and validate is not that of the next steps

    if accelerator.is_main_process:
        step, images = state.step, state.images_per_update
        write_pipeline(folder / "pipeline", config, step, images, state.averaged(), run.encoder)
        with replacing(folder / "discriminator.safetensors") as temporary:  # for --init-from
            accelerator.save(accelerator.get_state_dict(state.discriminator), temporary, safe_serialization=True)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return folder / "pipeline"


def train_step(run: Run, batches: Iterator[dict]) -> dict[str, Tensor]:
    """One update of the generator and, once it takes part, of the discriminator (Eq. 6 to 8).

    It never waits for the device: the losses that it returns stay there.
    """
    accelerator, state, objective, step = run.accelerator, run.state, run.objective, run.state.step
    adversarial, parts = objective.adversarial(step), run.config.gradient_accumulation_steps
    frozen, sums = accelerator.unwrap_model(state.discriminator), {}
    for part in range(parts):
        batch = next(batches)
        with ExitStack() as stack:
            if part < parts - 1:
                for network in (state.generator, state.discriminator):
                    stack.enter_context(accelerator.no_sync(network))
            state.discriminator.requires_grad_(False)
            terms, comparison = objective.generator_terms(state.generator, frozen, batch, step)
            accelerator.backward(objective.total(terms) / parts)
            state.discriminator.requires_grad_(True)
            if adversarial:
                judged = objective.discriminator_terms(state.discriminator, comparison, step)
                accelerator.backward(objective.total(judged) / parts)
                terms |= judged
        for name, value in terms.items():
            sums[name] = sums.get(name, 0) + value.detach() / parts
    update(run, adversarial)
    state.average.step(state.generator.parameters())
    state.step += 1
    return sums


def update(run: Run, adversarial: bool) -> None:
    """Moves the weights. The gradients of both networks have one scale, which changes after both have moved."""
    config, state, rate = run.config, run.state, learning_rate(run.config, run.state.step, run.minutes)
    scaler = run.accelerator.scaler or torch.amp.GradScaler(enabled=False)
    updates = [(state.generator, state.optimizer, 1.0)]
    if adversarial:
        updates.append((state.discriminator, state.discriminator_optimizer, config.discriminator_rate * LAZY))
    for network, optimizer, factor in updates:
        if config.max_grad_norm:
            scaler.unscale_(optimizer.optimizer)  # Accelerate's way would unscale both at each call
            torch.nn.utils.clip_grad_norm_(network.parameters(), config.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = rate * factor
        scaler.step(optimizer.optimizer)
        optimizer.zero_grad()
    scaler.update()


def learning_rate(config: TrainingConfig, step: int, minutes: float = 0.0) -> float:
    """The generator's learning rate after `step` updates and so many minutes."""
    if config.lr_scheduler == "constant":
        return config.learning_rate
    done = minutes / config.max_minutes if config.max_minutes else step / config.max_train_steps
    return config.learning_rate * (1 + math.cos(math.pi * min(done, 1))) / 2


@contextmanager
def stop_on_signal() -> Iterator[list[int]]:
    """Gives a list that gets the number of the first SIGINT or SIGTERM; a second one acts as usual."""
    received: list[int] = []

    def note(number: int, frame) -> None:
        received.append(number)
        signal.signal(number, before[number])

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return run_command(lambda: f"Pipeline: {train(parse(argv))}", "The checkpoints saved before are whole.")


if __name__ == "__main__":
    sys.exit(main())
