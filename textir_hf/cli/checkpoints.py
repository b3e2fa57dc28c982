"""Loading the checkpoint that a command line names, quietly."""

import diffusers
import torch
import transformers

from textir_hf.pipeline.pipeline import TextIRPipeline
from textir_hf.tasks import Task


def load_pipeline(name: str | None, task: Task, device: str = "auto", dtype: str = "float32") -> TextIRPipeline:
    """Loads a checkpoint, without the libraries' remarks and their bars for reading from the disk."""
    name = name or task.checkpoint
    if name is None:
        raise ValueError(f"checkpoint must be given: none for {task.name} comes with the package.")
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    found = accelerator.type if accelerator else "cpu"
    if device not in ("auto", "cpu", found):
        raise ValueError(f"device {device} is not available: PyTorch finds only {found}.")
    quieten()
    pipe = TextIRPipeline.from_pretrained(name, dtype=getattr(torch, dtype))
    if pipe.task is not task:
        raise ValueError(f"The checkpoint {name} is for {pipe.task.name}, and this command needs one for {task.name}.")
    return pipe.to(found if device == "auto" else device)


def quieten() -> None:
    """Switches off the libraries' remarks and their bars for loading from disk; downloads keep theirs."""
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
