"""What the text does: contrary sentences, color words, and curves over beta, s and the degree of damage."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from textir_hf.evaluation.damages import Extent
from textir_hf.evaluation.measures import Measures, Value
from textir_hf.evaluation.protocols import Contrast
from textir_hf.imaging import color
from textir_hf.imaging.resample import to_tensor

BETAS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
PROTOTYPES = {  # sRGB
    "red": (200, 30, 40),
    "orange": (240, 140, 30),
    "yellow": (240, 220, 50),
    "green": (50, 150, 60),
    "blue": (50, 80, 200),
    "purple": (130, 50, 160),
}
_CURVE_CONTRASTS = 2  # the first ones of a protocol


def text_effect(measures: Measures, index: int) -> list[Value]:
    """Whether both sentences of a contrast bring the image to their side."""
    values, conditions = [], measures.conditions
    for contrast in measures.protocol.contrasts:
        extent = measures.damage.contrast_extent(contrast)
        sources = {"text": conditions.contrasts[contrast.name], "images": conditions.neighbors(contrast, index)}
        for source, pair in sources.items():
            results = measures.restore(measures.test_set.image(index), pair, extent)
            first, second = (_score(measures, result, contrast, extent) for result in results)
            columns = {
                "nearer to its sentence than to the contrary (%)": 50.0 * ((first > 0) + (second < 0)),
                "nearer than the contrary's result (%)": 100.0 * (first > second),
                "shift (100 cosine)": 100 * (first - second),
            }
            values += [("text effect", f"{contrast.name}, {source}", *column) for column in columns.items()]
    return values


def _score(measures: Measures, result: np.ndarray, contrast: Contrast, extent: Extent) -> float:
    """How far what was restored lies towards the first sentence of a contrast."""
    seen = measures.damage.crop(result, extent)
    return (measures.embed(seen) @ measures.conditions.axes[contrast.name]).item()


def color_words(measures: Measures, index: int) -> list[Value]:
    """Where a color word goes: the hue of the middle, and the shift there and on the outer strip."""
    file = measures.test_set.file(index)
    if file not in measures.protocol.color_words:
        return []
    template, image = measures.protocol.color_words[file], measures.test_set.image(index)
    prompts = [template.replace("{} ", ""), *(template.format(word) for word in PROTOTYPES)]
    extent = measures.damage.extent(index, measures.damage.tables[0])
    results = measures.restore(image, measures.pipe.encode_prompt(prompts), extent)
    neutral, *colored = (color.chroma(to_tensor(result))[0].numpy() for result in results)
    middle, border = _middle_and_border(image.shape[0])
    table, values = f"color words, {file.split('_')[0]}", []
    for word, chroma in zip(PROTOTYPES, colored, strict=True):
        named = _chroma_of(PROTOTYPES[word])
        turned = np.angle(complex(*chroma[:, middle].mean(1)) / complex(*named), deg=True)
        shift = np.tensordot(named / np.linalg.norm(named), chroma - neutral, 1)
        columns = {
            "hue distance (°)": abs(turned),
            "shift of the middle": shift[middle].mean(),
            "shift of the border": shift[border].mean(),
        }
        values += [(table, word, name, float(value)) for name, value in columns.items()]
    return values


def _middle_and_border(side: int) -> tuple[np.ndarray, np.ndarray]:
    """The middle half and the outer tenth of each side, as masks `[side, side]`."""
    quarter, strip = side // 4, max(side // 10, 1)
    middle, border = np.zeros((side, side), bool), np.ones((side, side), bool)
    middle[quarter:-quarter, quarter:-quarter] = True
    border[strip:-strip, strip:-strip] = False
    return middle, border


def _chroma_of(rgb: tuple[int, int, int]) -> np.ndarray:  # -> [2]
    return color.chroma(torch.tensor(rgb, dtype=torch.float32)[None, :, None, None] / 255)[0, :, 0, 0].numpy()


def curves(measures: Measures, index: int) -> list[Value]:
    """The shift and the distance to the original against beta, s and the degrees of damage."""
    values, original = [], measures.conditions.images[index]
    for contrast in measures.protocol.contrasts[:_CURVE_CONTRASTS]:
        extent, text = measures.damage.contrast_extent(contrast), measures.conditions.contrasts[contrast.name]
        points: list[tuple] = []  # table, row, conditions, damage, skip_strength
        for beta in BETAS:
            mixed = F.normalize(beta * text + (1 - beta) * original, dim=1)
            points.append(("beta", f"{beta:g}", mixed, extent, None))
        points += [("skip_strength", f"{skip_strength:g}", text, extent, skip_strength) for skip_strength in STRENGTHS]
        for name, extents in measures.damage.curves().items():
            points += [(name, row, text, other, None) for row, other in extents]
        for table, row, *point in points:
            columns = curve_point(measures, index, contrast, *point)
            values += [(table, row, column, value) for column, value in columns.items()]
    return values


def curve_point(
    measures: Measures, index: int, contrast: Contrast, pair: Tensor, extent: Extent, skip_strength: float | None
) -> dict[str, float]:
    """The columns of one point of a curve, for an image under both conditions `[2, D]` of a contrast."""
    image = measures.test_set.image(index)
    results = measures.restore(image, pair, extent, skip_strength)
    first, second = (_score(measures, result, contrast, extent) for result in results)
    columns = {
        f"shift, {contrast.name} (100 cosine)": 100 * (first - second),
        f"LPIPS to the original, {contrast.name}": measures.distance(results[0], image),
    }
    agreement = measures.damage.agreement(results[0], image, extent)
    return columns | {f"{name}, {contrast.name} (dB)": value for name, value in agreement.items()}
