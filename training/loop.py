"""A training run from top to bottom: one update, and the loop around it."""

import math
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from textir_hf.atomic import replacing
from training.config import TrainingConfig
from training.interrupt import Interrupted, stop_on_signal
from training.log import Log
from training.networks import full_parameters, images_per_update, lazy_ratio
from training.objective import TERMS
from training.publish import push, write_pipeline
from training.run import Run, set_up


def train(config: TrainingConfig) -> Path:
    """Trains to `max_train_steps` or `max_minutes`, saving as it goes; returns the pipeline's folder.

    Raises:
        ValueError: As `set_up`, or a checkpoint does not fit.
        FloatingPointError: A loss is NaN or infinite.
        OSError: Something cannot be written. The checkpoints are whole.
        Interrupted: A signal ended the run, which is saved.
    """
    run = set_up(config)
    accelerator, progress, limits = run.accelerator, run.progress, config.run
    run.checkpoints.resume()
    if accelerator.is_main_process:
        config.save(Path(limits.output_dir) / "training_config.json")
    log = Log(config, accelerator, progress.step)
    late = interrupted = False
    last, alone = config.optimization.max_train_steps, accelerator.num_processes == 1
    quiet = not accelerator.is_local_main_process
    bar = tqdm(total=last, initial=progress.step, desc=run.maker.task.name, disable=quiet)
    with closing(run.batches()) as batches, bar, stop_on_signal() as received:
        while progress.step < last and not (late or interrupted):
            log.add(train_step(run, batches))
            bar.update()
            step = progress.step
            wishes = [0 < 60 * config.optimization.max_minutes < 60 * run.minutes(), bool(received)]
            saving, validating = step % limits.checkpointing_steps == 0, step % limits.validation_steps == 0
            reading = step % limits.log_steps == 0 or saving or validating or step == last
            if reading or (alone and any(wishes)):  # several processes agree to stop where they read anyway
                values, (late, interrupted) = log.read(step, batches.waited, wishes)
                log.write(
                    step,
                    values | {"learning_rate": learning_rate(config, step - 1, run.minutes())},
                )
                bar.set_postfix({n: f"{values[n]:.3g}" for n in (*TERMS, "images/s") if n in values})
            if validating:
                validate(run, log)
            if saving or late or interrupted or step == last:
                run.checkpoints.save()
            if saving or validating:
                log.pause()
    if interrupted:
        raise Interrupted(received, run.checkpoints.found()[-1])
    if progress.step % limits.validation_steps:
        validate(run, log)
    return finish(run)


def train_step(run: Run, batches: Iterator[dict]) -> dict[str, Tensor]:
    """One update of the generator and, once it takes part, of the discriminator (Eq. 6 to 8).

    It never waits for the device: the losses that it returns stay there.
    """
    accelerator, networks, objective, step = run.accelerator, run.networks, run.objective, run.progress.step
    adversarial, parts = objective.adversarial(step), run.config.optimization.gradient_accumulation_steps
    frozen, sums = accelerator.unwrap_model(networks.discriminator), {}
    for part in range(parts):
        batch = next(batches)
        with ExitStack() as stack:
            if part < parts - 1:
                for network in (networks.generator, networks.discriminator):
                    stack.enter_context(accelerator.no_sync(network))
            networks.discriminator.requires_grad_(False)
            terms, comparison = objective.generator_terms(networks.generator, frozen, batch, step)
            accelerator.backward(objective.total(terms) / parts)
            networks.discriminator.requires_grad_(True)
            if adversarial:
                judged = objective.discriminator_terms(networks.discriminator, comparison, step)
                accelerator.backward(objective.total(judged) / parts)
                terms |= judged
        for name, value in terms.items():
            sums[name] = sums.get(name, 0) + value.detach() / parts
    _clip_gradients(run, adversarial)
    _update(run, adversarial)
    networks.average.step(full_parameters(networks.generator))
    run.progress.step += 1
    return sums


def _clip_gradients(run: Run, adversarial: bool) -> None:
    if norm := run.config.optimization.max_grad_norm:
        for network in (run.networks.generator, run.networks.discriminator)[: 1 + adversarial]:
            run.accelerator.clip_grad_norm_(network.parameters(), norm)


def learning_rate(config: TrainingConfig, step: int, minutes: float = 0.0) -> float:
    """The generator's learning rate after `step` updates and so many minutes."""
    optimization = config.optimization
    rate, warmup, last = optimization.learning_rate, optimization.lr_warmup_steps, optimization.max_train_steps
    if step < warmup:
        return rate * (step + 1) / warmup
    if optimization.lr_scheduler == "clock":
        rate *= (1 + math.cos(math.pi * min(minutes / optimization.max_minutes, 1))) / 2
    if optimization.lr_scheduler == "cosine":
        rate *= (1 + math.cos(math.pi * (step - warmup) / max(1, last - warmup))) / 2
    return rate


def _update(run: Run, adversarial: bool) -> None:
    """Moves the weights. The gradients of both networks have one scale, which changes after both have moved."""
    networks, scaler = run.networks, run.accelerator.scaler
    rate = learning_rate(run.config, run.progress.step, run.minutes())
    updates = [(networks.optimizer, rate)]
    if adversarial:
        factor = run.config.optimization.discriminator_rate * lazy_ratio(run.config)
        updates.append((networks.discriminator_optimizer, rate * factor))
    for optimizer, value in updates:
        for group in optimizer.param_groups:
            group["lr"] = value
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer.optimizer)
    if scaler is not None:
        scaler.update()
    for optimizer, _ in updates:
        optimizer.zero_grad()


def validate(run: Run, log: Log) -> None:
    """Measures and shows the held-out images with the averaged weights."""
    step = run.progress.step
    if run.accelerator.is_main_process:
        grid = Path(run.config.run.output_dir) / "validation" / f"{step:07d}.png"
        if figures := run.validation.run(run.networks.averaged(), grid):
            log.write(step, {f"validation/{name}": value for name, value in figures.items()})
    run.accelerator.wait_for_everyone()


def finish(run: Run) -> Path:
    """Writes the pipeline's folder, with its card and curves, and pushes it if asked to."""
    config, accelerator = run.config, run.accelerator
    folder = Path(config.run.output_dir) / "pipeline"
    if accelerator.is_main_process:
        images = images_per_update(config, accelerator)
        write_pipeline(folder, config, run.progress.step, images, run.networks.averaged(), run.encoder)
        judge = accelerator.unwrap_model(run.networks.discriminator)
        with replacing(folder.parent / "discriminator.safetensors") as temporary:  # for --init-discriminator
            save_file({name: value.contiguous() for name, value in judge.state_dict().items()}, temporary)
        if config.run.push_to_hub:
            push(folder, config.run.hub_model_id)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return folder
