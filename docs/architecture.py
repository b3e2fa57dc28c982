"""Draws the network as SVG, with the numbers of the paper's equations.

python -m docs.architecture  # part of: make figures
"""

import re
from pathlib import Path
from xml.sax.saxutils import escape

PATH = Path(__file__).parent / "images" / "architecture.svg"
_LEVELS = (("0", 150), ("1", 105), ("l−1", 75), ("l", 54))  # name and drawn width, full size first
_TOP, _STEP, _HEIGHT = 190, 95, 44
_ENCODER, _FUSION, _GENERATOR, _IMAGE = 200, 430, 660, 890  # centers of the columns
_COLORS = {
    "encoder": "#dbe9f6",
    "generator": "#fde2c8",
    "condition": "#e2f0d9",
    "skip_strength": "#f6dbe6",
    "plain": "#ffffff",
}
_STYLE = """text { font: 14px sans-serif; fill: #222; text-anchor: middle; dominant-baseline: central }
.small { font-size: 12px; fill: #444 } .note { font-size: 12px; fill: #444; text-anchor: start }
rect, circle { stroke: #444; stroke-width: 1.2 }
path { fill: none; stroke: #444; stroke-width: 1.4; marker-end: url(#tip) }
.condition { stroke: #4f8a3a } .skip_strength { stroke: #b0487a } .dashed { stroke-dasharray: 5 4 }"""


