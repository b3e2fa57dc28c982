"""Pictures for training: from the Hub, a folder or parquet files, decoded and damaged in the loader's workers.

Everything random about a sample follows from the run's seed and the sample's number alone. So a run goes on exactly
where it stopped, and the number of processes that share a batch changes nothing.
"""

import hashlib
import math
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, IterableDataset, load_dataset
from datasets import Image as ImageFeature
from torch import Tensor
from torch.nn import functional as F
from torch.utils import data
from tqdm import tqdm

from textir_hf.evaluation.data import decode
from textir_hf.imaging import color, masks, resample
from textir_hf.imaging.masks import box_mask, free_form_mask
from textir_hf.tasks.super_resolution import FACTORS, MAX_FACTOR
from training.config import TrainingConfig
from training.recolor import recolor

MOST_CORRUPT = 0.01


def open_dataset(config: TrainingConfig, split: str) -> Dataset | IterableDataset:
    """Rows of one split, the pictures still encoded.

    Raises:
        ValueError: The data set, the split or the image column is not there.
    """
    try:
        if config.dataset_name:
            rows = load_dataset(config.dataset_name, config.dataset_config, split=split, streaming=config.streaming)
        elif config.train_data_dir:
            if not Path(config.train_data_dir).is_dir():
                raise FileNotFoundError(f"{config.train_data_dir} is no folder")
            rows = load_dataset("imagefolder", data_dir=config.train_data_dir, split=split, streaming=config.streaming)
        else:
            rows = load_dataset(
                "parquet", data_files={"train": config.data_files}, split="train", streaming=config.streaming
            )
    except (FileNotFoundError, ValueError, ConnectionError) as error:
        raise ValueError(f'The data cannot be opened, or has no split "{split}": {error}') from error
    columns = rows.column_names or []
    if config.image_column not in columns:
        raise ValueError(
            f"The data has no column {config.image_column}, only {', '.join(columns)}: set --image_column."
        )
    rows = rows.cast_column(config.image_column, ImageFeature(decode=False))
    if config.split_column:
        if config.split_column not in columns:
            raise ValueError(f"--split_column {config.split_column} is not there, the data has {columns}.")
        wanted = "train" if split == config.train_split else "test"
        if config.streaming:
            rows = rows.filter(lambda value: value == wanted, input_columns=config.split_column)
        else:
            rows = rows.select([i for i, value in enumerate(rows[config.split_column]) if value == wanted])
    return rows


def training_and_held_out(config: TrainingConfig) -> tuple[Dataset | IterableDataset, list[dict]]:
    """The rows to train on, and up to `validation_pictures` held-out ones.

    Raises:
        ValueError: There are no pictures.
    """
    rows, count = open_dataset(config, config.train_split), config.validation_pictures
    if config.validation_split or (config.split_column and not config.holdout):
        held_out = open_dataset(config, config.validation_split or "test")
    elif config.holdout:
        if not config.streaming and config.holdout >= len(rows):
            raise ValueError(f"--holdout {config.holdout} leaves none of the {len(rows)} pictures to train on.")
        held_out, rows = rows.take(config.holdout), rows.skip(config.holdout)
    else:
        held_out = rows.take(0)
    if not config.streaming and len(rows) == 0:
        raise ValueError("The data holds no picture to train on. Look at --train_split and --split_column.")
    if isinstance(held_out, Dataset) and len(held_out) > count:  # spread over the whole split
        held_out = held_out.select(np.linspace(0, len(held_out) - 1, count).astype(int))
    return rows, list(held_out.take(count))


def decode_whole(rows: list[dict], config: TrainingConfig) -> list[tuple[int, Tensor]]:
    """The pictures of these rows that are not damaged, with their places."""
    found = []
    for i, row in enumerate(rows):
        try:
            found.append((i, decode(row[config.image_column], config.sample_size)))
        except (OSError, SyntaxError, ValueError):
            continue
    return found


