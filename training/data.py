"""The data of a run: what it trains on, what it holds out, and its endless batches."""

import signal
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from accelerate import Accelerator
from datasets import Dataset, IterableDataset
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from textir_hf.hub.data import open_rows
from training.checkpoint import Progress
from training.config import DataConfig, TrainingConfig
from training.samples import Images, SampleMaker, StreamedImages, collate, decode
from training.streams import SampleNumbers, StreamedRows

if TYPE_CHECKING:
    from training.latents import EncodedRows

MOST_DAMAGED = 0.01  # share of the images


def open_split(config: DataConfig, split: str) -> Dataset | IterableDataset:
    """Rows of one split, the images still encoded.

    Raises:
        ValueError: The data set, the split or a column is not there.
    """
    return open_rows(
        config.dataset,
        split,
        split_column=config.split_column or None,
        image_columns=[name for name in (config.image_column, config.object_mask_column, config.valid_column) if name],
        configuration=config.dataset_config,
        streaming=config.streaming,
    )


def training_and_held_out(config: TrainingConfig) -> tuple[Dataset | IterableDataset, list[dict]]:
    """The rows to train on, and up to `validation_images` held-out ones.

    A stream still begins with the rows that `holdout` counts, as only `StreamedRows` can skip them.

    Raises:
        ValueError: There are no images to train on.
    """
    data, count = config.data, config.run.validation_images
    rows = open_split(data, data.train_split)
    if data.validation_split or (data.split_column and not data.holdout):
        held_out = open_split(data, data.validation_split or "test")
    else:
        if not data.streaming and data.holdout >= len(rows) > 0:
            raise ValueError(f"--holdout {data.holdout} leaves none of the {len(rows)} images to train on.")
        held_out = rows.take(data.holdout)
        rows = rows if data.streaming else rows.skip(data.holdout)
    if not data.streaming and len(rows) == 0:
        raise ValueError("The data holds no image to train on. Look at --train-split and --split-column.")
    if isinstance(held_out, Dataset) and len(held_out) > count:  # spread over all of the split
        held_out = held_out.select(np.linspace(0, len(held_out) - 1, count).astype(int))
    return rows, list(held_out.take(count))


def decode_rows(rows: list[dict], config: TrainingConfig) -> list[tuple[int, Tensor]]:
    """The images of these rows that are not damaged, `[3, S, S]` uint8, with their places."""
    found = []
    for i, row in enumerate(rows):
        try:
            found.append((i, decode(row[config.data.image_column], config.network.sample_size)))
        except ValueError:
            continue
    return found


class Batches:
    """Batches of this process from where the run stands, without end, on its device.

    Tensors are on the device, numbers are lists. Damaged images are named on stderr.

    Args:
        config: The run's.
        accelerator: Says which of the processes this is.
        progress: Where the run stands; it moves with every batch.
        rows: The training rows.
        maker: Makes the samples.
        embeddings: As for `Images`, and so are the latents.

    Attributes:
        waited: Seconds for which batches were not ready.
    """

    def __init__(
        self,
        config: TrainingConfig,
        accelerator: Accelerator,
        progress: Progress,
        rows: Dataset | IterableDataset,
        maker: SampleMaker,
        embeddings: Tensor | None,
        latents: "EncodedRows | None" = None,
    ) -> None:
        self.config, self.accelerator, self.progress, self.rows = config, accelerator, progress, rows
        process, processes = accelerator.process_index, accelerator.num_processes
        if config.data.streaming:
            images = StreamedImages(maker)
            items = StreamedRows(rows, config, process, processes, progress.positions.get(process))
        else:
            images = Images(rows, maker, embeddings, latents)
            items = SampleNumbers(progress.samples, config.optimization.train_batch_size, process, processes)
        loader = DataLoader(
            images,
            batch_sampler=items,
            num_workers=config.data.dataloader_num_workers,
            collate_fn=collate,
            pin_memory=accelerator.device.type == "cuda",
            worker_init_fn=_ignore_signals,
        )
        self.iterator = iter(loader)
        self.waited, self.damaged = 0.0, set()

    def __iter__(self) -> Iterator[dict]:
        return self

    def __next__(self) -> dict:
        """The next batch.

        Raises:
            ValueError: Too many images are damaged.
        """
        start = time.perf_counter()
        batch = next(self.iterator)
        self.waited += time.perf_counter() - start
        self._count_damaged(batch.pop("damaged"))
        if position := batch.pop("position"):
            self.progress.positions[self.accelerator.process_index] = position
        self.progress.samples += self.accelerator.num_processes * self.config.optimization.train_batch_size
        device = self.accelerator.device
        return {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in batch.items()}

    def close(self) -> None:
        """Ends the loader's processes. At Python's exit it is too late: they ignore the signal that ends others."""
        if self.config.data.dataloader_num_workers:
            self.iterator._shutdown_workers()  # the loader's own way; PyTorch offers no other

    def _count_damaged(self, names: list[str]) -> None:
        for name in set(names) - self.damaged:
            self.damaged.add(name)
            tqdm.write(f"warning: damaged image {len(self.damaged)} skipped: {name}", file=sys.stderr)
        seen = max(1000, self.progress.samples) if self.config.data.streaming else len(self.rows)
        if len(self.damaged) > MOST_DAMAGED * seen:
            raise ValueError(
                f"{len(self.damaged)} of {seen} images are damaged, more than {MOST_DAMAGED:.0%}: "
                f"{', '.join(sorted(self.damaged)[:20])}. Remove or replace them."
            )


def _ignore_signals(worker: int) -> None:
    """Ctrl-C and a scheduler's SIGTERM reach the loader's processes too; the run still needs them to end its step."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
