"""The checkpoints on offer: each is loaded once for all visitors, behind the page's first paint."""

import os
import threading
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from textir_hf.space import progress
from textir_hf.tasks import TASKS, checkpoint_folder

VARIABLE = "TEXTIR_CHECKPOINTS"
READY = threading.Event()
_LOADING = threading.Lock()


@lru_cache(maxsize=8)
def _loaded(name: str):
    import torch

    from textir_hf.pipeline.pipeline import TextIRPipeline

    pipe = TextIRPipeline.from_pretrained(name)
    pipe.progress_bar = progress.bar
    return pipe.to("cuda") if torch.cuda.is_available() else pipe


@lru_cache
def offered() -> dict[str, list[str]]:
    """Names of the checkpoints by task: the embedded ones, and those of the operator (ids on the Hub, or folders)."""
    names = {task.name: [task.checkpoint] if task.checkpoint else [] for task in TASKS.values()}
    for name in os.environ.get(VARIABLE, "").replace(",", " ").split():
        try:
            checkpoint_folder(name)  # says what is wrong before anything heavy is loaded
            names[_loaded(name).task.name].append(name)
        except ValueError as error:
            raise ValueError(f"{VARIABLE} names {name}: {error}") from error
    return {task: checkpoints for task, checkpoints in names.items() if checkpoints}


def load(name: str, task: str | None = None):
    names = [n for kind, checkpoints in offered().items() if task in (None, kind) for n in checkpoints]
    if name not in names:
        raise ValueError(f"The checkpoint must be one of {', '.join(names)}, got {str(name)[:80]!r}.")
    with _LOADING:
        return _loaded(name)


def refiner(pipe):
    """The network that gives a pipeline's fills detail: the first for super-resolution; None if its size is smaller."""
    found = load(offered()[TASKS["super-resolution"].name][0])
    return found if found.restorer.config.sample_size >= pipe.restorer.config.sample_size else None


def gpu(function: Callable) -> Callable:
    """Runs a function with a GPU where the page is served with ZeroGPU."""
    try:
        from spaces import GPU
    except ImportError:
        return function
    return GPU(function)


def load_all() -> None:
    """Loads every checkpoint and runs it once, since the first run of a network is slow."""
    from PIL import Image

    from textir_hf.pipeline.faces import find_faces

    image = Image.new("RGB", (64, 64), "gray")
    try:
        for task, names in offered().items():
            for name in names:
                load(name)("a", image, **TASKS[task].example(64))
        find_faces(np.asarray(image))
    finally:
        READY.set()  # where one cannot be loaded, its runs say why
