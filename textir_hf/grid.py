"""Grids of results over prompts, beta, strength and factor: Figures 7 and 8 of the paper are two calls."""

from collections.abc import Sequence
from itertools import product

import torch
from PIL import Image, ImageDraw, ImageFont

from textir_hf.images import Picture, to_rgb

_PAD, _LINE = 6, 16


def sweep(
    pipe,
    image: Picture,
    prompts: Sequence[str],
    betas: Sequence[float] = (1.0,),
    strengths: Sequence[float | None] = (None,),
    factors: Sequence[float | None] = (None,),
    region: Picture | None = None,
    seed: int | None = None,
    cell: int = 160,
    **kwargs,
) -> Image.Image:
    """Edits one picture under every combination and draws the results as a labelled grid.

    The longest of the lists runs along the columns, the others along the rows. Over `betas` this is the paper's
    Figure 7 (Sec. 4.6); over `factors`, with their strengths, its Figure 8.

    Args:
        pipe: A `TextIRPipeline`.
        image: The original, as for `TextIRPipeline.edit`.
        prompts: What the results should show.
        betas: Shares of the text in the condition.
        strengths: s of Eq. 4; None is what the network derives.
        factors: For super-resolution: how many times to shrink before restoring.
        region: For inpainting, or to confine an edit: where to edit, white.
        seed: The same noise for every result.
        cell: Width of a picture in the grid, pixels.
        **kwargs: Further arguments of `TextIRPipeline.edit`.

    Returns:
        The grid.

    Raises:
        ValueError: A list is empty, or as in `TextIRPipeline.edit`.
    """
    axes = {"prompt": list(prompts), "factor": list(factors), "strength": list(strengths), "beta": list(betas)}
    empty = [name for name, values in axes.items() if not values]
    if empty:
        raise ValueError(f"{empty[0]} needs at least one value for a sweep.")
    along = max(axes, key=lambda name: (len(axes[name]), name != "prompt"))
    rows = [dict(zip(axes, v, strict=True)) for v in product(*(vs if n != along else [None] for n, vs in axes.items()))]
    fixed = {"region": region, **kwargs}
    if pipe.restorer.config.task == "colorization":
        fixed["colors"] = True
    cells, results = [row | {along: value} for row in rows for value in axes[along]], []
    shown_as = getattr(pipe, "_progress_bar_config", {})
    with pipe.progress_bar(total=len(cells)) as bar:  # one for the grid, none for each edit
        pipe.set_progress_bar_config(disable=True)
        try:
            for chosen in cells:
                source = None if seed is None else torch.Generator().manual_seed(seed)
                results.append(pipe.edit(image=image, generator=source, **fixed, **chosen).images[0])
                bar.update()
        finally:
            pipe.set_progress_bar_config(**shown_as)
    results = [results[i : i + len(axes[along])] for i in range(0, len(cells), len(axes[along]))]
    shown = [name for name in axes if name != along and len(axes[name]) > 1]
    names = ["\n".join(_text(name, row[name]) for name in shown) for row in rows]
    heads = [_text(along, value) for value in axes[along]]
    return _draw(Image.fromarray(to_rgb(image)), results, names, heads, cell)


def _text(name: str, value) -> str:
    if name == "prompt":
        return str(value)
    return f"{name} {'of the network' if value is None else f'{value:g}'}"


def _draw(original: Image.Image, results: list[list[Image.Image]], names: list[str], heads: list[str], cell: int):
    """The original at the left, then the grid; row names over their rows, column heads on top."""
    font = ImageFont.load_default(size=12)
    height = round(cell * original.height / original.width)
    heads = [_wrap(head, cell, font) for head in ("original", *heads)]
    names = [_wrap(name, (len(heads)) * (cell + _PAD), font) if name else "" for name in names]
    top = _PAD + _LINE * max(head.count("\n") + 1 for head in heads)
    rows = [height + 2 * _PAD + (_LINE * (name.count("\n") + 1) if name else 0) for name in names]
    canvas = Image.new("RGB", (len(heads) * (cell + _PAD) + _PAD, top + sum(rows)), "white")
    draw = ImageDraw.Draw(canvas)
    for i, head in enumerate(heads):
        draw.multiline_text((_PAD + i * (cell + _PAD), _PAD // 2), head, "black", font)
    y = top
    for line, name, row in zip(results, names, rows, strict=True):
        if name:
            draw.multiline_text((_PAD, y), name, "black", font)
        for i, picture in enumerate([original, *line]):
            small = picture.convert("RGB").resize(
                (cell, height), Image.LANCZOS if picture.width > cell else Image.NEAREST
            )
            canvas.paste(small, (_PAD + i * (cell + _PAD), y + row - height - _PAD))
        y += row
    return canvas


def _wrap(text: str, width: int, font) -> str:
    lines = []
    for part in text.split("\n"):
        line = ""
        for word in part.split():
            longer = f"{line} {word}".strip()
            if line and font.getlength(longer) > width:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return "\n".join(lines)


def labelled_sheet(rows: list[list[tuple[str, Image.Image]]], cell: int = 192, lines: int = 2) -> Image.Image:
    """Rows of pictures, each under its label.

    Args:
        rows: Labels and pictures, which are drawn as squares.
        cell: Side of a picture on the sheet, pixels.
        lines: Lines of text that a label may have.
    """
    columns, label, font = max(len(row) for row in rows), _LINE * lines + 8, ImageFont.load_default(13)
    sheet = Image.new("RGB", (columns * (cell + _PAD) + _PAD, len(rows) * (cell + label) + _PAD), "white")
    draw = ImageDraw.Draw(sheet)
    for y, row in enumerate(rows):
        for x, (text, picture) in enumerate(row):
            left, top = _PAD + x * (cell + _PAD), y * (cell + label)
            draw.multiline_text((left, top + 5), _wrap(text, cell, font), "black", font, spacing=1)
            sheet.paste(picture.convert("RGB").resize((cell, cell), Image.LANCZOS), (left, top + label))
    return sheet
