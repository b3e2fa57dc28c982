"""From a data set to batches of training samples.

Everything random about a sample follows from the run's seed and the sample's number alone. So a run goes on exactly
where it stopped, and the number of processes that share a batch changes nothing.
"""

import hashlib
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from itertools import count, islice

import numpy as np
import torch
from accelerate.utils import send_to_device
from datasets import Dataset, IterableDataset
from datasets import Image as ImageFeature
from torch import Tensor
from torch.utils import data
from tqdm import tqdm

from textir_hf.hub.data import load_masks, open_rows, read_square
from textir_hf.imaging.masks import box_mask, free_form_mask
from textir_hf.tasks import get_task
from training.config import TrainingConfig

VALID = "valid"  # column that `training.align` writes: white = part of the photo, black = beyond its border
MOST_DAMAGED = 0.01  # share of the images
_VALIDATED = 16  # images of a validation split


def open_split(config: TrainingConfig, split: str) -> Dataset | IterableDataset:
    """Rows of one split, the images still encoded."""
    columns = {"split_column": config.split_column, "image_columns": [config.image_column]}
    rows = open_rows(config.dataset, split, **columns, streaming=config.streaming)
    if rows.features is not None and isinstance(rows.features.get(VALID), ImageFeature):
        rows = rows.cast_column(VALID, ImageFeature(decode=False))
    return rows


def training_and_held_out(config: TrainingConfig) -> tuple[Dataset | IterableDataset, list[dict]]:
    """The rows to train on, and the held-out ones, which `StreamedRows` skips."""
    rows, held_out = open_split(config, "train"), config.held_out_rows
    if not config.streaming:
        if not len(rows):
            raise ValueError("The data has no training images. Look at --split-column.")
        if held_out > len(rows) // 2:
            held_out = len(rows) // 2
            print(f"Only {len(rows)} images: {held_out} are held out, not {config.holdout}.", file=sys.stderr)
    if config.validation_split or (config.split_column and not held_out):
        split = open_split(config, config.validation_split or "test")
        if isinstance(split, Dataset) and len(split) > _VALIDATED:  # from all over the split
            split = split.select(np.linspace(0, len(split) - 1, _VALIDATED).astype(int))
        return rows, list(split.take(_VALIDATED))
    return rows if config.streaming else rows.skip(held_out), list(rows.take(held_out))


def decode(value: dict, size: int) -> Tensor | None:
    """An image as `[3, size, size]` uint8, or None if it is damaged."""
    try:
        return torch.from_numpy(read_square(value, size)).permute(2, 0, 1).contiguous()
    except ValueError:
        return None


def row_captions(row: dict, column: str | None) -> list[str]:
    """A row's captions, if it has any."""
    value = row.get(column) or []
    return [caption for caption in ([value] if isinstance(value, str) else value) if caption and caption.strip()]


