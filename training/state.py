"""The state of a run: both networks, their optimizers, the averaged weights and the progress; and its checkpoints."""

import json
import shutil
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file
from torch import nn

from textir_hf.atomic import replacing
from textir_hf.imaging.faces import FACE_TEMPLATES
from textir_hf.models.generator import TextIRGenerator
from textir_hf.tasks import get_task
from training.config import R1_EVERY, TrainingConfig, flag
from training.networks import Discriminator, LatentDiscriminator

KEPT = 3  # checkpoints
LAZY = R1_EVERY / (R1_EVERY + 1)  # factor of the discriminator's rate, exponent of its betas (StyleGAN2, App. B)
_SAME = ("task", "clip", "sample_size", "channels", "style_dim", "blocks", "decoder", "discriminator_channels")
_SAME += ("streaming", "seed")
_SAME_STREAM = ("train_batch_size", "shuffle_buffer", "holdout")


class State:
    """Everything that a run changes: two networks as the processes share them, and each one's optimizer.

    `average` is the moving average of the generator's weights, which `restorer`, a generator that is not shared, holds.
    `step` updates are done, for which all processes used `samples` samples; `positions` are theirs in the stream.
    """

    def __init__(self, config: TrainingConfig, accelerator: Accelerator, embedding_dim: int) -> None:
        self.config, self.accelerator = config, accelerator
        self.step, self.samples, self.positions = 0, 0, {}
        self.folder = Path(config.output_dir)
        task, widths = get_task(config.task), tuple(config.discriminator_channels)
        shape = task.network_config() | {"channels": tuple(config.channels), "embedding_dim": embedding_dim}
        for name in ("sample_size", "style_dim", "blocks", "patch_size", "decoder"):
            shape[name] = getattr(config, name)
        if config.decoder:  # it makes whole images in any task
            shape |= {"out_channels": 3, "output_scale": 1.0}
        generator = TextIRGenerator(**shape, face_template=FACE_TEMPLATES.get(config.face_template))
        if config.decoder:
            discriminator = LatentDiscriminator(task.in_channels, embedding_dim, widths)
        else:
            discriminator = Discriminator(config.sample_size, widths)
        if config.init_from:
            start_from(Path(config.init_from), generator, discriminator)
        self.restorer = deepcopy(generator).to(accelerator.device).eval().requires_grad_(False)
        generator, discriminator = (n.to(memory_format=torch.channels_last) for n in (generator, discriminator))
        adam = torch.optim.Adam(generator.parameters(), betas=(config.beta1, 0.99), fused=True)
        self.generator, self.optimizer = accelerator.prepare(generator, adam)
        adam = torch.optim.Adam(discriminator.parameters(), betas=(0.0, 0.99**LAZY), fused=True)
        self.discriminator, self.discriminator_optimizer = accelerator.prepare(discriminator, adam)
        batch = config.train_batch_size * config.gradient_accumulation_steps
        self.images_per_update = batch * accelerator.num_processes
        self.decay = 0.5 ** (self.images_per_update / config.ema_half_life)
        at_once = accelerator.device.type != "cpu"  # where a launch costs more than a buffer
        self.average = EMAModel(self.generator.parameters(), decay=self.decay, foreach=at_once)
        accelerator.register_for_checkpointing(self, self.average)

    def state_dict(self) -> dict:
        """For Accelerate: how far the run is."""
        return {"step": self.step, "samples": self.samples, "positions": self.positions}

    def load_state_dict(self, state: dict) -> None:
        vars(self).update(state)

    def averaged(self) -> TextIRGenerator:
        """The generator with the averaged weights, on this process's device."""
        self.average.copy_to(self.restorer.parameters())
        return self.restorer

    def checkpoints(self) -> list[Path]:
        """Whole checkpoints, the oldest first."""
        return sorted(self.folder.glob("checkpoint-[0-9]*"), key=lambda path: int(path.name.split("-")[1]))

    def save(self) -> Path:
        """Writes a checkpoint and deletes the oldest beyond `KEPT`.

        Accelerate's own naming and limit would write in place and delete first: a killed process or a full disk would
        leave a broken checkpoint, and one less of the others.
        """
        accelerator, final = self.accelerator, self.folder / f"checkpoint-{self.step}"
        if self.config.streaming:
            for positions in gather_object([self.positions]):
                self.positions |= positions
        try:
            # The main process makes the folder, and renames it when all have written.
            with replacing(final) if accelerator.is_main_process else nullcontext() as path:
                (temporary,) = broadcast_object_list([path])
                accelerator.save_state(str(temporary))
                if accelerator.is_main_process:
                    self.config.save(temporary / "training_config.json")
                accelerator.wait_for_everyone()
        except Exception as error:  # the libraries say "disk full" in several ways
            raise OSError(
                f"The checkpoint of step {self.step} cannot be written ({error}). Older checkpoints are whole: "
                "free some space and go on with --resume-from-checkpoint latest."
            ) from error
        for old in self.checkpoints()[:-KEPT] if accelerator.is_main_process else []:
            trash = self.folder / f".textir-{old.name}"  # half deleted, it is not a checkpoint
            old.rename(trash)
            shutil.rmtree(trash)
        accelerator.wait_for_everyone()
        return final

    def resume(self) -> None:
        """Resumes from a checkpoint, if the config names one; never overwrites another run."""
        name, found = self.config.resume_from_checkpoint, self.checkpoints()
        if self.accelerator.is_main_process:
            for rest in self.folder.glob(".textir-*"):  # of a killed process
                shutil.rmtree(rest, ignore_errors=True)
        if not name and found:
            raise ValueError(
                f"{self.folder} holds the run that reached {found[-1].name}. Go on with --resume-from-checkpoint "
                "latest, or choose another --output-dir."
            )
        if not name or (name == "latest" and not found):  # killed before its first checkpoint, or not yet started
            return
        path = found[-1] if name == "latest" else Path(name) if Path(name).is_dir() else self.folder / name
        if not (path / "training_config.json").is_file():
            raise ValueError(f"{name} is not a checkpoint. {self.folder} has {[p.name for p in found] or 'none'}.")
        saved, own = json.loads((path / "training_config.json").read_text()), asdict(self.config)
        for key in _SAME + _SAME_STREAM * self.config.streaming:
            if saved.get(key) != own[key]:
                raise ValueError(
                    f"{path} was made with {flag(key)} {saved.get(key)}, got {own[key]}. Use the same, or start "
                    "another run from its networks with --init-from."
                )
        self.accelerator.load_state(str(path))
        self.average.to(self.accelerator.device)
        self.average.decay = self.decay  # a run may go on with another
        readers, processes = len(self.positions), self.accelerator.num_processes
        if self.config.streaming and readers not in (0, processes):
            raise ValueError(f"A stream goes on only with as many processes: {path} has {readers}, got {processes}.")


def start_from(folder: Path, generator: nn.Module, discriminator: nn.Module) -> None:
    """Takes the weights of both networks of a run's folder, or those of a restorer's folder for the generator.

    The run may be for another task: layers that differ between tasks then keep their own weights.
    """
    source = folder if (folder / "config.json").is_file() else folder / "pipeline" / "restorer"
    if not source.is_dir():
        raise ValueError(f"--init-from must be the folder of a finished run or of a restorer, got {folder}.")
    saved = TextIRGenerator.from_pretrained(source).state_dict()
    taken = [(generator, saved, ("encoder.first.", "strength.", "out."))]
    if (folder / "discriminator.safetensors").is_file():
        taken.append((discriminator, load_file(folder / "discriminator.safetensors"), ("first.",)))
    for network, state, of_task in taken:
        own = network.state_dict()
        for name in sorted(own.keys() | state.keys()):
            given, needed = (list(values[name].shape) if name in values else None for values in (state, own))
            if given == needed:
                own[name].copy_(state[name])
            elif not name.startswith(of_task):
                raise ValueError(
                    f"--init-from has shape {given} for {name}, this run needs {needed}. Use the same widths and "
                    "sizes, or name that run's folder pipeline/restorer to take the generator alone."
                )
