"""From a decoded image to a training sample, in the loader's workers.

Everything random about a sample follows from the run's seed and the sample's number alone. So a run goes on exactly
where it stopped, and the number of processes that share a batch changes nothing.
"""

import hashlib
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from torch.nn import functional as F
from torch.utils import data
from tqdm import tqdm

from textir_hf.hub.data import read_square
from textir_hf.imaging.masks import box_mask, free_form_mask
from textir_hf.tasks import Task
from training.config import DataConfig, ObjectiveConfig

if TYPE_CHECKING:
    from training.latents import EncodedRows


class MaskSampler:
    """Masks for training, of three kinds in given shares.

    Args:
        size: Side of the masks, pixels.
        mix: Shares of irregular masks, which are turned and mirrored, brush strokes and boxes.
        irregular: `[M, 1, S, S]` in {0, 1}, of which empty ones are left out; may be None where their share is 0.

    Raises:
        ValueError: All irregular masks are empty.
    """

    def __init__(self, size: int, mix: list[float], irregular: Tensor | None) -> None:
        if irregular is not None:
            irregular = irregular[irregular.flatten(1).any(1)]
            if not len(irregular):
                raise ValueError(f"No mask marks a pixel at {size}x{size}. White is what is repainted.")
        self.size, self.mix, self.irregular = size, mix, irregular

    def __call__(self, rng: random.Random) -> Tensor:  # -> [1, 1, S, S], 1 = repaint
        (kind,) = rng.choices(("irregular", "strokes", "box"), self.mix)
        if kind == "box":
            return box_mask(self.size, self.size, rng)[None]
        if kind == "strokes":
            return (free_form_mask(self.size, self.size, rng) > 0.5).float()[None]
        mask = self.irregular[rng.randrange(len(self.irregular))]
        mask = torch.rot90(mask, rng.randrange(4), (1, 2))
        return (mask.flip(-1) if rng.random() < 0.5 else mask)[None]


class SampleMaker:
    """Makes a training sample of an image.

    Args:
        task: Degrades the image.
        size: Side of the samples, pixels.
        masks: Draws masks.
        config: How the images vary.
        seed: The run's.
        noise_dim: Length of the condition's noise.
        objective: How many samples get another condition, a caption, or none.
        sentences: How many sentences there are among the other conditions.
    """

    def __init__(
        self,
        task: Task,
        size: int,
        masks: MaskSampler,
        config: DataConfig,
        seed: int,
        noise_dim: int,
        objective: ObjectiveConfig,
        sentences: int = 0,
    ) -> None:
        self.task, self.size, self.masks, self.config, self.seed = task, size, masks, config, seed
        self.noise_dim, self.objective, self.sentences = noise_dim, objective, sentences
        self.decoded_size = round(size / config.least_crop)  # so that a crop is never upscaled

    def __call__(self, image: Tensor, number: int, captions: Sequence[str] = (), flip: int | None = None) -> dict:
        """Makes sample `number`.

        Args:
            image: `[3, decoded_size, decoded_size]` uint8; where objects are known, a fourth channel is their mask.
            number: The sample's.
            captions: The image's.
            flip: Whether the image is mirrored; drawn if left out.

        Returns:
            What `Task.degrade` gives, and `target` `[3, S, S]` uint8, where objects are known `object_mask` `[1, S, S]`
            in [0, 1], empty if this image's is not, `flip` and `seed` (numbers), `condition_noise`
            `[D]` and, as tensors, where conditions are swapped, `swapped` (bool) and `sentence` (its number, or -1 for
            the next image's embedding), and where they are dropped, `dropped` (bool); where captions
            are used, `caption`: the one to restore under, or "" to restore under the image's embedding.
        """
        seed = int.from_bytes(hashlib.sha256(f"{self.seed} {number}".encode()).digest()[:6], "big")
        rng = random.Random(seed)
        drawn = rng.random() < 0.5
        flip = drawn if flip is None else flip
        image = self._vary(image.flip(-1) if flip else image, rng)
        target = image[:3]
        degraded = self.task.degrade(target[None].float() / 255, rng, self.masks)
        noise = torch.randn(self.noise_dim, generator=torch.Generator().manual_seed(seed))
        sample = {"target": target, "flip": int(flip), "seed": seed, "condition_noise": noise, **degraded}
        if len(image) > 3:
            sample["object_mask"] = image[3:].float() / 255
        if self.objective.swap_probability:
            sentence = rng.randrange(self.sentences) if self.sentences and rng.random() < 0.5 else -1
            sample["swapped"] = torch.tensor(rng.random() < self.objective.swap_probability)
            sample["sentence"] = torch.tensor(sentence)
        if self.objective.condition_dropout:
            sample["dropped"] = torch.tensor(rng.random() < self.objective.condition_dropout)
        if self.objective.caption_probability:
            use = rng.random() < self.objective.caption_probability and not sample.get("swapped")
            sample["caption"] = rng.choice(captions) if use and captions else ""
        return sample

    def _vary(self, image: Tensor, rng: random.Random) -> Tensor:
        config = self.config
        if config.least_crop < 1:
            side = image.shape[-1]
            crop = side if rng.random() < 0.5 else round(side * rng.uniform(config.least_crop, 1))
            top, left = rng.randint(0, side - crop), rng.randint(0, side - crop)
            part = image[None, :, top : top + crop, left : left + crop].float() / 255
            part = F.interpolate(part, (self.size, self.size), mode="bicubic", antialias=True, align_corners=False)
            image = _to_bytes(part[0])
        target, mask = image[:3], image[3:]
        if config.color_jitter and rng.random() < 0.5:
            amount = [rng.uniform(-config.color_jitter, config.color_jitter) for _ in range(5)]
            gain = torch.tensor([1 + amount[0] + tint / 2 for tint in amount[2:]])[:, None, None]
            bright = target.float() / 255 * gain
            target = _to_bytes((bright - bright.mean()) * (1 + amount[1]) + bright.mean())
        return torch.cat([target, mask])


