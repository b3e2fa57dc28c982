"""What the page's buttons and its endpoints do: from files, sentences and numbers to results with their settings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from PIL import Image

from textir_hf.imaging.faces import check_choice
from textir_hf.imaging.files import open_image
from textir_hf.imaging.grid import check_size as check_grid
from textir_hf.imaging.grid import draw_grid
from textir_hf.space import networks, progress, results, settings, texts
from textir_hf.tasks import TASKS, Task
from textir_hf.tasks.base import DEGRADATIONS

MAX_PIXELS, MAX_RESULT, MAX_CELLS = 24_000_000, 16_000_000, 24
_CELL = 256  # width of an image in a grid, pixels
_STEPS = (0, -0.3, 0.3, 0.6)  # of beta, for variants of a network that learned no noise
Faces = str | list[int]
MaskReader = Callable[[tuple[int, int]], Image.Image | None]  # from the image's size


@dataclass(frozen=True)
class Guidance:
    """What a result shall show, checked.

    Args:
        prompt: A sentence; empty where `beta` is 0.
        beta: Share of the text.
        skip_strength: s of Eq. 4; None leaves it to the network.
        seed: Of the first result.
        variants: Number of results.

    Raises:
        ValueError: One is of another type, out of range, or missing.
    """

    prompt: str
    beta: float = 1.0
    skip_strength: float | None = None
    seed: int = 0
    variants: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompt", settings.check_text("prompt", self.prompt))
        for name in ("beta", "seed", "variants", *([] if self.skip_strength is None else ["skip_strength"])):
            object.__setattr__(self, name, settings.check_number(name, getattr(self, name)))
        if not self.prompt and self.beta != 0:
            raise ValueError(texts.NO_PROMPT)

    def each(self, by_seed: bool) -> list[tuple[str, float, int]]:
        """Caption, beta and seed of every variant; they differ in their seed, or in beta where seeds do nothing."""
        if by_seed or self.variants == 1:
            return [(f"seed {self.seed + i}", self.beta, self.seed + i) for i in range(self.variants)]
        betas = [round(self.beta + step, 4) for step in _STEPS[: self.variants]]
        return [(texts.STRENGTH_CAPTION.format(beta), beta, self.seed) for beta in betas]


@dataclass
class Outcome:
    """What a run made.

    Args:
        results: As `results.describe` gives them.
        notes: Sentences that the visitor should know.
        columns: Of a grid of results; 0 for variants of one.
        grid: The file of the drawn grid.
    """

    results: list[dict]
    notes: list[str] = field(default_factory=list)
    columns: int = 0
    grid: dict | None = None

    def as_value(self) -> dict:
        """For the canvas."""
        return {"results": self.results, "columns": self.columns, "grid": self.grid}


def read_image(path: Path) -> Image.Image:
    """An uploaded file as an image.

    Raises:
        ValueError: It cannot be read, or is too large.
    """
    return open_image(path, MAX_PIXELS, "The image")


def restore(task: Task, path: Path, read_mask: MaskReader, guidance: Guidance, checkpoint: str, arguments: dict):
    """Restores an image.

    Args:
        task: What is done.
        path: The image's file.
        read_mask: Gives the mask.
        guidance: What the result shall show.
        checkpoint: One of those on offer for the task.
        arguments: Of the task; see `check_arguments`.

    Returns:
        An `Outcome`.

    Raises:
        ValueError: Something is missing or out of range.
    """
    arguments = check_arguments(task, arguments)
    pipe, image = networks.load(checkpoint, task.name), read_image(path)
    if "mask_image" in (*task.requires, *task.accepts):
        arguments["mask_image"] = _needed(read_mask(image.size))
    check_size(image, arguments)
    before = _before(task, image, path)
    return _run(partial(pipe, image=image, **arguments), pipe, guidance, before, task.command)


def edit(
    degradation: str,
    path: Path,
    read_mask: MaskReader,
    guidance: Guidance,
    factor: float,
    faces: Faces = "none",
) -> Outcome:
    """Takes something away from a good image and restores it, at the image's own size.

    Without a region every pixel may change. With one, each pixel outside it stays as it is, bit for bit.

    Args:
        degradation: One of `DEGRADATIONS`: what is taken away, and so which network restores it.
        path: The image's file, of any size up to `MAX_PIXELS`.
        read_mask: From the image's width and height to a mask of that size, above 127 where the image may change; or to
            None, for all of it. The degradation "mask_image" needs a mask.
        guidance: What the results show. Each of its 1 to 4 variants is one result.
        factor: For the degradation "factor": how many times width and height shrink, 2 to 64. Others leave it unread.
        faces: Which faces are restored in a frame of their own: one of `settings.FACES`, or their numbers from 1 in
            reading order. Left unread where the task knows no faces.

    Returns:
        An `Outcome` with a result for each variant.

    Raises:
        ValueError: Something is missing or out of range.
    """
    pipe, _, call = _editor(degradation, path, read_mask, factor, faces)
    return _run(call, pipe, guidance, results.as_file(path), "edit")


def compare(
    degradation: str,
    path: Path,
    read_mask: MaskReader,
    prompts: Sequence[str],
    betas: Sequence[float],
    seed: int,
    factor: float,
    faces: Faces = "none",
) -> Outcome:
    """Edits an image for every prompt and every text strength: a grid of `len(prompts)` rows and `len(betas)` columns.

    Every cell is an edit as `edit` makes it, with the same seed and region, and has the image's own size. The grid's
    file shows each cell at 256 pixels, after the original at the start of its row.

    Args:
        degradation: One of `DEGRADATIONS`.
        path: The image's file, of any size up to `MAX_PIXELS`.
        read_mask: As in `edit`.
        prompts: A sentence for each row; an empty one only where all of `betas` are 0.
        betas: A text strength for each column, within `settings.RANGES["beta"]`.
        seed: For every result.
        factor: As in `edit`.
        faces: As in `edit`.

    Returns:
        An `Outcome` with the results row by row, `len(betas)` columns, and the grid's file.

    Raises:
        ValueError: Something is missing or out of range, or there are no cells or more than `MAX_CELLS`.
    """
    count = len(prompts) * len(betas)
    if not 1 <= count <= MAX_CELLS:
        raise ValueError(texts.MANY.format(MAX_CELLS, count))
    cells = [[Guidance(prompt, beta, None, seed) for beta in betas] for prompt in prompts]
    _, image, call = _editor(degradation, path, read_mask, factor, faces)
    check_grid(len(prompts), 1 + len(betas), _CELL, (image.height, image.width))
    outcome, rows, before = Outcome([], columns=len(betas)), [], results.as_file(path)
    for line in cells:
        rows.append([("original", image)])
        for guidance in line:
            progress.current().next_image(len(outcome.results), count)
            result = restore_one(call, guidance, guidance.beta, seed)
            caption = f"“{guidance.prompt}”, {texts.STRENGTH_CAPTION.format(guidance.beta)}"
            outcome.results.append(results.describe(result, results.save(result, "textir-compare"), before, caption))
            rows[-1].append((caption, result))
    outcome.grid = results.as_file(results.save(draw_grid(rows, _CELL), "textir-grid"))
    return outcome


def check_arguments(task: Task, arguments: dict) -> dict:
    """The arguments of a task's call that are neither image, mask nor guidance.

    Args:
        task: The task.
        arguments: By name; numbers, `faces` as one of `settings.FACES` or a list of numbers, and `background` as one of
            `settings.BACKGROUNDS`.

    Raises:
        ValueError: One is of another type, out of range, or not of this task.
    """
    checked = {}
    for name, value in arguments.items():
        if name not in (*task.requires, *task.accepts):
            raise ValueError(f"{name} cannot be used to {task.command}.")
        if name == "faces":
            checked |= _faces(value)
        elif name == "background":
            if settings.check_choice(name, value, settings.BACKGROUNDS) == "restored":
                checked[name] = value
        elif name in task.requires or value:
            checked[name] = settings.check_number(name, value)
    if "faces" not in checked:  # then nothing lies around any
        checked.pop("background", None)
    return checked


def editing_task(degradation: str) -> Task:
    """The task whose networks bring back what was taken away.

    Raises:
        ValueError: There is none.
    """
    settings.check_choice("degradation", degradation, DEGRADATIONS)
    return next(task for task in TASKS.values() if task.degradation == degradation)


def _faces(choice: object) -> dict:
    if isinstance(choice, list):
        return {"faces": check_choice(choice)}
    return {} if settings.check_choice("faces", choice, settings.FACES) == "none" else {"faces": choice}


def _editor(degradation: str, path: Path, read_mask: MaskReader, factor: float, faces: Faces):
    task = editing_task(degradation)
    pipe, image = networks.load(networks.offered()[task.name][0]), read_image(path)
    region = read_mask(image.size)
    given = {"mask_image": region, "factor": factor, "colors": True}
    arguments = {degradation: given[degradation], "mask_image": region}
    if "faces" in task.edit_accepts:
        arguments |= _faces(faces)
    if degradation == "factor":
        arguments["factor"] = settings.check_number("factor", factor)
    if degradation == "mask_image":
        _needed(region)
    return pipe, image, partial(pipe.edit, image=image, **arguments)


def _needed(mask: Image.Image | None) -> Image.Image:
    if mask is None or not mask.getextrema()[1]:
        raise ValueError(texts.NO_MASK)
    return mask


def check_size(image: Image.Image, arguments: dict) -> None:
    """Checks that a result is not too large.

    Raises:
        ValueError: It would be.
    """
    scale = arguments.get("scale", 1)
    pixels = image.width * scale * image.height * scale
    if pixels > MAX_RESULT and scale > 1:
        raise ValueError(texts.LARGE.format(pixels / 1e6, MAX_RESULT / 1e6))


def _before(task: Task, image: Image.Image, path: Path) -> dict:
    """What the network sees of the image, for the comparison: the very file, or its gray version."""
    if task.in_channels != 1:
        return results.as_file(path)
    return results.as_file(results.save(image.convert("L"), "gray"))


def _run(call: Callable, pipe, guidance: Guidance, before: dict, name: str) -> Outcome:
    outcome = Outcome([], _notes(guidance.prompt, pipe))
    variants = guidance.each(networks.learned_noise(pipe))
    for i, (caption, beta, seed) in enumerate(variants):
        progress.current().next_image(i, len(variants))
        result = restore_one(call, guidance, beta, seed)
        path = results.save(result, f"textir-{name}")
        outcome.results.append(results.describe(result, path, before, caption))
    return outcome


def restore_one(call: Callable, guidance: Guidance, beta: float, seed: int) -> Image.Image:
    """One result of a pipeline's call, whose image and own arguments are bound."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return call(guidance.prompt or None, beta=beta, skip_strength=guidance.skip_strength, generator=generator).images[0]


def _notes(prompt: str, pipe) -> list[str]:
    limit = pipe.tokenizer.model_max_length
    cut = len(pipe.tokenizer(prompt, verbose=False)["input_ids"]) > limit
    return [texts.CUT_PROMPT.format(limit * 2 // 3)] if cut else []
