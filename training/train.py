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
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import set_seed
from datasets import Dataset, IterableDataset
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from textir_hf.atomic import replacing
from training.batches import Batches
from training.config import TrainingConfig, parse
from training.data import SampleMaker, training_and_held_out
from training.encoder import FrozenEncoder
from training.latents import Latents, encoded_rows
from training.log import Log
from training.objective import Objective
from training.publish import push, write_pipeline
from training.state import State, full_parameters, lazy_ratio
from training.validation import Validation


class Interrupted(Exception):
    """A signal ended the run, which is saved."""


@dataclass
class Run:
    """The parts of a run.

    Args:
        rows: The training rows.
        latents: Of the rows, if the generator learns latents.
        minutes: For how long the run has been going; all processes agree on it.
    """

    config: TrainingConfig
    accelerator: Accelerator
    encoder: FrozenEncoder
    state: State
    objective: Objective
    maker: SampleMaker
    validation: Validation
    rows: Dataset | IterableDataset
    latents: Latents | None
    minutes: float = 0.0

    def batches(self) -> Batches:
        """Batches of this process from the run's progress on."""
        return Batches(self.rows, self.maker, self.latents, self.accelerator, self.state.progress)


def set_up(config: TrainingConfig) -> Run:
    """Loads and builds everything that a run needs.

    Raises:
        ValueError: The config, the data or the launch does not fit.
    """
    config.check_inputs()
    Path(config.output_dir).mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(
        cpu=not torch.accelerator.is_available(),
        mixed_precision=config.mixed_precision,
        log_with=config.report_to,
        project_dir=config.output_dir,
    )
    _check_distribution(accelerator)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True  # all batches have one shape

    encoder = FrozenEncoder(config.clip, accelerator.device, accelerator.autocast)
    with accelerator.main_process_first():  # the first one fills the caches on the disk
        rows, held_out = training_and_held_out(config)
        latents = encoded_rows(rows, config, encoder) if config.decoder else None
    encoder.recenter(rows, config)
    irregular = None
    if config.masks:
        from textir_hf.evaluation.data import load_masks

        irregular = load_masks(config.masks, "train", config.sample_size)
    maker = SampleMaker(config, encoder.dim, irregular)
    set_seed(config.seed)  # here, so that the networks do not depend on what was loaded or cached
    state = State(config, accelerator, encoder.dim)
    objective = Objective(config, encoder, state.restorer, accelerator.autocast)
    validation = Validation(config, held_out, maker, encoder)
    return Run(config, accelerator, encoder, state, objective, maker, validation, rows, latents)


