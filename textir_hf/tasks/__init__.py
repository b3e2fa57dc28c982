"""The restoration tasks, by their name in a network's config. None of them loads PyTorch before it runs."""

from pathlib import Path

from textir_hf.tasks.base import Task
from textir_hf.tasks.colorization import Colorization
from textir_hf.tasks.inpainting import Inpainting
from textir_hf.tasks.super_resolution import SuperResolution

TASKS: dict[str, Task] = {task.name: task for task in (Inpainting(), SuperResolution(), Colorization())}


def get_task(name: str) -> Task:
    """The task of this name."""
    if not isinstance(name, str) or name not in TASKS:
        raise ValueError(f"The task must be one of {', '.join(TASKS)}, got {name!r}.")
    return TASKS[name]


def embedded_checkpoints() -> list[str]:
    """Names of the checkpoints that come with the package."""
    return [task.checkpoint for task in TASKS.values() if task.checkpoint]


def checkpoint_folder(name: str) -> Path | None:
    """The folder of an embedded or local checkpoint; None for a repository of the Hub."""
    folder = Path(__file__).parent.parent / "checkpoints" / name if name in embedded_checkpoints() else Path(name)
    if folder.is_dir():
        return folder
    if name.count("/") == 1 and not folder.exists():
        return None
    raise ValueError(f"expected one of {', '.join(embedded_checkpoints())}, a folder, or owner/name on the Hub.")
