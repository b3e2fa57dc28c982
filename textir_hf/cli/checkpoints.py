"""Which task a checkpoint is for, as far as that is known without loading it; and loading it quietly."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from textir_hf.tasks import TASKS, Task, checkpoint_folder

if TYPE_CHECKING:
    from textir_hf.pipeline.pipeline import TextIRPipeline

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("float32", "float16", "bfloat16")


def find_folder(name: str, flag: str = "--checkpoint") -> Path | None:
    """As `checkpoint_folder`, with the flag's name in its error."""
    try:
        return checkpoint_folder(name)
    except ValueError as error:
        raise ValueError(f"{flag} {name} cannot be found: {error}") from error


def choose_checkpoint(name: str | None, task: Task, flag: str = "--checkpoint") -> str:
    """The checkpoint that the command line names, or the task's embedded one.

    Args:
        name: An embedded one's, a folder, or "owner/name" on the Hub; None if it names none.
        task: What it must do.
        flag: What names it.

    Raises:
        ValueError: It is none of these, is a folder without a pipeline, or does something else.
    """
    if name is None:
        if task.checkpoint is None:
            raise ValueError(f"{flag} must be given: none for {task.name} comes with the package.")
        return task.checkpoint
    folder = find_folder(name, flag)
    if folder is not None and not (folder / "model_index.json").is_file():
        raise ValueError(f"{flag} {name} is no checkpoint: it has no model_index.json.")
    own = None if folder is None else _task_of(folder)
    if own is not None and own is not task:
        raise ValueError(f"{flag} {name} is for {own.name}, and this command needs one for {task.name}.")
    return name


def _task_of(folder: Path) -> Task | None:
    """What a checkpoint does; None where only loading it can tell what is wrong with it."""
    try:
        config = json.loads((folder / "restorer" / "config.json").read_bytes())
        return TASKS.get(config.get("task"))
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return None


def load_pipeline(name: str, device: str = "auto", dtype: str = "float32") -> "TextIRPipeline":
    """Loads a checkpoint, without the libraries' remarks and their bars for reading from the disk.

    Args:
        name: As for `TextIRPipeline.from_pretrained`.
        device: One of `DEVICES`; auto is an accelerator where there is one.
        dtype: One of `DTYPES`.

    Raises:
        ValueError: The device is not there, or the checkpoint cannot be loaded.
    """
    import torch

    from textir_hf.pipeline.pipeline import TextIRPipeline

    quieten()
    pipe = TextIRPipeline.from_pretrained(name, dtype=getattr(torch, dtype))
    return pipe.to(_find_device(device))


def _find_device(name: str) -> str:
    import torch

    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == "auto":
        return accelerator.type if accelerator else "cpu"
    if name != "cpu" and (accelerator is None or accelerator.type != name):
        raise ValueError(f"--device {name} is not there: PyTorch finds {accelerator.type if accelerator else 'none'}.")
    return name


def quieten() -> None:
    """Switches off the libraries' remarks and their bars for loading from disk; downloads keep theirs."""
    import diffusers
    import transformers

    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
