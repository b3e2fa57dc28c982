"""Everything that is measured of one image of a test set."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from textir_hf import TextIRPipeline
from textir_hf.evaluation import judges
from textir_hf.evaluation.conditions import OURS, Conditions
from textir_hf.evaluation.damages import Damage, Extent, mask_of
from textir_hf.evaluation.data import TestSet
from textir_hf.evaluation.protocols import Protocol
from textir_hf.imaging.resample import to_tensor
from textir_hf.metrics import functional
from textir_hf.metrics.perceptual import LPIPS
from textir_hf.models.embedding import embed_images

Value = tuple[str, str, str, float]  # table, row, column, value


def file_of(folder: Path, table: str, name: str) -> Path:
    """The file of an image in a table's folder: the first word of the title."""
    return folder / table.split(" ")[0] / name


class Measures:
    """A checkpoint on a test set."""

    def __init__(
        self,
        pipe: TextIRPipeline,
        protocol: Protocol,
        test_set: TestSet,
        damage: Damage,
        lpips: LPIPS,
        peers: dict[str, Path] | None = None,
    ) -> None:
        if pipe.task.name != protocol.task:
            raise ValueError(f"This protocol is for {protocol.task}, the checkpoint's task is {pipe.task.name}.")
        self.pipe, self.protocol, self.test_set, self.damage, self.lpips = pipe, protocol, test_set, damage, lpips
        self.peers = peers or {}
        for name, folder in self.peers.items():
            self._check_peer(name, folder)

    def files_of(self, folder: Path) -> list[Path]:
        """The results of a peer."""
        names = [self.test_set.name(i) for i in range(len(self.test_set))]
        return [file_of(folder, table, name) for table in self.damage.tables for name in names]

    def _check_peer(self, name: str, folder: Path) -> None:
        files, side = self.files_of(folder), self.test_set.size
        missing = [file for file in files if not file.is_file()]
        if missing:
            raise ValueError(
                f"--against {name} must have a result for each image, but {len(missing)} of {len(files)} are missing, "
                f"such as {missing[0]}. Write the inputs with --save-inputs and keep their folders and names."
            )
        sizes = {file: _size(file) for file in files}
        wrong = [f"{file} ({w}x{h})" for file, (w, h) in sizes.items() if (w, h) != (side, side)]
        if wrong:
            raise ValueError(
                f"--against {name} must have results of {side}x{side} pixels, but {len(wrong)} of {len(files)} "
                f"have another size, such as {wrong[0]}."
            )

    def prepare(self, progress: Callable = iter) -> None:
        """Embeds all images and their sentences; `progress` wraps the loop over the images."""
        embeddings, descriptors = [], []
        for i in progress(range(len(self.test_set))):
            image = self.test_set.image(i)
            embeddings.append(self.embed(image))
            if self.damage.hides_identity:
                descriptors.append(self.describe(image).half())
        self.conditions = Conditions(self.pipe, self.protocol, self.test_set, torch.stack(embeddings))
        self.descriptors = torch.stack(descriptors) if descriptors else None

    @torch.no_grad()
    def embed(self, image: np.ndarray) -> Tensor:
        """The dual encoder's embedding of `[H, W, 3]` uint8: `[D]` at unit length."""
        tensor = to_tensor(np.ascontiguousarray(image), self.pipe.clip.device)
        return embed_images(self.pipe.clip, self.pipe.image_processor, tensor)[0].cpu()

    def describe(self, image: np.ndarray) -> Tensor:
        """The descriptor by which a person is recognized: `[D]` at unit length."""
        return self.lpips.descriptor(to_tensor(image, self.lpips.shift.device))[0].cpu()

    def restore(self, image: np.ndarray, conditions: Tensor, extent: Extent) -> list[np.ndarray]:
        """The checkpoint's results for a damaged image under each of the conditions `[K, D]`."""
        given, arguments = self.damage.given(image, extent)
        results = self.pipe(image=Image.fromarray(given), prompt_embeds=conditions, **arguments).images
        return [np.asarray(result) for result in results]

    def restored(self, index: int, table: str) -> dict[str, np.ndarray]:
        """The results of every method of a table for an image."""
        image, extent = self.test_set.image(index), self.damage.extent(index, table)
        results = self.damage.baselines(image, extent)
        for name, folder in self.peers.items():
            with Image.open(file_of(folder, table, self.test_set.name(index))) as result:
                results[name] = np.asarray(result.convert("RGB"))
        return results | dict(zip(OURS, self.restore(image, self.conditions.of(index), extent), strict=True))

    def measure(self, index: int) -> tuple[list[Value], dict[str, np.ndarray]]:
        """The values of an image in all tables of quality, and embeddings of the results, under "table|method"."""
        values: list[Value] = []
        embeddings, target = {}, self.test_set.image(index)
        for table in self.damage.tables:
            extent = self.damage.extent(index, table)
            mask = mask_of(extent)
            embeddings[f"{table}|target"] = self.conditions.images[index].numpy()
            for name, output in self.restored(index, table).items():
                embedding = self.embed(output)
                embeddings[f"{table}|{name}"] = embedding.numpy()
                columns = self._quality(output, target, mask) | self.damage.columns(output, target, extent)
                columns["CLIP score"] = 100 * max((embedding @ self.conditions.texts[index]).item(), 0)
                if self.damage.hides_identity:
                    among = min(judges.AMONG, len(self.descriptors))
                    recognized = judges.is_recognized(self.describe(output), self.descriptors, index, among)
                    columns[f"recognized among {among} (%)"] = 100.0 * recognized
                values += [(table, name, column, value) for column, value in columns.items()]
        return values, embeddings

    def _quality(self, output: np.ndarray, target: np.ndarray, mask: np.ndarray | None) -> dict[str, float]:
        columns, device = {}, self.lpips.shift.device
        pair = to_tensor(output, device), to_tensor(target, device)
        for prefix, region in [("", None)] if mask is None else [("", None), ("masked ", mask)]:
            area = None if region is None else torch.from_numpy(region)[None, None].to(device)
            columns[f"{prefix}PSNR (dB)"] = functional.psnr(output, target, region)
            columns[f"{prefix}SSIM"] = functional.ssim(output, target, region)
            columns[f"{prefix}LPIPS"] = self.lpips(*pair, area).item()
        return columns


def _size(file: Path) -> tuple[int, int]:
    with Image.open(file) as image:
        return image.size
