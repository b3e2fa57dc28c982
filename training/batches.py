"""Endless batches of samples, from rows in memory or from a stream, shared by the processes of a run."""

import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from itertools import count, islice

import numpy as np
import torch
from datasets import Dataset, IterableDataset
from torch import Tensor
from torch.utils import data
from tqdm import tqdm

from training.config import TrainingConfig
from training.data import Images, SampleMaker

MOST_DAMAGED = 0.01  # share of the images


class StreamedImages(data.Dataset):
    """Items of `StreamedRows` to samples."""

    def __init__(self, maker: SampleMaker) -> None:
        self.maker = maker

    def __getitem__(self, item: dict) -> dict:
        name = f"image {item['number']} of the stream"
        return {"position": item["position"], **self.maker.of_row(item["row"], item["number"], name)}


def share_of_stream(rows: IterableDataset, held_out: int, process: int, processes: int) -> IterableDataset:
    """A process's rows of a stream, without the first ones: files of its own if there are enough, or every N-th row.

    `split_dataset_by_node` would divide the number of skipped rows among the files, too; here they are counted.
    """
    if rows.num_shards < processes:
        return rows.skip(held_out).filter(lambda _, i: i % processes == process, with_indices=True)
    for earlier in range(process):
        if held_out:
            held_out -= sum(1 for _ in rows.shard(processes, earlier).take(held_out))
    share = rows.shard(processes, process)
    return share.skip(held_out) if held_out else share


class StreamedRows:
    """Batches of a stream's encoded rows for one process, shuffled `shuffle_buffer` rows at a time.

    Every row has in `position` how to go on after it: the stream's state at the start of its block, and how many rows
    of the block are done. torchdata's stateful loader saves the state of `IterableDataset.shuffle` without the rows in
    its buffer, so a resumed run would not see them. The next block is read while this one is used.
    """

    def __init__(self, rows: IterableDataset, config: TrainingConfig, process: int, processes: int, position=None):
        self.config, self.process, self.processes = config, process, processes
        self.position = position or {"epoch": 0, "state": None, "done": 0, "count": 0}
        self.rows = share_of_stream(rows, config.held_out_rows, process, processes)

    def _blocks(self) -> Iterator[tuple[int, dict, list[dict]]]:
        start = deepcopy(self.rows.state_dict())
        state = self.position["state"] or start
        for epoch in count(self.position["epoch"]):
            self.rows.load_state_dict(state)
            iterator, seen = iter(self.rows), False
            while block := list(islice(iterator, self.config.shuffle_buffer)):
                seen = True
                yield epoch, state, block
                state = deepcopy(self.rows.state_dict())
            if not seen:
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


def sample_numbers(start: int, batch: int, process: int, processes: int) -> Iterator[list[int]]:
    """Batches of sample numbers for one process of several, from sample `start` on, without end."""
    for first in count(start + process * batch, batch * processes):
        yield list(range(first, first + batch))


def collate(samples: list[dict]) -> dict:
    """Tensors stacked, numbers as lists; another sample of the batch replaces a damaged image of a stream."""
    batch = {"damaged": [name for s in samples for name in s["damaged"]], "position": samples[-1].get("position")}
    good = [s for s in samples if "target" in s]
    if not good:
        raise ValueError(f"No image of a batch can be decoded: {', '.join(batch['damaged'])}.")
    samples = [s if "target" in s else good[i % len(good)] for i, s in enumerate(samples)]
    for key in good[0].keys() - batch.keys():
        values = [s[key] for s in samples]
        batch[key] = torch.stack(values) if isinstance(values[0], Tensor) else values
    return batch


class Batches:
    """Endless batches of this process, on its device, from where `progress` says, which moves with every batch.

    `waited` counts the seconds for which batches were not ready. Damaged images are named on stderr.
    """

    def __init__(self, rows: Dataset | IterableDataset, maker: SampleMaker, latents, accelerator, progress) -> None:
        self.rows, self.config, self.accelerator, self.progress = rows, maker.config, accelerator, progress
        process, processes = accelerator.process_index, accelerator.num_processes
        if self.config.streaming:
            images = StreamedImages(maker)
            items = StreamedRows(rows, self.config, process, processes, progress.positions.get(process))
        else:
            images = Images(rows, maker, latents)
            items = sample_numbers(progress.samples, self.config.train_batch_size, process, processes)
        loader = data.DataLoader(
            images,
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
        start = time.perf_counter()
        batch = next(self.iterator)
        self.waited += time.perf_counter() - start
        for name in set(batch.pop("damaged")) - self.damaged:
            self.damaged.add(name)
            tqdm.write(f"warning: damaged image {len(self.damaged)} skipped: {name}", file=sys.stderr)
        seen = max(1000, self.progress.samples) if self.config.streaming else len(self.rows)
        if len(self.damaged) > MOST_DAMAGED * seen:
            raise ValueError(
                f"{len(self.damaged)} of {seen} images are damaged, more than {MOST_DAMAGED:.0%}: "
                f"{', '.join(sorted(self.damaged)[:20])}. Remove or replace them."
            )
        if position := batch.pop("position"):
            self.progress.positions[self.accelerator.process_index] = position
        self.progress.samples += self.accelerator.num_processes * self.config.train_batch_size
        device = self.accelerator.device
        return {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in batch.items()}

    def close(self) -> None:
        """Ends the loader's processes. They ignore the signals that would end them when Python exits."""
        if self.config.dataloader_num_workers:
            self.iterator._shutdown_workers()  # the loader's own way; PyTorch offers no other


def _ignore_signals(worker: int) -> None:
    """Ctrl-C and a scheduler's SIGTERM reach the loader's processes, too, but the run needs them to end its step."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