class SampleMaker(data.Dataset):
    """Makes training samples: number n, each epoch in an order of its own, or that of an item of `StreamedRows`."""

    def __init__(self, config: TrainingConfig, embedding_dim: int, rows: Dataset | None = None, latents=None) -> None:
        self.config, self.task, self.embedding_dim = config, get_task(config.task), embedding_dim
        self.rows, self.latents, self._epoch, self._order = rows, latents, -1, np.arange(0)
        self._items = latents.items if latents else [(row, None) for row in range(len(rows or ()))]
        preloaded, column, size = (
            tqdm(rows, desc="images") if config.preload else (),
            config.image_column,
            config.sample_size,
        )
        self._decoded = {i: decode(row[column], size) for i, row in enumerate(preloaded)}
        if config.masks:
            masks = load_masks(config.masks, "train", config.sample_size)
            self.irregular = masks[masks.flatten(1).any(1)]
            if not len(self.irregular):
                raise ValueError(f"No mask marks a pixel at {config.sample_size}x{config.sample_size}.")

    def draw_mask(self, rng: random.Random) -> Tensor:  # -> [1, 1, S, S], 1 = repaint
        """A turned and mirrored irregular mask, brush strokes or a box, in the shares of `mask_mix`."""
        size = self.config.sample_size
        (kind,) = rng.choices(("irregular", "strokes", "box"), self.config.mask_mix)
        if kind == "box":
            return box_mask(size, size, rng)[None]
        if kind == "strokes":
            return (free_form_mask(size, size, rng) > 0.5).float()[None]
        mask = self.irregular[rng.randrange(len(self.irregular))]
        mask = torch.rot90(mask, rng.randrange(4), (1, 2))
        return (mask.flip(-1) if rng.random() < 0.5 else mask)[None]

    def __call__(self, image: Tensor, number: int, captions: Sequence[str] = (), flip: int | None = None) -> dict:
        """Sample `number`, of an image `[3, S, S]` uint8, which is mirrored at random if `flip` is None.

        The result of `Task.degrade`, and `target` `[3, S, S]` uint8; `flip` and `seed`, numbers; `condition_noise`
        `[D]`; where such a share is set, `dropped` and `swapped` (bool tensors) and `caption`, to restore under or "".
        """
        config = self.config
        seed = int.from_bytes(hashlib.sha256(f"{config.seed} {number}".encode()).digest()[:6], "big")
        rng = random.Random(seed)
        drawn = rng.random() < 0.5  # in any case, so that the other draws stay the same
        flip = int(drawn if flip is None else flip)
        target = image.flip(-1) if flip else image
        degraded = self.task.degrade(target[None].float() / 255, rng, self.draw_mask)
        noise = torch.randn(self.embedding_dim, generator=torch.Generator().manual_seed(seed))
        sample = {"target": target, "flip": flip, "seed": seed, "condition_noise": noise, **degraded}
        swap = False
        if config.swap_probability:
            swap = rng.random() < config.swap_probability and self.task.leaves_open(degraded)
            sample["swapped"] = torch.tensor(swap)
        if config.condition_dropout:
            sample["dropped"] = torch.tensor(rng.random() < config.condition_dropout and not swap)
        if config.caption_probability:
            use = rng.random() < config.caption_probability
            sample["caption"] = rng.choice(captions) if use and captions else ""
        return sample

    def of_row(self, row: dict, number: int, name: str, image: Tensor | None = None, flip: int | None = None) -> dict:
        """Sample `number`, of a row; or in `damaged` the name of the file (or `name`) if it cannot be decoded."""
        value = row[self.config.image_column]
        image = decode(value, self.config.sample_size) if image is None else image
        if image is None:
            return {"damaged": (value or {}).get("path") or name}
        return self(image, number, row_captions(row, self.config.caption_column), flip)

    def __getitem__(self, item: int | dict) -> dict:
        """With latents also `latent`, `embedding`, and `valid` `[1, h, w]`, 1 = shows a part of the photo."""
        if isinstance(item, dict):
            sample = self.of_row(item["row"], item["number"], f"image {item['number']} of the stream")
            return sample | {"position": item["position"]}
        epoch, place = divmod(item, len(self._items))
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([self.config.seed, epoch]).permutation(len(self._items))
        row, flip = self._items[self._order[place]]
        values = self.rows[int(row)]
        sample = self.of_row(values, item, f"row {row}", self._decoded.get(row), flip)
        if not self.latents:
            return sample
        sample |= self.latents[row, flip]
        sample["valid"] = torch.ones(1, *sample["latent"].shape[1:])
        if values.get(VALID):
            mask = read_square(values[VALID], sample["valid"].shape[-1], "The valid mask")[None, ..., 0] == 255
            sample["valid"] = torch.from_numpy(mask[..., ::-1].copy() if flip else mask).float()
        return sample


