"""What the page's buttons and its endpoints do: from files, sentences and numbers to results with their settings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

from PIL import Image

from textir_hf.imaging.faces import check_choice
from textir_hf.imaging.files import open_image
from textir_hf.imaging.grid import check_size as check_grid
from textir_hf.imaging.grid import draw_grid
from textir_hf.space import masks, networks, progress, results, settings, texts
from textir_hf.tasks import TASKS, Task
from textir_hf.tasks.base import DEGRADATIONS

MAX_PIXELS, MAX_RESULT, MAX_CELLS = 24_000_000, 16_000_000, 24
_CELL = 256  # width of an image in a grid, pixels
_LEAST_NOISE = 0.05  # of a network's noise strengths; below, the results of two seeds look alike
_STEPS = (0, -0.3, 0.3, 0.6, -0.6, 0.9, -0.9)  # of beta, for variants of a network that learned no noise
_SWEEP = (0, 0.25, 0.5, 0.75, 1)  # betas from all of the image to all of the text
Faces = str | list[int]


@dataclass
class Guidance:
    """What a result shall show, checked."""

    prompt: str
    beta: float = 1.0
    skip_strength: float | None = None
    seed: int = 0
    variants: int = 1
    sweep: bool = False  # instead of variants, a result for each text strength

    def __post_init__(self) -> None:
        self.prompt = settings.check_text("prompt", self.prompt)
        for name in ("beta", "seed", "variants", *([] if self.skip_strength is None else ["skip_strength"])):
            setattr(self, name, settings.check_number(name, getattr(self, name)))
        if not self.prompt and self.beta != 0:
            raise ValueError(texts.NO_PROMPT)

    def each(self, by_seed: bool) -> list[tuple[str, float, int]]:
        """Caption, beta and seed of every variant; they differ in their seed, or in beta where seeds do nothing."""
        if not self.sweep and (by_seed or self.variants == 1):
            return [(f"seed {self.seed + i}", self.beta, self.seed + i) for i in range(self.variants)]
        low, high, *_ = settings.RANGES["beta"]
        near = [round(self.beta + step, 4) for step in _STEPS if low <= self.beta + step <= high]
        betas = _SWEEP if self.sweep else near[: self.variants]
        return [(texts.STRENGTH_CAPTION.format(beta), beta, self.seed) for beta in betas]


@dataclass
class Outcome:
    results: list[dict]
    notes: list[str] = field(default_factory=list)
    columns: int = 0
    grid: dict | None = None
    sweep: bool = False


def read_image(path: Path) -> Image.Image:
    return open_image(path, MAX_PIXELS, "The image")


@dataclass
class Given:
    """An image's file, and what was painted on it: mask and regions as the canvas sends them, or the mask's file."""

    path: Path
    mask: object = None
    regions: object = None
    faces: Faces = "none"

    @cached_property
    def image(self) -> Image.Image:
        return read_image(self.path)

    def call(self, function: Callable, **arguments) -> Callable:
        regions = masks.regions(self.regions, self.image.size) or None
        return partial(function, image=self.image, regions=regions, **arguments)

    def read_mask(self, needed: bool) -> Image.Image | None:
        mask = None if self.mask is None else masks.decode(self.mask, self.image.size)
        empty = mask is None or not mask.getextrema()[1]
        if empty and (needed or mask is not None):  # an empty one means: change nothing
            raise ValueError(texts.NO_MASK)
        return mask


def restore(task: Task, given: Given, guidance: Guidance, checkpoint: str, arguments: dict) -> Outcome:
    arguments = check_arguments(task, arguments)
    pipe = networks.load(checkpoint, task.name)
    if "mask_image" in (*task.requires, *task.accepts):
        arguments |= {"mask_image": given.read_mask(True), "refiner": networks.refiner(pipe)}
    check_size(given.image, arguments)
    before = given.path if task.in_channels != 1 else results.save(given.image.convert("L"), "gray")
    return _run(given.call(pipe, **arguments), pipe, guidance, before, task.command)


def edit(degradation: str, given: Given, guidance: Guidance, factor: float) -> Outcome:
    """Takes something away from a good image and restores it, at its own size, and only where a mask is white."""
    pipe, call = _editor(degradation, given, factor)
    return _run(call, pipe, guidance, given.path, "edit")


def compare(
    degradation: str, given: Given, prompts: Sequence[str], betas: Sequence[float], seed: int, factor: float
) -> Outcome:
    """A grid of edits with the same seed: a row for each prompt, a column for each beta."""
    count = len(prompts) * len(betas)
    if not 1 <= count <= MAX_CELLS:
        raise ValueError(texts.MANY.format(MAX_CELLS, count))
    cells = [[Guidance(prompt, beta, None, seed) for beta in betas] for prompt in prompts]
    _, call = _editor(degradation, given, factor)
    image = given.image
    check_grid(len(prompts), 1 + len(betas), _CELL, (image.height, image.width))
    outcome, rows = Outcome([], columns=len(betas)), []
    for line in cells:
        rows.append([("original", image)])
        for guidance in line:
            progress.current().next_image(len(outcome.results), count)
            result = restore_one(call, guidance, guidance.beta, seed)
            caption = f"“{guidance.prompt}”, {texts.STRENGTH_CAPTION.format(guidance.beta)}"
            path = results.save(result, "textir-compare")
            outcome.results.append(results.describe(result, path, given.path, caption))
            rows[-1].append((caption, result))
    outcome.grid = results.as_file(results.save(draw_grid(rows, _CELL), "textir-grid"))
    return outcome


def check_arguments(task: Task, arguments: dict) -> dict:
    """The arguments of a task's call that are neither image, mask nor guidance."""
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
    """The task whose networks bring back what was taken away."""
    settings.check_choice("degradation", degradation, DEGRADATIONS)
    return next(task for task in TASKS.values() if task.degradation == degradation)


def _faces(choice: object) -> dict:
    if isinstance(choice, list):
        return {"faces": check_choice(choice)}
    return {} if settings.check_choice("faces", choice, settings.FACES) == "none" else {"faces": choice}


def _editor(degradation: str, given: Given, factor: float):
    task = editing_task(degradation)
    pipe, region = networks.load(networks.offered()[task.name][0]), given.read_mask(degradation == "mask_image")
    number = settings.check_number("factor", factor) if degradation == "factor" else None
    values = {"mask_image": region, "factor": number, "colors": True}
    more = _faces(given.faces) if "faces" in task.edit_accepts else {}
    if "refiner" in task.edit_accepts:
        more["refiner"] = networks.refiner(pipe)
    return pipe, given.call(pipe.edit, **{"mask_image": region, degradation: values[degradation]}, **more)


def check_size(image: Image.Image, arguments: dict) -> None:
    scale = arguments.get("scale", 1)
    pixels = image.width * scale * image.height * scale
    if pixels > MAX_RESULT and scale > 1:
        raise ValueError(texts.LARGE.format(pixels / 1e6, MAX_RESULT / 1e6))


def _run(call: Callable, pipe, guidance: Guidance, before: Path, name: str) -> Outcome:
    outcome, limit = Outcome([], sweep=guidance.sweep), pipe.tokenizer.model_max_length
    if len(pipe.tokenizer(guidance.prompt, verbose=False)["input_ids"]) > limit:
        outcome.notes.append(texts.CUT_PROMPT.format(limit * 2 // 3))
    noise = [abs(v.item()) for name, v in pipe.restorer.named_parameters() if name.endswith("noise_strength")]
    variants = guidance.each(by_seed=max(noise, default=0) >= _LEAST_NOISE)
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
