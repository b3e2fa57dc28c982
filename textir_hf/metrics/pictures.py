"""What the metrics of pictures share."""

from abc import ABC, abstractmethod

import datasets
import evaluate
import numpy as np
import torch
from PIL import Image

from textir_hf.imaging.resample import to_tensor
from textir_hf.metrics.functional import by_hole_size, check_pictures, hole_crop
from textir_hf.models.embedding import embed_images

INPUTS = """
Args:
    predictions: Restored pictures: PIL images or [H, W, 3] uint8 arrays.
    references: The targets, one each, of the same sizes.
    masks: Holes, one each, nonzero = hole; then only the hole counts. Left out, all pixels count.

Returns:
    The mean, with `values` of every picture, and with masks the means `by_hole_size`.
"""
TEXTIR = """@article{bai2023textir,
  title={TextIR: A Simple Framework for Text-based Editable Image Restoration},
  author={Bai, Yunpeng and Wang, Cairong and Xie, Shuzhao and Dong, Chao and Yuan, Chun and Wang, Zhi},
  journal={arXiv:2302.14736},
  year={2023}
}"""


def to_pictures(values, kind: str) -> list[np.ndarray]:
    """What `evaluate` hands over, as arrays.

    Raises:
        ValueError: There are none.
    """
    arrays = [np.asarray(v.convert("RGB") if isinstance(v, Image.Image) and v.mode == "P" else v) for v in values]
    if not arrays:
        raise ValueError(f"{kind} must hold at least one picture, got none.")
    return arrays


def to_masks(masks, count: int) -> list[np.ndarray | None]:
    """Masks as boolean arrays, or `count` times None.

    Raises:
        ValueError: There is not one for each picture.
    """
    if masks is None:
        return [None] * count
    if len(masks) != count:
        raise ValueError(f"masks must be one for each of the {count} predictions, got {len(masks)}.")
    arrays = [np.asarray(m.convert("L") if isinstance(m, Image.Image) else m) for m in masks]
    return [a.squeeze(-1) > 0 if a.ndim == 3 else a > 0 for a in arrays]


@torch.no_grad()
def embed(several: list[np.ndarray], holes: list[np.ndarray | None], clip, image_processor) -> np.ndarray:
    """Unit-length embeddings of pictures, or of the squares around their holes: `[N, D]` float64."""
    rows = []
    for picture, hole in zip(several, holes, strict=True):
        check_pictures(picture, picture, hole)
        seen = to_tensor(np.ascontiguousarray(picture if hole is None else hole_crop(picture, hole)))
        rows.append(embed_images(clip, image_processor, seen)[0].double().cpu().numpy())
    return np.stack(rows)


class PicturesMetric(evaluate.Metric):
    """A metric of predictions against references."""

    citation = ""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=type(self).__doc__,
            citation=self.citation,
            inputs_description=INPUTS,
            features=datasets.Features({"predictions": datasets.Image(), "references": datasets.Image()}),
        )


class PictureMetric(PicturesMetric, ABC):
    """A metric of each prediction against its reference."""

    name_of_value = ""

    def _compute(self, predictions, references, masks=None, **options) -> dict:
        restored, targets = to_pictures(predictions, "predictions"), to_pictures(references, "references")
        holes = to_masks(masks, len(restored))
        for triple in zip(restored, targets, holes, strict=True):
            check_pictures(*triple)
        self.prepare(**options)
        values = [self.value(*triple) for triple in zip(restored, targets, holes, strict=True)]
        result = {self.name_of_value: float(np.mean(values)), "values": values}
        return result | ({} if masks is None else {"by_hole_size": by_hole_size(values, holes)})

    def prepare(self) -> None:
        """Loads what all pictures need; takes the options of `compute`."""

    @abstractmethod
    def value(self, restored: np.ndarray, target: np.ndarray, mask: np.ndarray | None) -> float:
        """The metric of one picture."""
