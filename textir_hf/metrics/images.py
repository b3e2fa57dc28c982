"""The image metrics as `evaluate` modules."""

from collections.abc import Callable

import datasets
import evaluate
import numpy as np
import torch
from PIL import Image

from textir_hf.imaging.resample import to_tensor
from textir_hf.metrics import functional, perceptual
from textir_hf.models.embedding import embed_images, embed_texts, load_encoder

INPUTS = """
Args:
    predictions: Restored images: PIL images or [H, W, 3] uint8 arrays.
    references: The targets, one each, of the same sizes.
    masks: One each, nonzero where pixels count. Left out, all pixels count.

Returns:
    The mean, and the `values` of all images.
"""


def to_images(values) -> list[np.ndarray]:
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
        functional.check_images(image, image, mask)
        seen = to_tensor(np.ascontiguousarray(image if mask is None else functional.region_crop(image, mask)))
        rows.append(embed_images(clip, image_processor, seen)[0].double().cpu().numpy())
    return np.stack(rows)


class ImageMetric(evaluate.Metric):
    """A metric of predictions against references: the mean of `value(restored, target, mask)` over the images."""

    value: Callable[[np.ndarray, np.ndarray, np.ndarray | None], float]
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
            functional.check_images(*triple)
        self.prepare(**options)
        values = [self.value(*triple) for triple in triples]
        return {self.name: float(np.mean(values)), "values": values}

    def prepare(self) -> None:
        """Loads what all images need; takes the options of `compute`."""


class PSNR(ImageMetric):
    """Peak signal-to-noise ratio of 8-bit images in dB, infinite for equal ones."""

    value = staticmethod(functional.psnr)


class SSIM(ImageMetric):
    """Structural similarity: Gaussian window of sigma 1.5, mean over the three channels; 1 is equal."""

    citation = "Wang et al.: Image quality assessment: from error visibility to structural similarity. TIP 2004."
    value = staticmethod(functional.ssim)


class LPIPS(ImageMetric):
    """Perceptual distance v0.1 on AlexNet; 0 is equal. Option: weights, a safetensors file, else fetched once."""

    citation = "Zhang et al.: The unreasonable effectiveness of deep features as a perceptual metric. CVPR 2018."

    def prepare(self, weights=None):
        self.network = perceptual.LPIPS(weights or perceptual.fetch())

    def value(self, restored, target, mask):
        mask = None if mask is None else torch.from_numpy(mask)[None, None]
        return self.network(to_tensor(restored), to_tensor(target), mask).item()


class CLIPScore(ImageMetric):
    """100 times the cosine of an image's and a sentence's embeddings, at least 0.

    With masks, of the squares around them. Option: encoder, "textir-mini-clip" or a folder or Hub id of a CLIP model,
    whose scale the value has.
    """

    citation = "Hessel et al.: CLIPScore: A reference-free evaluation metric for image captioning. EMNLP 2021."
    inputs = INPUTS.replace("The targets, one each, of the same sizes.", "A sentence each.")
    references = datasets.Value("string")

    def _compute(self, predictions, references, masks=None, encoder="textir-mini-clip"):  # type: ignore[override]
        restored, sentences = to_images(predictions), list(references)
        if empty := [i for i, s in enumerate(sentences) if not s or not s.strip()]:
            raise ValueError(f"references must be sentences, got an empty one at {empty[0]}.")
        clip, tokenizer, image_processor = load_encoder(encoder)
        embedded = embed(restored, to_masks(masks, len(restored)), clip, image_processor)
        with torch.no_grad():
            texts = embed_texts(clip, tokenizer, sentences).double().numpy()
        values = (100 * np.maximum((embedded * texts).sum(1), 0)).tolist()
        return {self.name: float(np.mean(values)), "values": values}


class FrechetDistance(ImageMetric):
    """Squared Fréchet distance on a dual encoder's unit-length embeddings. FID uses Inception's features instead.

    With masks, of the squares around them. Its value depends on the number of images. Option: encoder,
    "textir-mini-clip" or a folder or Hub id of a CLIP model.
    """

    citation = "Heusel et al.: GANs trained by a two time-scale update rule converge to a local Nash equilibrium. 2017."

    def _compute(self, predictions, references, masks=None, encoder="textir-mini-clip"):  # type: ignore[override]
        counted = to_masks(masks, len(predictions))
        clip, _, image_processor = load_encoder(encoder)
        sets = to_images(predictions), to_images(references)
        features = [embed(one, counted, clip, image_processor) for one in sets]
        return {self.name: functional.frechet_distance(*features), "features": encoder}


METRICS: dict[str, type[ImageMetric]] = {
    "psnr": PSNR,
    "ssim": SSIM,
    "lpips": LPIPS,
    "clip_score": CLIPScore,
    "frechet_distance": FrechetDistance,
}