class Degrader:
    """Makes a training sample of a picture.

    Args:
        task: As in `TrainingConfig`.
        size: Side of the samples, pixels.
        masks: `[M, 1, S, S]` in {0, 1}, for inpainting.
        seed: The run's.
        least_crop: Half the pictures are cropped to this share of their side or more.
        jitter: Half the pictures change brightness, contrast and tint by up to this share.
        recolor: Share of the pictures with an object of their own whose object takes another color.
    """

    def __init__(
        self,
        task: str,
        size: int,
        masks: Tensor | None,
        seed: int,
        least_crop: float = 1.0,
        jitter: float = 0.0,
        recolor: float = 0.0,
    ) -> None:
        self.task, self.size, self.seed = task, size, seed
        self.least_crop, self.jitter, self.recolor = least_crop, jitter, recolor
        self.decoded_size = round(size / least_crop)  # so that a crop is never enlarged
        self.holes = HoleSampler(size, masks)

    def __call__(self, target: Tensor, number: int) -> dict[str, Tensor]:
        """A picture and the sample's number to what `degrade` gives, with the flip and the seed used.

        Args:
            target: `[3, decoded_size, decoded_size]` uint8.
            number: The sample's.
        """
        seed = int.from_bytes(hashlib.sha256(f"{self.seed} {number}".encode()).digest()[:6], "big")
        rng = random.Random(seed)
        flip = rng.random() < 0.5
        target = self._vary(target.flip(-1) if flip else target, rng)
        return {"target": target, "flip": int(flip), "seed": seed, **self.degrade(target, rng)}

    def _vary(self, target: Tensor, rng: random.Random) -> Tensor:
        if self.least_crop < 1:
            side = target.shape[-1]
            crop = side if rng.random() < 0.5 else round(side * rng.uniform(self.least_crop, 1))
            top, left = rng.randint(0, side - crop), rng.randint(0, side - crop)
            image = target[None, :, top : top + crop, left : left + crop].float() / 255
            image = F.interpolate(image, (self.size, self.size), mode="bicubic", antialias=True, align_corners=False)
            target = (image[0].clamp(0, 1) * 255).round().to(torch.uint8)
        if self.jitter and rng.random() < 0.5:
            amount = [rng.uniform(-self.jitter, self.jitter) for _ in range(5)]
            gain = torch.tensor([1 + amount[0] + tint / 2 for tint in amount[2:]])[:, None, None]
            image = target.float() / 255 * gain
            image = (image - image.mean()) * (1 + amount[1]) + image.mean()
            target = (image.clamp(0, 1) * 255).round().to(torch.uint8)
        if self.recolor and rng.random() < self.recolor:
            image = recolor(target[None].float() / 255, rng.uniform(20, 60), rng.uniform(0, 2 * math.pi))
            target = (image[0] * 255).round().to(torch.uint8)
        return target

    def degrade(self, target: Tensor, rng: random.Random) -> dict[str, Tensor]:
        """`[3, S, S]` uint8 to the network's input `degraded` with, by task, its `mask` or `strength`."""
        image = target[None].float() / 255
        if self.task == "inpainting":
            mask = self.holes(1, rng)
            return {"degraded": masks.mask_out(image, mask)[0], "mask": mask[0]}
        if self.task == "super-resolution":
            factor = draw_factor(rng)
            degraded = resample.lose_resolution(image, factor)[0]
            return {"degraded": degraded, "strength": torch.tensor(factor / MAX_FACTOR)}
        return {"degraded": color.lightness(image)[0]}


class Pictures(data.Dataset):
    """Sample number n to a sample: each epoch has its own permutation; a damaged picture's successor replaces it."""

    def __init__(self, rows: Dataset, image_column: str, degrader: Degrader) -> None:
        self.rows, self.image_column, self.degrader = rows, image_column, degrader
        self._epoch, self._order = -1, []

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict:
        epoch, place = divmod(number, len(self.rows))
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([self.degrader.seed, epoch]).permutation(len(self.rows))
        corrupt = []
        for attempt in range(len(self.rows)):
            row = int(self._order[(place + attempt) % len(self.rows)])
            value = self.rows[row][self.image_column]
            try:
                target = decode(value, self.degrader.decoded_size)
            except (OSError, SyntaxError, ValueError):
                corrupt.append(value.get("path") or f"row {row}")
                continue
            return {"row": row, "corrupt": corrupt, **self.degrader(target, number)}
        raise ValueError(f"None of the {len(self.rows)} pictures can be decoded. Look at {corrupt[0]}, for example.")


class SampleNumbers:
    """Batches of sample numbers for one process of several, from sample `start` on, without end."""

    def __init__(self, start: int, batch: int, process: int, processes: int) -> None:
        self.start, self.batch, self.process, self.processes = start, batch, process, processes

    def __iter__(self) -> Iterator[list[int]]:
        first = self.start + self.process * self.batch
        while True:
            yield list(range(first, first + self.batch))
            first += self.batch * self.processes


