"""Grids of results over prompts, beta, skip_strength and factor: Figures 7 and 8 of the paper are two calls."""

import math
from collections.abc import Iterable, Sequence
from itertools import product

import torch
from PIL import Image

from textir_hf.checks import number, number_list
from textir_hf.imaging.grid import check_size, draw_grid
from textir_hf.imaging.raster import ImageInput, to_raster
from textir_hf.pipeline.pipeline import TextIRPipeline
from textir_hf.tasks.base import DEFAULT_SEED


def sweep(
    pipe: TextIRPipeline,
    image: ImageInput,
    prompts: str | Sequence[str | list[str]],
    betas: float | Sequence[float] = 1.0,
    skip_strengths: float | Sequence[float | None] | None = None,
    factors: float | Sequence[float | None] | None = None,
    mask_image: ImageInput | None = None,
    seed: int = DEFAULT_SEED,
    cell: int = 160,
    **kwargs,
) -> Image.Image:
    """Edits one image under every combination and draws the results as a labeled grid.

    The longest of the lists runs along the columns, the others along the rows. Over `betas` this is the paper's
    Figure 7 (Sec. 4.6); over `factors`, with their skip_strengths, its Figure 8.

    Args:
        pipe: The pipeline.
        image: The original, as for `TextIRPipeline.edit`.
        prompts: What the results should show; a list in the list is averaged. One value in place of a list, here and
            below, is a list of one.
        betas: Shares of the text in the condition.
        skip_strengths: s of Eq. 4; None is what the network derives.
        factors: For super-resolution: how many times to shrink before restoring.
        mask_image: For inpainting, or to confine an edit: where to edit, white.
        seed: The same noise for every result.
        cell: Width of an image in the grid, pixels.
        **kwargs: Further arguments of `TextIRPipeline.edit`.

    Returns:
        The grid.

    Raises:
        ValueError: A list is empty, the grid would be too large, or as in `TextIRPipeline.edit`.
    """
    axes: dict[str, list] = {
        "prompt": list(prompts) if isinstance(prompts, Iterable) and not isinstance(prompts, str) else [prompts],
        "factor": number_list("factor", factors),
        "skip_strength": number_list("skip_strength", skip_strengths),
        "beta": number_list("beta", betas),
    }
    empty = [name for name, values in axes.items() if not values]
    if empty:
        raise ValueError(f"{empty[0]} needs at least one value for a sweep.")
    seed, cell = number("seed", seed), number("cell", cell)
    along = max(axes, key=lambda name: (len(axes[name]), name != "prompt"))
    lines = product(*(values for name, values in axes.items() if name != along))
    names = [name for name in axes if name != along]
    raster = to_raster(image)
    check_size(math.prod(map(len, axes.values())) // len(axes[along]), 1 + len(axes[along]), cell, raster.size)
    fixed = {"mask_image": mask_image, "colors": pipe.task.degradation == "colors", **kwargs}
    rows = []
    for line in lines:
        row = [("original", Image.fromarray(raster.rgb))]
        for value in axes[along]:
            chosen = dict(zip(names, line, strict=True)) | {along: value}
            asked = chosen | {"prompt": [chosen["prompt"]], "generator": torch.Generator().manual_seed(seed)}
            row.append((_label(axes, chosen), pipe.edit(image=image, **fixed, **asked)[0][0]))
        rows.append(row)
    return draw_grid(rows, cell)


def _label(axes: dict[str, list], chosen: dict) -> str:
    """What is special about a cell: the values of the lists that have several."""
    parts = [f"“{chosen['prompt']}”"] if len(axes["prompt"]) > 1 else []
    for name, value in chosen.items():
        if name != "prompt" and len(axes[name]) > 1:
            shown = f"{value:g}" if isinstance(value, (int, float)) else "of the network" if value is None else value
            parts.append(f"{name} {shown}")
    return ", ".join(parts) or f"“{chosen['prompt']}”"
