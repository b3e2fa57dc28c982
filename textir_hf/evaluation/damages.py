"""How test images are damaged before they are restored, and methods without learning that repair the damage.

All images are `[H, W, 3]` uint8. The extent of the damage to one image is a mask `[H, W]` bool, True = repaint, a
factor, or None where every image loses the same.
"""

import random
from abc import ABC, abstractmethod

import cv2
import numpy as np
import torch
from PIL import Image
from scipy.ndimage import binary_dilation
from skimage.restoration import inpaint_biharmonic
from torch import Tensor

from textir_hf.evaluation.data import TestSet
from textir_hf.evaluation.protocols import Protocol
from textir_hf.imaging import color, resample
from textir_hf.imaging.masks import box_mask
from textir_hf.imaging.resample import to_array, to_tensor
from textir_hf.metrics import functional
from textir_hf.tasks import get_task

Extent = np.ndarray | float | None
_BOX_SHARES = (0.3, 0.6)  # of the image's sides


def _biharmonic(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    filled = inpaint_biharmonic(np.where(mask[..., None], 0, image), mask, channel_axis=-1, split_into_regions=True)
    return np.where(mask[..., None], (255 * filled).round().clip(0, 255), image).astype(np.uint8)


def _border_mean(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    border = binary_dilation(mask) & ~mask
    mean = (image[border] if border.any() else np.full((1, 3), 128.0)).mean(0)
    return np.where(mask[..., None], mean.round().astype(np.uint8), image)


FILLERS = {
    "OpenCV Telea": lambda image, mask: cv2.inpaint(image, mask.astype(np.uint8), 3, cv2.INPAINT_TELEA),
    "OpenCV Navier-Stokes": lambda image, mask: cv2.inpaint(image, mask.astype(np.uint8), 3, cv2.INPAINT_NS),
    "biharmonic": _biharmonic,
    "mean of the border": _border_mean,
}
_FILTERS = Image.Resampling
UPSCALERS = {
    "nearest": lambda small, size: np.asarray(Image.fromarray(small).resize(size[::-1], _FILTERS.NEAREST)),
    "bicubic": lambda small, size: to_array(resample.upsample(to_tensor(small), size)),
    "Lanczos": lambda small, size: np.asarray(Image.fromarray(small).resize(size[::-1], _FILTERS.LANCZOS)),
}


def with_chroma(image: np.ndarray, chroma: Tensor) -> np.ndarray:
    """The image's lightness with one a and b `[2]` everywhere; zeros make it gray."""
    lightness = color.lightness(to_tensor(image))
    return to_array(color.join_lab(lightness, chroma[None, :, None, None].expand(1, 2, *lightness.shape[2:])))


def mask_of(extent: Extent) -> np.ndarray | None:
    return extent if isinstance(extent, np.ndarray) else None


class Damage(ABC):
    """How the images of a test set are damaged; `masks` are `[M, 1, S, S]` in {0, 1}, 1 = repaint."""

    tables: list[str]  # titles of the tables of quality, whose first words name the tables' folders
    uses_masks = False
    hides_identity = False  # a restored person may be another one, so recognition is measured

    def __init__(self, protocol: Protocol, test_set: TestSet, masks: Tensor | None = None) -> None:
        self.protocol, self.test_set = protocol, test_set

    def extent(self, index: int, table: str) -> Extent:
        """The damage to an image in a table."""
        return None

    def contrast_extent(self, contrast) -> Extent:
        """The damage to an image under a contrast's sentences."""
        return None

    @abstractmethod
    def damaged(self, image: np.ndarray, extent: Extent) -> np.ndarray:
        """The damaged image, without any of the lost pixels."""

    @abstractmethod
    def baselines(self, image: np.ndarray, extent: Extent) -> dict[str, np.ndarray]:
        """The results of methods without learning, by their names."""

    def given(self, image: np.ndarray, extent: Extent) -> tuple[np.ndarray, dict]:
        """The image and the further arguments that the pipeline is called with."""
        return image, {}

    def columns(self, restored: np.ndarray, target: np.ndarray, extent: Extent) -> dict[str, float]:
        """Further columns of a table of quality."""
        return {"detail": functional.detail(restored, target, mask_of(extent))}


class MaskedRegion(Damage):
    uses_masks = True

    def __init__(self, protocol: Protocol, test_set: TestSet, masks: Tensor) -> None:
        super().__init__(protocol, test_set)
        shares, (low, high) = masks.mean((1, 2, 3)), protocol.mask_shares
        fitting = (shares >= low) & (shares <= high) & (shares > 0) & (shares < 1)
        self.masks = masks[fitting, 0].bool().numpy()
        if not len(self.masks):
            raise ValueError(f"No mask covers {100 * low:.0f} to {100 * high:.0f} % of the image. Give other masks.")
        self.tables = [f"irregular masks of {100 * low:.0f}-{100 * high:.0f} %"] + ["boxes"] * protocol.boxes

    def extent(self, index, table):
        if table != "boxes":
            return self.masks[index % len(self.masks)]
        height, width = self.masks.shape[1:]
        return box_mask(height, width, random.Random(index), _BOX_SHARES)[0].numpy() > 0.5

    def contrast_extent(self, contrast):
        mask = np.zeros(self.masks.shape[1:], bool)
        left, top, right, bottom = (round(share * len(mask)) for share in contrast.region)
        mask[top:bottom, left:right] = True
        return mask

    def damaged(self, image, extent):
        return np.where(extent[..., None], np.uint8(255), image)

    def baselines(self, image, extent):
        return {name: fill(self.damaged(image, extent), extent) for name, fill in FILLERS.items()}

    def given(self, image, extent):
        return image, {"mask_image": Image.fromarray(extent)}

    def columns(self, restored, target, extent):
        return super().columns(restored, target, extent) | {"seam": functional.seam(restored, target, extent)}


class LostResolution(Damage):
    hides_identity = True

    def __init__(self, protocol: Protocol, test_set: TestSet, masks: None = None) -> None:
        super().__init__(protocol, test_set)
        self.tables = [f"{factor}x" for factor in protocol.factors]

    def extent(self, index, table):
        return float(table.removesuffix("x"))

    def contrast_extent(self, contrast):
        return float(self.protocol.effect_factor)

    def damaged(self, image, extent):
        return to_array(resample.downsample(to_tensor(image), extent))

    def baselines(self, image, extent):
        small = self.damaged(image, extent)
        return {name: upscale(small, image.shape[:2]) for name, upscale in UPSCALERS.items()}

    def given(self, image, extent):
        return self.damaged(image, extent), {"scale": extent}

    def columns(self, restored, target, extent):
        """Also the result, shrunk again, against the small image; at most 60 dB, where 8 bits show no difference."""
        agreement = functional.psnr(self.damaged(restored, extent), self.damaged(target, extent))
        return super().columns(restored, target, extent) | {"PSNR to the input (dB)": min(agreement, 60.0)}


class LostColor(Damage):
    tables = ["colors"]

    def __init__(self, protocol: Protocol, test_set: TestSet, masks: None = None) -> None:
        super().__init__(protocol, test_set)
        images = [test_set.decode(row, 64) for row in test_set.training]
        means = [color.chroma(to_tensor(image)).mean((0, 2, 3)) for image in images]
        self.mean_chroma = torch.stack(means).mean(0) if means else None  # [2]

    def damaged(self, image, extent):
        return with_chroma(image, torch.zeros(2))

    def baselines(self, image, extent):
        results = {"gray": self.damaged(image, extent)}
        if self.mean_chroma is not None:
            results["mean a and b of the training set"] = with_chroma(image, self.mean_chroma)
        return results

    def columns(self, restored, target, extent):
        ours, original = functional.colorfulness(restored), functional.colorfulness(target)
        return {"colorfulness": ours, "colorfulness of the original": original}


DAMAGES: dict[str | None, type[Damage]] = {"mask_image": MaskedRegion, "factor": LostResolution, "colors": LostColor}


def damage_of(task: str) -> type[Damage]:
    return DAMAGES[get_task(task).degradation]