def draw() -> str:
    """The figure as SVG."""
    parts = [*_encoder(), *_generator(), *_condition(), *_strength(), *_legend()]
    tip = '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    return "\n".join(
        [
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1000 620" role="img">',
            "<title>TextIR: encoder, fusion at every level, and style-based generator</title>",
            f'<style>{_STYLE}</style><defs>{tip}<path d="M0 0L8 4L0 8z" style="fill:#444;stroke:none;marker:none"/>'
            "</marker></defs>",
            '<rect width="1000" height="620" style="fill:#fff;stroke:none"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _y(level: int) -> int:
    return _TOP + level * _STEP


def _box(x: int, y: int, width: int, text: str, color: str, height: int = _HEIGHT) -> str:
    fill = _COLORS[color]
    shape = (
        f'<rect x="{x - width / 2:g}" y="{y - height / 2:g}" width="{width}" height="{height}" rx="5" fill="{fill}"/>'
    )
    return f"{shape}{_text(x, y, text)}"


def _text(x: int, y: int, text: str, kind: str = "") -> str:
    """Text; what follows a ^ or _ up to the next space stands higher or lower."""
    style = f' class="{kind}"' if kind else ""
    shifts = {"^": -5, "_": 4}

    def shifted(match: re.Match) -> str:
        dy = shifts[match[1]]
        return f'<tspan dy="{dy}" class="small">{match[2]}</tspan><tspan dy="{-dy}">&#8203;</tspan>'

    return f'<text x="{x:g}" y="{y:g}"{style}>{re.sub(r"([_^])([^ ,(]+)", shifted, escape(text))}</text>'


def _arrow(*points: tuple[float, float], kind: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<path d="M{" L".join(f"{x:g} {y:g}" for x, y in points)}"{style}/>'


def _encoder() -> list[str]:
    """Features of the degraded image, full size at the top."""
    parts = [_text(_ENCODER, 28, "Encoder (Sec. 3.2)"), _box(_ENCODER, 75, 170, "degraded image I_d", "plain")]
    parts.append(_arrow((_ENCODER, 97), (_ENCODER, _y(0) - 22)))
    for level, (name, width) in enumerate(_LEVELS):
        parts.append(_box(_ENCODER, _y(level), width, f"f^{name}", "encoder"))
        if level:
            dashed = "dashed" if level == len(_LEVELS) - 2 else ""
            parts.append(_arrow((_ENCODER, _y(level - 1) + 22), (_ENCODER, _y(level) - 22), kind=dashed))
            parts.append(_text(_ENCODER + 40, _y(level) - 47, "½ size", "small"))
    return parts


def _generator() -> list[str]:
    """Features of the result, from the smallest at the bottom to full size, and the image beside them."""
    last = len(_LEVELS) - 1
    parts = [_text(_GENERATOR, 28, "Generator"), _text(_IMAGE, 28, "Image")]
    for level, (name, width) in enumerate(_LEVELS):
        y, x = _y(level), _FUSION
        generated = {"0": "g^l", "1": "g^l−1", "l−1": "g^1", "l": "g^0"}[name]
        parts += [_box(_GENERATOR, y, width, generated, "generator")]
        parts += [f'<circle cx="{x}" cy="{y}" r="16" fill="{_COLORS["skip_strength"]}"/>', _text(x, y, "+")]
        parts += [_arrow((_ENCODER + _LEVELS[level][1] / 2, y), (x - 16, y)), _text(325, y - 10, "Conv", "small")]
        parts += [_arrow((_GENERATOR - width / 2, y), (x + 16, y))]
        size = 30 + width // 3
        parts += [_box(_IMAGE, y, size, "", "plain", 30)]
        parts += [_arrow((x, y + 16), (x, y + 36), (_IMAGE, y + 36), (_IMAGE, y + 15), kind="dashed")]
        if level < last:
            dashed = "dashed" if level == 1 else ""
            above = y + 22
            parts.append(_arrow((x + 12, _y(level + 1) - 11), (_GENERATOR, above), kind=dashed))
            parts.append(_arrow((_IMAGE + 25, _y(level + 1) - 15), (_IMAGE + 25, y + 15), kind=dashed))
    y = _y(last)
    parts += [_arrow((_ENCODER, y + 22), (_ENCODER, y + 62), (_GENERATOR, y + 62), (_GENERATOR, y + 22))]
    parts += [_text(535, y + 74, "the last feature starts the generator: Eq. 3, i = 0", "small")]
    parts += [_arrow((_IMAGE, _y(0) - 15), (_IMAGE, 97)), _box(_IMAGE, 75, 170, "restored image I_r", "plain")]
    parts += [_text(_FUSION, _y(0) - 27, "x^i, Eq. 5", "small"), _text(592, _y(1) - 32, "2x size, Eq. 3", "small")]
    return parts


def _condition() -> list[str]:
    """The sentence, whose embedding styles every convolution of the generator."""
    parts = [
        _box(_FUSION, 75, 150, "sentence", "plain"),
        _box(_GENERATOR, 75, 190, "c = E_T(text), Eq. 1", "condition"),
    ]
    parts += [_arrow((_FUSION + 75, 75), (_GENERATOR - 95, 75), kind="condition")]
    bus = _GENERATOR + 105
    parts += [_arrow((_GENERATOR + 95, 75), (bus, 75), (bus, _y(0)), (_GENERATOR + 75, _y(0)), kind="condition")]
    for level in range(1, len(_LEVELS)):
        edge = _GENERATOR + _LEVELS[level][1] / 2
        parts.append(_arrow((bus, _y(level - 1)), (bus, _y(level)), (edge, _y(level)), kind="condition"))
    parts.append(_text(_GENERATOR + 35, 130, "w = FC(c), Eq. 2", "small"))
    return parts


def _strength() -> list[str]:
    """The skip_strength, which weighs both sides at every level."""
    y = _y(len(_LEVELS) - 1) + 112
    parts = [_box(_FUSION, y, 330, "s → MLP → α: weights of every channel, Eq. 4", "skip_strength", 34)]
    for level in range(len(_LEVELS)):
        below = _y(level) + 30
        parts.append(
            _arrow((_FUSION - 45, y - 17), (_FUSION - 45, below), (_FUSION - 12, _y(level) + 12), kind="skip_strength")
        )
    return parts


def _legend() -> list[str]:
    lines = (
        "Dashed to the image: a 1x1 style convolution",
        "adds to it at every level. Dashed between two",
        "levels: there may be more of them.",
    )
    return [_text(700, 555 + 20 * i, line, "note") for i, line in enumerate(lines)]


if __name__ == "__main__":
    PATH.write_text(draw(), encoding="utf-8")
