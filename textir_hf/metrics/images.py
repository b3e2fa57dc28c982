"""The base of the image metrics as `evaluate` modules."""

from collections.abc import Callable

import datasets
import evaluate
import numpy as np
import torch
from PIL import Image

from textir_hf.imaging.resample import to_tensor
from textir_hf.metrics.functional import check_images, region_crop
from textir_hf.models.embedding import embed_images

INPUTS = """
Args:
    predictions: Restored images: PIL images or [H, W, 3] uint8 arrays.
    references: The targets, one each, of the same sizes.
    masks: One each, nonzero where pixels count. Left out, all pixels count.

Returns:
    The mean, and the `values` of all images.
"""


def to_images(values) -> list[np.ndarray]:
    """Images as arrays."""
    if not values:
        raise ValueError("predictions and references must hold at least one image, got none.")
    return [np.asarray(v.convert("RGB") if isinstance(v, Image.Image) and v.mode == "P" else v) for v in values]


def to_masks(masks, count: int) -> list[np.ndarray | None]:
    """Masks as boolean arrays, or `count` times None."""
    if masks is None:
        return [None] * count
    if len(masks) != count:
        raise ValueError(f"masks must be one for each of the {count} predictions, got {len(masks)}.")
    arrays = [np.asarray(m.convert("L") if isinstance(m, Image.Image) else m) for m in masks]
    return [a.squeeze(-1) > 0 if a.ndim == 3 else a > 0 for a in arrays]


@torch.no_grad()
def embed(images: list[np.ndarray], masks: list[np.ndarray | None], clip, image_processor) -> np.ndarray:
    """Unit-length embeddings of images, or of the squares around their masks: `[N, D]` float64."""
    rows = []
    for image, mask in zip(images, masks, strict=True):
        check_images(image, image, mask)
        seen = to_tensor(np.ascontiguousarray(image if mask is None else region_crop(image, mask)))
        rows.append(embed_images(clip, image_processor, seen)[0].double().cpu().numpy())
    return np.stack(rows)


class ImageMetric(evaluate.Metric):
    """A metric of predictions against references: the mean of `value(restored, target, mask)` over the images."""

    value: Callable[[np.ndarray, np.ndarray, np.ndarray | None], float]  # of a restored image, its target and its mask
    citation = ""
    inputs = INPUTS
    references = datasets.Image()

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=type(self).__doc__,
            citation=self.citation,
            inputs_description=self.inputs,
            features=datasets.Features({"predictions": datasets.Image(), "references": self.references}),
        )

    def _compute(self, predictions, references, masks=None, **options) -> dict:
        restored, targets = to_images(predictions), to_images(references)
        triples = list(zip(restored, targets, to_masks(masks, len(restored)), strict=True))
        for triple in triples:
            check_images(*triple)
        self.prepare(**options)
        values = [self.value(*triple) for triple in triples]
        return {self.name: float(np.mean(values)), "values": values}

    def prepare(self) -> None:
        """Loads what all images need; takes the options of `compute`."""
