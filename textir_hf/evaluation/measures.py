"""Everything that is measured of one image of a test set."""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from textir_hf import TextIRPipeline
from textir_hf.evaluation import judges
from textir_hf.evaluation.conditions import OURS, Conditions
from textir_hf.evaluation.damages import Damage, Extent
from textir_hf.evaluation.data import TestSet
from textir_hf.evaluation.protocols import Protocol
from textir_hf.imaging.resample import to_tensor
from textir_hf.metrics import functional
from textir_hf.metrics.perceptual import LPIPS
from textir_hf.models.embedding import embed_images

Value = tuple[str, str, str, float]  # table, row, column, value


class Measures:
    """A checkpoint on a test set.

    Args:
        pipe: The checkpoint.
        protocol: What to measure; its task must be the checkpoint's.
        test_set: The images.
        damage: How they are damaged.
        lpips: LPIPS on AlexNet.

    Raises:
        ValueError: The checkpoint has another task.
    """

    def __init__(
        self, pipe: TextIRPipeline, protocol: Protocol, test_set: TestSet, damage: Damage, lpips: LPIPS
    ) -> None:
        if pipe.task.name != protocol.task:
            raise ValueError(f"This protocol is for {protocol.task}, the checkpoint's task is {pipe.task.name}.")
        self.pipe, self.protocol, self.test_set, self.damage, self.lpips = pipe, protocol, test_set, damage, lpips
        self.conditions: Conditions
        self.descriptors: Tensor

    def prepare(self, progress: Callable = iter) -> None:
        """Embeds all images and their sentences.

        Args:
            progress: Wraps the loop over the images.
        """
        embeddings, descriptors = [], []
        for i in progress(range(len(self.test_set))):
            image = self.test_set.image(i)
            embeddings.append(self.embed(image))
            if self.damage.hides_identity:
                descriptors.append(self.describe(image).half())
        self.conditions = Conditions(self.pipe, self.protocol, self.test_set, torch.stack(embeddings))
        self.descriptors = torch.stack(descriptors) if descriptors else torch.empty(0)

    @torch.no_grad()
    def embed(self, image: np.ndarray) -> Tensor:
        """The dual encoder's embedding of `[H, W, 3]` uint8: `[D]` at unit length."""
        tensor = to_tensor(np.ascontiguousarray(image), self.pipe.clip.device)
        return embed_images(self.pipe.clip, self.pipe.image_processor, tensor)[0].cpu()

    def distance(self, first: np.ndarray, second: np.ndarray, mask: np.ndarray | None = None) -> float:
        """LPIPS of two images, or of the masked region in them."""
        device = self.lpips.shift.device
        region = None if mask is None else torch.from_numpy(mask)[None, None].to(device)
        return self.lpips(to_tensor(first, device), to_tensor(second, device), region).item()

    def describe(self, image: np.ndarray) -> Tensor:
        """The descriptor by which a person is recognized: `[D]` at unit length."""
        return self.lpips.descriptor(to_tensor(image, self.lpips.shift.device))[0].cpu()

    def restore(
        self, image: np.ndarray, conditions: Tensor, extent: Extent, skip_strength: float | None = None
    ) -> list[np.ndarray]:
        """What the checkpoint makes of a damaged image under each of the conditions `[K, D]`."""
        degraded = Image.fromarray(self.damage.degrade(image, extent))
        arguments = self.damage.arguments(extent)
        arguments |= {"prompt_embeds": conditions, "skip_strength": skip_strength, "return_dict": False}
        (results,) = self.pipe(image=degraded, **arguments)
        return [np.asarray(result) for result in results]

    def restored(self, index: int, table: str) -> dict[str, np.ndarray]:
        """What every method of a table makes of an image."""
        image, extent = self.test_set.image(index), self.damage.extent(index, table)
        ours = self.restore(image, self.conditions.of(index), extent)
        return self.damage.baselines(index, extent) | dict(zip(OURS, ours, strict=True))

    def measure(self, index: int) -> tuple[list[Value], dict[str, np.ndarray]]:
        """The values of an image in all tables of quality, and embeddings of the results, under "table|method"."""
        values: list[Value] = []
        embeddings, target = {}, self.test_set.image(index)
        for table in self.damage.tables:
            extent = self.damage.extent(index, table)
            mask = self.damage.mask(extent)
            if mask is not None:
                values.append((table, "", "share", float(mask.mean())))
            embeddings[f"{table}|target"] = self.conditions.images[index].numpy()
            for name, output in self.restored(index, table).items():
                embedding = self.embed(output)
                embeddings[f"{table}|{name}"] = embedding.numpy()
                columns = self._quality(output, target, mask) | self.damage.measure(output, target, extent)
                columns["CLIP score"] = 100 * max((embedding @ self.conditions.texts[index]).item(), 0)
                columns |= self._identity(output, index)
                values += [(table, name, column, value) for column, value in columns.items()]
            original = self.damage.measure_original(target)
            values += [(table, "originals", column, value) for column, value in original.items()]
        return values, embeddings

    def _quality(self, output: np.ndarray, target: np.ndarray, mask: np.ndarray | None) -> dict[str, float]:
        columns = {
            "PSNR (dB)": functional.psnr(output, target),
            "SSIM": functional.ssim(output, target),
            "LPIPS": self.distance(output, target),
        }
        if mask is not None:
            columns |= {
                "masked PSNR (dB)": functional.psnr(output, target, mask),
                "masked SSIM": functional.ssim(output, target, mask),
                "masked LPIPS": self.distance(output, target, mask),
            }
        return columns

    def _identity(self, output: np.ndarray, index: int) -> dict[str, float]:
        if not self.damage.hides_identity:
            return {}
        among = min(judges.AMONG, len(self.descriptors))
        recognized = judges.is_recognized(self.describe(output), self.descriptors, index, among)
        return {f"recognized among {among} (%)": 100.0 * recognized}