class StreamedRows:
    """Batches of a stream's encoded rows for one process, shuffled `shuffle_buffer` rows at a time.

    Every row has in `position` how to go on after it: the stream's state at the start of its block, and how many rows
    of the block are done. (torchdata's stateful loader would lose the rows in the buffer of `IterableDataset.shuffle`.)
    The next block is read while this one is used.
    """

    def __init__(self, rows: IterableDataset, config: TrainingConfig, process: int, processes: int, position=None):
        self.config, self.process, self.processes = config, process, processes
        self.position = position or {"epoch": 0, "state": None, "done": 0, "count": 0}
        # `split_dataset_by_node` would divide the number of skipped rows among the files, too; here they are counted.
        skipped = config.held_out_rows
        if rows.num_shards < processes:  # every N-th row
            rows = rows.skip(skipped).filter(lambda _, i: i % processes == process, with_indices=True)
        else:  # files of its own
            for earlier in range(process):
                if skipped:
                    skipped -= sum(1 for _ in rows.shard(processes, earlier).take(skipped))
            rows = rows.shard(processes, process)
            rows = rows.skip(skipped) if skipped else rows
        self.rows = rows

    def _blocks(self) -> Iterator[tuple[int, dict, list[dict]]]:
        start = deepcopy(self.rows.state_dict())
        state = self.position["state"] or start
        for epoch in count(self.position["epoch"]):
            self.rows.load_state_dict(state)
            iterator = iter(self.rows)
            while block := list(islice(iterator, self.config.shuffle_buffer)):
                yield epoch, state, block
                state = deepcopy(self.rows.state_dict())
            if state is start:
                raise ValueError(f"The stream holds no image for process {self.process + 1} of {self.processes}.")
            state = start

    def __iter__(self) -> Iterator[list[dict]]:
        done, number, batch = self.position["done"], self.position["count"], []
        with ThreadPoolExecutor(1) as reader:
            blocks = self._blocks()
            following = reader.submit(next, blocks)
            while True:
                epoch, state, block = following.result()
                following = reader.submit(next, blocks)
                seed = [self.config.seed, self.process, epoch, number - done]
                for i in np.random.default_rng(seed).permutation(len(block))[done:]:
                    done, number = done + 1, number + 1
                    position = {"epoch": epoch, "state": state, "done": done, "count": number}
                    sample = self.process + self.processes * number
                    batch.append({"row": block[i], "number": sample, "position": position})
                    if len(batch) == self.config.train_batch_size:
                        yield batch
                        batch = []
                done = 0


def collate(samples: list[dict]) -> dict:
    """Tensors stacked, numbers as lists; other samples of the batch replace damaged images, unless all are damaged."""
    batch = {"damaged": [s["damaged"] for s in samples if "damaged" in s], "position": samples[-1].get("position")}
    good = [s for s in samples if "damaged" not in s]
    samples = [good[i % len(good)] if "damaged" in s else s for i, s in enumerate(samples)] if good else []
    for key in samples[0].keys() - batch.keys() if good else ():
        values = [s[key] for s in samples]
        batch[key] = torch.stack(values) if isinstance(values[0], Tensor) else values
    return batch


class Batches:
    """Endless batches of this process, on its device, from where the run's `state` says, which moves with every batch.

    `waited` counts the seconds for which batches were not ready. Damaged images are named on stderr.
    """

    def __init__(self, rows: Dataset | IterableDataset, maker: SampleMaker, accelerator, state) -> None:
        self.rows, self.config, self.accelerator, self.state = rows, maker.config, accelerator, state
        process, processes, size = accelerator.process_index, accelerator.num_processes, self.config.train_batch_size
        if self.config.streaming:
            items = StreamedRows(rows, self.config, process, processes, state.positions.get(process))
        else:
            first = state.samples + process * size
            items = (range(start, start + size) for start in count(first, size * processes))
        loader = data.DataLoader(
            maker,
            batch_sampler=items,
            num_workers=self.config.dataloader_num_workers,
            collate_fn=collate,
            pin_memory=accelerator.device.type == "cuda",
            worker_init_fn=_ignore_signals,
        )
        self.iterator = iter(loader)
        self.waited, self.damaged = 0.0, set()

    def __next__(self) -> dict:
        """The next batch: tensors on the device, numbers in lists."""
        batch: dict = {}
        while "target" not in batch:  # all images of a batch may be damaged
            start = time.perf_counter()
            batch = next(self.iterator)
            self.waited += time.perf_counter() - start
            for name in set(batch.pop("damaged")) - self.damaged:
                self.damaged.add(name)
                tqdm.write(f"warning: damaged image {len(self.damaged)} skipped: {name}", file=sys.stderr)
            seen = max(1000, self.state.samples) if self.config.streaming else len(self.rows)
            if len(self.damaged) > MOST_DAMAGED * seen:
                raise ValueError(
                    f"{len(self.damaged)} of {seen} images are damaged, more than {MOST_DAMAGED:.0%}: "
                    f"{', '.join(sorted(self.damaged)[:20])}. Remove or replace them."
                )
            if position := batch.pop("position"):
                self.state.positions[self.accelerator.process_index] = position
            self.state.samples += self.accelerator.num_processes * self.config.train_batch_size
        return send_to_device(batch, self.accelerator.device, non_blocking=True)

    def close(self) -> None:
        """Ends the loader's processes. They ignore the signals that would end them when Python exits."""
        if self.config.dataloader_num_workers:
            self.iterator._shutdown_workers()  # the loader's own way; PyTorch offers no other


def _ignore_signals(worker: int) -> None:
    """Ctrl-C and a scheduler's SIGTERM reach the loader's processes, too, but the run needs them to end its step."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
