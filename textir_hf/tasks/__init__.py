"""The restoration tasks, by the name that stands in a network's config. None of them loads PyTorch before it runs."""

from textir_hf.tasks.base import Task
from textir_hf.tasks.colorization import Colorization
from textir_hf.tasks.inpainting import Inpainting
from textir_hf.tasks.super_resolution import SuperResolution

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Inpainting(),
        SuperResolution(),
        Colorization(),
    )
}


def get_task(name: str) -> Task:
    """The task of this name.

    Raises:
        ValueError: There is none.
    """
    if not isinstance(name, str) or name not in TASKS:
        raise ValueError(f"The task must be one of {', '.join(TASKS)}, got {name!r}.")
    return TASKS[name]


def embedded_checkpoints() -> list[str]:
    """Names of the checkpoints that come with the package."""
    return [task.checkpoint for task in TASKS.values() if task.checkpoint]
