"""Labeled grids of images, for people to look at."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from textir_hf.imaging.decode import MAX_PIXELS

_PAD, _LINE = 6, 16
Cell = tuple[str, Image.Image]


def check_size(rows: int, columns: int, cell: int, size: tuple[int, int]) -> None:
    """Checks that a grid of images of `size` (height, width) can be drawn, before they are made."""
    width, height = columns * (cell + _PAD), rows * (cell * size[0] // size[1] + _PAD)
    if width * height > MAX_PIXELS:
        raise ValueError(f"The grid would have {width}x{height} pixels. Use a smaller cell, or fewer images.")


def draw_grid(rows: Sequence[Sequence[Cell]], cell: int = 192) -> Image.Image:
    """Draws rows of images, each below its label; `cell` is the width of an image in the grid, pixels.

    A row is as high as its first image at that width. Larger images are shrunk; smaller ones keep their hard pixels.
    """
    font = ImageFont.load_default(size=12)
    labels = [[_wrap(label, cell, font) for label, _ in row] for row in rows]
    tops = [_PAD + _LINE * max(label.count("\n") + 1 if label else 0 for label in line) for line in labels]
    heights = [max(1, round(cell * row[0][1].height / row[0][1].width)) for row in rows]
    width = max(len(row) for row in rows) * (cell + _PAD) + _PAD
    canvas = Image.new("RGB", (width, sum(tops) + sum(heights) + _PAD), "white")
    draw, y = ImageDraw.Draw(canvas), 0
    for row, line, top, height in zip(rows, labels, tops, heights, strict=True):
        for i, (label, (_, image)) in enumerate(zip(line, row, strict=True)):
            x = _PAD + i * (cell + _PAD)
            draw.multiline_text((x, y + _PAD // 2), label, "black", font, spacing=1)
            filter_ = Image.Resampling.LANCZOS if image.width > cell else Image.Resampling.NEAREST
            canvas.paste(image.convert("RGB").resize((cell, height), filter_), (x, y + top))
        y += top + height
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
