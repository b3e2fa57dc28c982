"""Effects of the text: contrary sentences and color words."""

import numpy as np
import torch

from textir_hf.evaluation.damages import mask_of
from textir_hf.evaluation.measures import Measures, Value
from textir_hf.imaging import color
from textir_hf.imaging.resample import to_tensor
from textir_hf.metrics.functional import region_crop

PROTOTYPES = {  # sRGB
    "red": (200, 30, 40),
    "orange": (240, 140, 30),
    "yellow": (240, 220, 50),
    "green": (50, 150, 60),
    "blue": (50, 80, 200),
    "purple": (130, 50, 160),
}


def text_effect(measures: Measures, index: int) -> list[Value]:
    """Whether both sentences of a contrast move the image to their side."""
    values, image = [], measures.test_set.image(index)
    for contrast in measures.protocol.contrasts:
        extent = measures.damage.contrast_extent(contrast)
        mask, axis = mask_of(extent), measures.conditions.axes[contrast.name]
        results = measures.restore(image, measures.conditions.contrasts[contrast.name], extent)
        seen = results if mask is None else [region_crop(result, mask) for result in results]
        first, second = ((measures.embed(part) @ axis).item() for part in seen)
        columns = {
            "nearer to its sentence than to the contrary (%)": 50.0 * ((first > 0) + (second < 0)),
            "nearer than the contrary's result (%)": 100.0 * (first > second),
            "shift (100 cosine)": 100 * (first - second),
        }
        values += [("text effect", contrast.name, *column) for column in columns.items()]
    return values


def color_words(measures: Measures, index: int) -> list[Value]:
    """The effect of color words: the hue of the middle, and the shift there and on the outer strip."""
    file = measures.test_set.test[index].file
    if file not in measures.protocol.color_words:
        return []
    template, image = measures.protocol.color_words[file], measures.test_set.image(index)
    prompts = [template.replace("{} ", ""), *(template.format(word) for word in PROTOTYPES)]
    extent = measures.damage.extent(index, measures.damage.tables[0])
    results = measures.restore(image, measures.pipe.encode_prompt(prompts), extent)
    neutral, *colored = (color.chroma(to_tensor(result))[0].numpy() for result in results)
    side = len(image)
    inset = np.minimum(np.arange(side), np.arange(side)[::-1])  # distance from the nearer border
    inset = np.minimum(inset[:, None], inset)
    middle, border = inset >= side // 4, inset < max(side // 10, 1)
    table, values = f"color words, {file.split('_')[0]}", []
    for word, chroma in zip(PROTOTYPES, colored, strict=True):
        rgb = torch.tensor(PROTOTYPES[word], dtype=torch.float32)[None, :, None, None] / 255
        named = color.chroma(rgb)[0, :, 0, 0].numpy()
        shift = np.tensordot(named / np.linalg.norm(named), chroma - neutral, 1)
        columns = {
            "hue distance (°)": abs(np.angle(complex(*chroma[:, middle].mean(1)) / complex(*named), deg=True)),
            "shift of the middle": shift[middle].mean(),
            "shift of the border": shift[border].mean(),
        }
        values += [(table, word, name, float(value)) for name, value in columns.items()]
    return values