def _check_distribution(accelerator: Accelerator) -> None:
    kind = accelerator.distributed_type
    first = kind == DistributedType.FSDP and not accelerator.is_fsdp2
    if first or kind in (DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise ValueError(
            f"Two networks train together, copied by DDP or in pieces by FSDP 2, but accelerate is set to {kind.value}"
            f"{' 1' if first else ''}. Launch with training/accelerate/multi_gpu.yaml or fsdp.yaml."
        )


def train(config: TrainingConfig) -> Path:
    """Trains to `max_train_steps` or `max_minutes`, saving as it goes; returns the pipeline's folder.

    Raises:
        ValueError: As `set_up`, or a checkpoint does not fit.
        FloatingPointError: A loss is NaN or infinite.
        OSError: Something cannot be written. The checkpoints are whole.
        Interrupted: A signal ended the run, which is saved.
    """
    run, started = set_up(config), time.monotonic()
    accelerator, state, last = run.accelerator, run.state, config.max_train_steps
    state.resume()
    if accelerator.is_main_process:
        config.save(Path(config.output_dir) / "training_config.json")
    log = Log(config, accelerator, state.progress.step, state.images_per_update)
    alone, late, interrupted = accelerator.num_processes == 1, False, False
    bar = tqdm(total=last, initial=state.progress.step, desc=config.task, disable=not accelerator.is_local_main_process)
    with closing(run.batches()) as batches, bar, stop_on_signal() as received:
        while state.progress.step < last and not (late or interrupted):
            log.add(train_step(run, batches))
            bar.update()
            step, minutes = state.progress.step, (time.monotonic() - started) / 60
            if alone:  # several processes agree on the time, and to stop, where they read the losses anyway
                run.minutes, late, interrupted = minutes, 0 < config.max_minutes <= minutes, bool(received)
            saving = step % config.checkpointing_steps == 0 or step == last or late or interrupted
            if saving or step % config.log_steps == 0:
                values, (run.minutes, signals) = log.read(step, batches.waited, [minutes, len(received)])
                late, interrupted = 0 < config.max_minutes <= run.minutes, signals > 0
                log.write(step, values | {"learning_rate": learning_rate(config, step - 1, run.minutes)})
                bar.set_postfix({name: f"{value:.3g}" for name, value in values.items()})
            if saving or late or interrupted:
                state.save()
                if not interrupted:
                    validate(run, log)
                log.pause()
    if interrupted:
        raise Interrupted(received[0] if received else signal.SIGINT, state.checkpoints()[-1])
    return finish(run)


def train_step(run: Run, batches: Iterator[dict]) -> dict[str, Tensor]:
    """One update of the generator and, once it takes part, of the discriminator (Eq. 6 to 8).

    It never waits for the device: the losses that it returns stay there.
    """
    accelerator, state, objective, step = run.accelerator, run.state, run.objective, run.state.progress.step
    adversarial, parts = objective.adversarial(step), run.config.gradient_accumulation_steps
    frozen, sums = accelerator.unwrap_model(state.discriminator), {}
    state.discriminator.train()
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
    state.average.step(full_parameters(state.generator))
    state.progress.step += 1
    return sums


def update(run: Run, adversarial: bool) -> None:
    """Moves the weights. The gradients of both networks have one scale, which changes after both have moved."""
    config, state, scaler = run.config, run.state, run.accelerator.scaler
    rate = learning_rate(config, state.progress.step, run.minutes)
    updates = [(state.generator, state.optimizer, rate)]
    if adversarial:
        factor = config.discriminator_rate * lazy_ratio(config)
        updates.append((state.discriminator, state.discriminator_optimizer, rate * factor))
    for network, optimizer, value in updates:
        if config.max_grad_norm:
            if scaler is not None:
                scaler.unscale_(optimizer.optimizer)  # Accelerate's way would unscale both at each call
            torch.nn.utils.clip_grad_norm_(network.parameters(), config.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = value
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer.optimizer)
    if scaler is not None:
        scaler.update()
    for _, optimizer, _ in updates:
        optimizer.zero_grad()


def learning_rate(config: TrainingConfig, step: int, minutes: float = 0.0) -> float:
    """The generator's learning rate after `step` updates and so many minutes."""
    if config.lr_scheduler == "constant":
        return config.learning_rate
    done = minutes / config.max_minutes if config.max_minutes else step / config.max_train_steps
    return config.learning_rate * (1 + math.cos(math.pi * min(done, 1))) / 2


def validate(run: Run, log: Log) -> None:
    """Measures and shows the held-out images with the averaged weights."""
    step = run.state.progress.step
    if run.accelerator.is_main_process:
        grid = Path(run.config.output_dir) / "validation" / f"{step:07d}.png"
        if figures := run.validation.run(run.state.averaged(), grid):
            log.write(step, {f"validation/{name}": value for name, value in figures.items()})
    run.accelerator.wait_for_everyone()


def finish(run: Run) -> Path:
    """Writes the pipeline's folder and the discriminator's weights, and pushes the pipeline if asked to."""
    config, accelerator, state = run.config, run.accelerator, run.state
    folder = Path(config.output_dir) / "pipeline"
    discriminator = accelerator.get_state_dict(state.discriminator)  # gathered by all processes
    if accelerator.is_main_process:
        write_pipeline(folder, config, state.progress.step, state.images_per_update, state.averaged(), run.encoder)
        with replacing(folder.parent / "discriminator.safetensors") as temporary:  # for --init-from
            save_file({name: value.contiguous() for name, value in discriminator.items()}, temporary)
        if config.hub_model_id:
            push(folder, config.hub_model_id)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return folder


@contextmanager
def stop_on_signal() -> Iterator[list[int]]:
    """Gives a list that gets the number of the first SIGINT or SIGTERM; a second one acts as usual."""
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame) -> None:
        received.append(number)
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns 0, 1 (something does not fit or cannot be written) or 128 + a signal's number."""
    try:
        print(f"Pipeline: {train(parse(argv))}")
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Interrupted as stop:
        number, checkpoint = stop.args
        again = "give the same command with --resume-from-checkpoint latest."
        print(f"Interrupted. {checkpoint} is saved: {again}", file=sys.stderr)
        return 128 + number
    except KeyboardInterrupt:
        print("Interrupted. The checkpoints saved before are whole.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