def _to_bytes(image: Tensor) -> Tensor:
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def decode(value: dict, size: int, name: str = "The image") -> Tensor:
    """`read_square` as a tensor `[3, size, size]` uint8."""
    return torch.from_numpy(read_square(value, size, name)).permute(2, 0, 1).contiguous()


def decode_row(row: dict, config: DataConfig, size: int) -> Tensor:
    """A row's image, and its object's mask in a fourth channel if the data has masks; empty if this row has none."""
    image = decode(row[config.image_column], size)
    if not config.object_mask_column:
        return image
    value = row[config.object_mask_column]
    mask = decode(value, size, "The object's mask")[:1] if value else torch.zeros_like(image[:1])
    return torch.cat([image, mask])


def row_captions(row: dict, column: str | None) -> list[str]:
    """A row's captions; it may have none."""
    value = row.get(column) if column else None
    return [value] if isinstance(value, str) else [caption for caption in (value or []) if caption]


def decode_valid(row: dict, config: DataConfig, cells: int, flip: int) -> Tensor:
    """Which latent cells show a part of the photo, `[1, cells, cells]` in {0, 1}; all if the data does not say."""
    value = row.get(config.valid_column) if config.valid_column else None
    if not value:
        return torch.ones(1, cells, cells)
    valid = (decode(value, cells, "The valid mask")[:1] == 255).float()
    return valid.flip(-1) if flip else valid


class Images(data.Dataset):
    """Sample number n to a sample: each epoch has its own permutation; a damaged image's successor replaces it.

    Args:
        rows: The training rows, their images encoded.
        maker: Makes the samples.
        embeddings: `[2, N, D]` of the images and their mirror images, if they are cached.
        latents: Of the rows, where the generator learns latents; rows without are left out.
    """

    def __init__(
        self, rows: Dataset, maker: SampleMaker, embeddings: Tensor | None = None, latents: "EncodedRows | None" = None
    ) -> None:
        self.rows, self.maker, self.embeddings, self.latents = rows, maker, embeddings, latents
        self._epoch, self._order = -1, []
        self._images = None
        if maker.config.preload:
            self._images = [self._decode(row) for row in tqdm(range(len(rows)), desc="images")]

    def _decode(self, row: int) -> Tensor | None:
        """The image of a row, or None if it is damaged."""
        try:
            return decode_row(self.rows[row], self.maker.config, self.maker.decoded_size)
        except ValueError:
            return None

    def __len__(self) -> int:
        return len(self.latents.items) if self.latents else len(self.rows)

    def __getitem__(self, number: int) -> dict:
        epoch, place = divmod(number, len(self))
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([self.maker.seed, epoch]).permutation(len(self))
        damaged = []
        for attempt in range(len(self)):
            row, flip = int(self._order[(place + attempt) % len(self)]), None
            if self.latents:
                row, flip = self.latents.items[row]
            image, values = self._decode(row) if self._images is None else self._images[row], self.rows[row]
            if image is None:
                damaged.append((values[self.maker.config.image_column] or {}).get("path") or f"row {row}")
                continue
            sample = self.maker(image, number, row_captions(values, self.maker.config.caption_column), flip)
            if self.latents:
                sample["latent"], sample["embedding"] = self.latents[row, flip]
                sample["valid"] = decode_valid(values, self.maker.config, sample["latent"].shape[-1], flip)
            elif self.embeddings is not None:
                sample["embedding"] = self.embeddings[sample["flip"], row]
            return {"damaged": damaged, **sample}
        raise ValueError(f"None of the {len(self)} images can be decoded. Look at {damaged[0]}, for example.")


class StreamedImages(data.Dataset):
    """Encoded rows of a stream to samples; another image of the batch takes a damaged one's place."""

    def __init__(self, maker: SampleMaker) -> None:
        self.maker = maker

    def __getitems__(self, items: list[dict]) -> list[dict]:
        config, images, damaged = self.maker.config, [], []
        for item in items:
            try:
                images.append((decode_row(item["row"], config, self.maker.decoded_size), item["row"]))
            except ValueError:
                images.append(None)
                path = (item["row"][config.image_column] or {}).get("path")
                damaged.append(path or f"image {item['number']} of the stream")
        good = [image for image in images if image is not None]
        if not good:
            raise ValueError(f"No image of a batch can be decoded: {', '.join(damaged)}.")
        images = [good[i % len(good)] if image is None else image for i, image in enumerate(images)]
        samples = [
            self.maker(image, item["number"], row_captions(row, config.caption_column))
            for (image, row), item in zip(images, items, strict=True)
        ]
        return [{"damaged": damaged, "position": items[-1]["position"], **sample} for sample in samples]


def collate(samples: list[dict]) -> dict:
    """Tensors stacked, numbers as lists; the names of damaged images joined; the last position kept.

    Where conditions are swapped, `matched` holds the places of the samples that keep their own.
    """
    batch = {"damaged": [name for s in samples for name in s["damaged"]], "position": samples[-1].get("position")}
    for key in samples[0].keys() - batch.keys():
        values = [s[key] for s in samples]
        batch[key] = torch.stack(values) if isinstance(values[0], Tensor) else values
    if "swapped" in batch:
        batch["matched"] = (~batch["swapped"]).nonzero()[:, 0]
    return batch
