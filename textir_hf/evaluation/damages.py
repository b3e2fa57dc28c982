"""What is taken from an image before it is restored: one class for each degradation that a task can name.

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
from textir_hf.evaluation.baselines import PromptedFiller
from textir_hf.evaluation.data import TestSet
from textir_hf.evaluation.protocols import Contrast, Protocol
from textir_hf.imaging import color, masks, resample
from textir_hf.imaging.resample import to_array, to_tensor
from textir_hf.metrics import functional
from textir_hf.tasks import get_task
from textir_hf.tasks.super_resolution import FACTORS

Extent = np.ndarray | float | None
_BOX_SHARES = (0.3, 0.6)  # of the image's sides
_TRAINING_IMAGES = 200  # of each file, for their mean color


class Damage(ABC):
    """How the images of a test set are damaged.

    Class attributes:
        uses_masks: It needs irregular masks, and inpainting pipelines of diffusers are baselines.
        hides_identity: Whether a restored person is still the same is a question.

    Args:
        protocol: What is measured.
        test_set: The images.
        masks: `[M, 1, S, S]` in {0, 1}, 1 = repaint, for a damage that uses masks.
    """

    uses_masks = False
    hides_identity = False

    def __init__(self, protocol: Protocol, test_set: TestSet, masks: Tensor | None = None) -> None:
        self.protocol, self.test_set = protocol, test_set
        self.fillers: dict[str, PromptedFiller] = {}  # further baselines

    @property
    @abstractmethod
    def tables(self) -> list[str]:
        """Titles of the tables of quality."""

    @abstractmethod
    def extent(self, index: int, table: str) -> Extent:
        """The damage to an image in a table."""

    @abstractmethod
    def contrast_extent(self, contrast: Contrast) -> Extent:
        """The damage under which a contrast is to be seen."""

    @abstractmethod
    def baselines(self, index: int, extent: Extent) -> dict[str, np.ndarray]:
        """What others make of an image, by their names."""

    @abstractmethod
    def show(self, image: np.ndarray, extent: Extent) -> Image.Image:
        """The damaged image, as people see it."""

    def degrade(self, image: np.ndarray, extent: Extent) -> np.ndarray:
        """The image that the checkpoint is given."""
        return image

    def arguments(self, extent: Extent) -> dict:
        """Arguments of the pipeline's call."""
        return {}

    def mask(self, extent: Extent) -> np.ndarray | None:
        """The pixels that alone are restored, or None."""
        return None

    def crop(self, image: np.ndarray, extent: Extent) -> np.ndarray:
        """The part of an image that shows what was restored."""
        return image

    def measure(self, restored: np.ndarray, target: np.ndarray, extent: Extent) -> dict[str, float]:
        """Further columns of a table of quality."""
        return {}

    def measure_original(self, target: np.ndarray) -> dict[str, float]:
        """Columns that the originals have too."""
        return {}

    def agreement(self, restored: np.ndarray, image: np.ndarray, extent: Extent) -> dict[str, float]:
        """How well a result fits what the checkpoint was given, as columns of the curves."""
        return {}

    def curves(self) -> dict[str, list[tuple[str, Extent]]]:
        """Further curves: their names, and their points with the damage of each."""
        return {}


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

    def baselines(self, index, extent):
        image = self.test_set.image(index)
        results = {name: fill(image, extent) for name, fill in baselines.FILLERS.items()}
        return results | {name: fill(image, extent, index) for name, fill in self.fillers.items()}

    def show(self, image, extent):
        return Image.fromarray(np.where(extent[..., None], np.uint8(255), image))

    def arguments(self, extent):
        return {"mask_image": Image.fromarray(extent)}

    def mask(self, extent):
        return extent

    def crop(self, image, extent):
        return functional.region_crop(image, extent)

    def measure(self, restored, target, extent):
        return {"detail": judges.detail(restored, target, extent), "seam": judges.seam(restored, target, extent)}


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

    def baselines(self, index, extent):
        image = self.test_set.image(index)
        small = self.degrade(image, extent)
        return {name: upscale(small, image.shape[:2]) for name, upscale in baselines.UPSCALERS.items()}

    def show(self, image, extent):
        small = Image.fromarray(self.degrade(image, extent))
        return small.resize(image.shape[1::-1], Image.Resampling.NEAREST)

    def degrade(self, image, extent):
        return to_array(resample.downsample(to_tensor(image), extent))

    def arguments(self, extent):
        return {"scale": extent}

    def measure(self, restored, target, extent):
        return {"detail": judges.detail(restored, target)}

    def agreement(self, restored, image, extent):
        """The result, shrunk again, against the small image; at most 60 dB, where 8 bits show no difference."""
        small, again = self.degrade(image, extent), self.degrade(restored, extent)
        return {"PSNR to the input": min(functional.psnr(again, small), 60.0)}

    def curves(self):
        return {"factor": [(str(factor), float(factor)) for factor in FACTORS]}


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
        images = self.test_set.training_images(_TRAINING_IMAGES, 64)
        means = [color.chroma(to_tensor(image)).mean((0, 2, 3)) for image in images]
        return torch.stack(means).mean(0) if means else None

    def baselines(self, index, extent):
        image = self.test_set.image(index)
        results = {"gray": baselines.with_chroma(image, torch.zeros(2))}
        if self.mean_chroma is not None:
            results["mean a and b of the training set"] = baselines.with_chroma(image, self.mean_chroma)
        return results

    def show(self, image, extent):
        return Image.fromarray(image).convert("L").convert("RGB")

    def measure(self, restored, target, extent):
        return {"colorfulness": functional.colorfulness(restored)}

    def measure_original(self, target):
        return {"colorfulness": functional.colorfulness(target)}


DAMAGES: dict[str | None, type[Damage]] = {"mask_image": MaskedRegion, "factor": LostResolution, "colors": LostColor}


def damage_of(task: str) -> type[Damage]:
    """The kind of damage that a task's checkpoints repair.

    Raises:
        ValueError: There is none for this task.
    """
    degradation = get_task(task).degradation
    if degradation not in DAMAGES:
        raise ValueError(f"No evaluation damages images as the task {task} needs it. Add a class to damages.py.")
    return DAMAGES[degradation]
