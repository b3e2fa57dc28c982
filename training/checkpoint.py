"""Checkpoints of a run: written whole or not at all, rotated, and gone on from."""

import json
import shutil
from contextlib import ExitStack
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object

from textir_hf.atomic import replacing
from training.config import TrainingConfig
from training.networks import Networks, average_decay

SAME = ("task", "sample_size", "channels", "style_dim", "discriminator_channels", "streaming", "seed", "clip")


class Progress:
    """How far a run is.

    Attributes:
        step: Updates done.
        samples: Samples used, of all processes.
        positions: Of the processes in their streams.
    """

    def __init__(self) -> None:
        self.step, self.samples = 0, 0
        self.positions: dict[int, dict] = {}

    def state_dict(self) -> dict:
        return dict(vars(self))

    def load_state_dict(self, state: dict) -> None:
        vars(self).update(state)


class Checkpoints:
    """The `checkpoint-STEP` folders of a run.

    Args:
        config: The run's.
        accelerator: Saves networks, optimizers and random states.
        networks: Of the run.
        progress: Of the run.
    """

    def __init__(
        self, config: TrainingConfig, accelerator: Accelerator, networks: Networks, progress: Progress
    ) -> None:
        self.config, self.accelerator, self.networks, self.progress = config, accelerator, networks, progress
        self.folder = Path(config.run.output_dir)
        accelerator.register_for_checkpointing(progress, networks.average)

    def found(self) -> list[Path]:
        """Whole checkpoints, the oldest first."""
        numbered = [p for p in self.folder.glob("checkpoint-*") if p.name.removeprefix("checkpoint-").isdigit()]
        return sorted(numbered, key=lambda path: int(path.name.removeprefix("checkpoint-")))

    def save(self) -> None:
        """Writes a checkpoint and deletes the oldest beyond the limit.

        Raises:
            OSError: It cannot be written. Older checkpoints are whole.
        """
        accelerator, progress = self.accelerator, self.progress
        final = self.folder / f"checkpoint-{progress.step}"
        if self.config.data.streaming:
            gathered = gather_object([progress.positions])
            progress.positions = {k: v for positions in gathered for k, v in positions.items()}
        try:
            with ExitStack() as stack:  # the main process makes the folder, writes into it with all others, renames it
                path = [stack.enter_context(replacing(final)) if accelerator.is_main_process else None]
                (temporary,) = broadcast_object_list(path)
                accelerator.save_state(str(temporary))
                if accelerator.is_main_process:
                    self.config.save(temporary / "training_config.json")
                accelerator.wait_for_everyone()
        except Exception as error:  # the libraries say "disk full" in several ways
            raise OSError(
                f"The checkpoint of step {progress.step} cannot be written ({error}). Older checkpoints are whole: "
                "free some space and go on with --resume-from-checkpoint latest."
            ) from error
        limit = self.config.run.checkpoints_total_limit
        if accelerator.is_main_process and limit:
            for old in self.found()[:-limit]:
                trash = self.folder / f".textir-{old.name}"  # half deleted, it is no checkpoint
                old.rename(trash)
                shutil.rmtree(trash)
        accelerator.wait_for_everyone()

    def resume(self) -> None:
        """Goes on from a checkpoint, if the config names one.

        Raises:
            ValueError: There is none where it should be, it is of another run, or a run would be overwritten.
        """
        name, found = self.config.run.resume_from_checkpoint, self.found()
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
            raise ValueError(f"{name} is no checkpoint. {self.folder} has {[p.name for p in found] or 'none'}.")
        self._check_same(path)
        self.accelerator.load_state(str(path))
        average = self.networks.average
        average.to(self.accelerator.device)
        average.decay = average_decay(self.config, self.accelerator)  # a run may go on with another
        readers, processes = len(self.progress.positions), self.accelerator.num_processes
        if self.config.data.streaming and readers not in (0, processes):
            raise ValueError(f"A stream goes on only with as many processes: {path} has {readers}, got {processes}.")

    def _check_same(self, path: Path) -> None:
        groups = json.loads((path / "training_config.json").read_text())
        saved = {k: v for group in groups.values() if isinstance(group, dict) for k, v in group.items()}
        own = self.config.flat()
        for name in SAME:
            if saved[name] != own[name]:
                raise ValueError(
                    f"{path} was made with --{name.replace('_', '-')} {saved[name]}, got {own[name]}. Use the same, "
                    "or start another run from its network with --init-from."
                )
        for name in ("train_batch_size", "shuffle_buffer", "holdout") if own["streaming"] else ():
            if saved[name] != own[name]:
                flag = f"--{name.replace('_', '-')}"
                raise ValueError(f"A stream goes on only with the same {flag}: {path} has {saved[name]}.")
