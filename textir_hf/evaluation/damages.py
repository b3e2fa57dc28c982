"""How test images are damaged before they are restored: one class for each degradation that a task can name.

All images are `[H, W, 3]` uint8. The extent of the damage to one image is a mask `[H, W]` bool, a factor, or None where
every image loses the same.
"""

import random
from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from textir_hf.evaluation import baselines, judges
from textir_hf.evaluation.data import TestSet
from textir_hf.evaluation.protocols import Contrast, Protocol
from textir_hf.imaging import color, masks, resample
from textir_hf.imaging.resample import to_array, to_tensor
from textir_hf.metrics import functional
from textir_hf.tasks import get_task

Extent = np.ndarray | float | None
_BOX_SHARES = (0.3, 0.6)  # of the image's sides


def mask_of(extent: Extent) -> np.ndarray | None:
    """The pixels that alone are restored, or None."""
    return extent if isinstance(extent, np.ndarray) else None


class Damage(ABC):
    """How the images of a test set are damaged.

    Class attributes:
        uses_masks: It needs masks `[M, 1, S, S]` in {0, 1}, 1 = repaint.
        hides_identity: A restored person may be another one, so recognition is measured.
    """

    uses_masks = False
    hides_identity = False

    def __init__(self, protocol: Protocol, test_set: TestSet, masks: Tensor | None = None) -> None:
        self.protocol, self.test_set = protocol, test_set

    @property
    @abstractmethod
    def tables(self) -> list[str]:
        """Titles of the tables of quality; the first word is the name of the table's folder."""

    @abstractmethod
    def extent(self, index: int, table: str) -> Extent:
        """The damage to an image in a table."""

    @abstractmethod
    def contrast_extent(self, contrast: Contrast) -> Extent:
        """The damage under which a contrast is measured."""

    @abstractmethod
    def damaged(self, image: np.ndarray, extent: Extent) -> np.ndarray:
        """The damaged image, without any of the lost pixels."""

    @abstractmethod
    def baselines(self, image: np.ndarray, extent: Extent) -> dict[str, np.ndarray]:
        """Results of methods without learning, by their names."""

    def given(self, image: np.ndarray, extent: Extent) -> tuple[np.ndarray, dict]:
        """The image and the further arguments that the pipeline is called with."""
        return image, {}

    def columns(self, restored: np.ndarray, target: np.ndarray, extent: Extent) -> dict[str, float]:
        """Further columns of a table of quality."""
        return {"detail": judges.detail(restored, target, mask_of(extent))}


class MaskedRegion(Damage):
    """The pixels of a mask are lost."""

    uses_masks = True

    def __init__(self, protocol: Protocol, test_set: TestSet, masks: Tensor | None = None) -> None:
        super().__init__(protocol, test_set)
        if masks is None:
            raise ValueError("A damage to masked regions needs masks, got none. Give those of load_masks.")
        shares, (low, high) = masks.mean((1, 2, 3)), protocol.mask_shares
        fitting = (shares >= low) & (shares <= high) & (shares > 0) & (shares < 1)
        self.masks = masks[fitting, 0].bool().numpy()
        if not len(self.masks):
            raise ValueError(f"No mask covers {100 * low:.0f} to {100 * high:.0f} % of the image. Give other masks.")

    @property
    def tables(self):
        low, high = (100 * share for share in self.protocol.mask_shares)
        return [f"irregular masks of {low:.0f}-{high:.0f} %"] + ["boxes"] * self.protocol.boxes

    def extent(self, index, table):
        if table != "boxes":
            return self.masks[index % len(self.masks)]
        size = self.test_set.size
        return masks.box_mask(size, size, random.Random(index), _BOX_SHARES)[0].numpy() > 0.5

    def contrast_extent(self, contrast):
        size = self.test_set.size
        left, top, right, bottom = (round(share * size) for share in contrast.region)
        mask = np.zeros((size, size), bool)
        mask[top:bottom, left:right] = True
        return mask

    def damaged(self, image, extent):
        return np.where(extent[..., None], np.uint8(255), image)

    def baselines(self, image, extent):
        return {name: fill(self.damaged(image, extent), extent) for name, fill in baselines.FILLERS.items()}

    def given(self, image, extent):
        return image, {"mask_image": Image.fromarray(extent)}

    def columns(self, restored, target, extent):
        return super().columns(restored, target, extent) | {"seam": judges.seam(restored, target, extent)}


class LostResolution(Damage):
    """The image is shrunk by a factor."""

    hides_identity = True

    @property
    def tables(self):
        return [f"{factor}x" for factor in self.protocol.factors]

    def extent(self, index, table):
        return float(table.removesuffix("x"))

    def contrast_extent(self, contrast):
        return float(self.protocol.effect_factor)

    def damaged(self, image, extent):
        return to_array(resample.downsample(to_tensor(image), extent))

    def baselines(self, image, extent):
        small = self.damaged(image, extent)
        return {name: upscale(small, image.shape[:2]) for name, upscale in baselines.UPSCALERS.items()}

    def given(self, image, extent):
        return self.damaged(image, extent), {"scale": extent}

    def columns(self, restored, target, extent):
        """Also the result, shrunk again, against the small image; at most 60 dB, where 8 bits show no difference."""
        agreement = functional.psnr(self.damaged(restored, extent), self.damaged(target, extent))
        return super().columns(restored, target, extent) | {"PSNR to the input (dB)": min(agreement, 60.0)}


class LostColor(Damage):
    """The image keeps its lightness alone."""

    @property
    def tables(self):
        return ["colors"]

    def extent(self, index, table):
        return None

    def contrast_extent(self, contrast):
        return None

    @cached_property
    def mean_chroma(self) -> Tensor | None:
        """Mean a and b `[2]` of the training images, or None where the test set has none."""
        means = [color.chroma(to_tensor(image)).mean((0, 2, 3)) for image in self.test_set.training_images(64)]
        return torch.stack(means).mean(0) if means else None

    def damaged(self, image, extent):
        return baselines.gray(image)

    def baselines(self, image, extent):
        results = {"gray": baselines.gray(image)}
        if self.mean_chroma is not None:
            results["mean a and b of the training set"] = baselines.with_chroma(image, self.mean_chroma)
        return results

    def columns(self, restored, target, extent):
        values = {"colorfulness": restored, "colorfulness of the original": target}
        return {name: functional.colorfulness(image) for name, image in values.items()}


DAMAGES: dict[str | None, type[Damage]] = {"mask_image": MaskedRegion, "factor": LostResolution, "colors": LostColor}


def damage_of(task: str) -> type[Damage]:
    """The kind of damage that a task's checkpoints repair."""
    return DAMAGES[get_task(task).degradation]