class StreamedRows:
    """Batches of a stream's encoded rows for one process of several, shuffled `shuffle_buffer` rows at a time.

    Every row says in `position` how to go on after it: the stream's state at the start of its block, and how many
    rows of the block are done. The next block is read while this one is used.

    Args:
        rows: The stream.
        config: The run's.
        process: This process's number.
        processes: How many there are.
        position: That of the last row used, or None to start.
    """

    def __init__(self, rows: IterableDataset, config: TrainingConfig, process: int, processes: int, position=None):
        self.config, self.process, self.processes = config, process, processes
        self.position = position or {"epoch": 0, "state": None, "done": 0, "count": 0}
        if rows.num_shards >= processes:  # whole files where there are enough, else every so-manieth row
            self.rows = rows.shard(num_shards=processes, index=process)
        else:
            self.rows = rows.filter(lambda _, i: i % processes == process, with_indices=True)

    def _blocks(self) -> Iterator[tuple[int, dict, list[dict]]]:
        start = deepcopy(self.rows.state_dict())
        epoch, state, seen = self.position["epoch"], self.position["state"] or start, False
        while True:
            self.rows.load_state_dict(state)
            iterator = iter(self.rows)
            while block := list(islice(iterator, self.config.shuffle_buffer)):
                seen = True
                yield epoch, state, block
                state = deepcopy(self.rows.state_dict())
            if not seen:
                raise ValueError(f"The stream holds no picture for process {self.process + 1} of {self.processes}.")
            epoch, state = epoch + 1, start

    def __iter__(self) -> Iterator[list[dict]]:
        done, count, batch = self.position["done"], self.position["count"], []
        with ThreadPoolExecutor(1) as reader:
            blocks = self._blocks()
            following = reader.submit(next, blocks)
            while True:
                epoch, state, block = following.result()
                following = reader.submit(next, blocks)
                seed = [self.config.seed, self.process, epoch, count - done]
                for i in np.random.default_rng(seed).permutation(len(block))[done:]:
                    done, count = done + 1, count + 1
                    position = {"epoch": epoch, "state": state, "done": done, "count": count}
                    number = self.process + self.processes * count
                    batch.append({"image": block[i][self.config.image_column], "number": number, "position": position})
                    if len(batch) == self.config.train_batch_size:
                        yield batch
                        batch = []
                done = 0


class StreamedPictures(data.Dataset):
    """Encoded rows of a stream to samples; another picture of the batch takes a damaged one's place."""

    def __init__(self, degrader: Degrader) -> None:
        self.degrader = degrader

    def __getitems__(self, items: list[dict]) -> list[dict]:
        targets, corrupt = [], []
        for item in items:
            try:
                targets.append(decode(item["image"], self.degrader.decoded_size))
            except (OSError, SyntaxError, ValueError):
                targets.append(None)
                corrupt.append(item["image"].get("path") or f"picture {item['number']} of the stream")
        good = [t for t in targets if t is not None]
        if not good:
            raise ValueError(f"No picture of a batch can be decoded: {', '.join(corrupt)}.")
        targets = [good[i % len(good)] if t is None else t for i, t in enumerate(targets)]
        samples = [self.degrader(t, item["number"]) for t, item in zip(targets, items, strict=True)]
        return [{"row": -1, "corrupt": corrupt, "position": items[-1]["position"], **sample} for sample in samples]


def collate(samples: list[dict]) -> dict:
    """Tensors and numbers stacked; the names of damaged pictures joined; the last position kept."""
    batch = {"corrupt": [name for s in samples for name in s["corrupt"]], "position": samples[-1].get("position")}
    for key in samples[0].keys() - batch.keys():
        values = [s[key] for s in samples]
        batch[key] = torch.stack(values) if isinstance(values[0], Tensor) else torch.tensor(values)
    return batch


def embed_rows(embed, dim: int, rows: Dataset, config: TrainingConfig, batch: int = 64) -> Tensor:
    """Embeddings of all pictures and of their mirror images, `[2, N, D]` at unit length; a damaged one's is 0.

    Args:
        embed: `[N, 3, S, S]` in [0, 1] to `[N, D]`.
        dim: D.
        rows: The pictures, encoded.
        config: The run's.
        batch: Pictures at a time.
    """
    out = torch.zeros(2, len(rows), dim)
    for start in tqdm(range(0, len(rows), batch), desc="embeddings"):
        found = decode_whole([rows[i] for i in range(start, min(start + batch, len(rows)))], config)
        if found:
            places = [start + i for i, _ in found]
            pictures = torch.stack([image for _, image in found]).float() / 255
            for flip in (0, 1):
                out[flip, places] = embed(pictures.flip(-1) if flip else pictures).float().cpu()
    return out


class HoleSampler:
    """Holes for training: half are boxes, a quarter brush strokes, a quarter irregular masks, turned and mirrored."""

    def __init__(self, size: int, irregular: Tensor | None) -> None:
        self.size, self.irregular = size, irregular

    def __call__(self, count: int, rng: random.Random) -> Tensor:  # -> [count, 1, S, S], 1 = hole
        return torch.stack([self._one(rng) for _ in range(count)])

    def _one(self, rng: random.Random) -> Tensor:
        kind = rng.choice(("irregular", "strokes", "box", "box"))
        if kind == "box":
            return box_mask(self.size, self.size, rng)
        if kind == "strokes" or self.irregular is None:
            return (free_form_mask(self.size, self.size, rng) > 0.5).float()
        mask = self.irregular[rng.randrange(len(self.irregular))]
        mask = torch.rot90(mask, rng.randrange(4), (1, 2))
        return mask.flip(-1) if rng.random() < 0.5 else mask


def draw_factor(rng: random.Random) -> int:
    """A downscaling factor, uniform over 4, 8, 16, 32, 64 (TextIR, Sec. 3.3)."""
    return rng.choice(FACTORS)
