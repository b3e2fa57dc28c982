"""Batches of a stream's rows, shared by the processes of a run, with exact places to go on from."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from itertools import count, islice

import numpy as np
from datasets import IterableDataset
from torch.utils import data

from training.config import TrainingConfig
from training.data import SampleMaker, decode


class StreamedImages(data.Dataset):
    """Items of `StreamedRows` to samples."""

    def __init__(self, maker: SampleMaker) -> None:
        self.maker = maker

    def __getitem__(self, item: dict) -> dict:
        name, config = f"image {item['number']} of the stream", self.maker.config
        image = decode(item["row"][config.image_column], config.sample_size)
        return {"position": item["position"], **self.maker.of_row(item["row"], image, item["number"], name)}


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
