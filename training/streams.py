"""Which rows and sample numbers each process of a run gets, and in which order."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from itertools import islice

import numpy as np
from datasets import IterableDataset

from training.config import TrainingConfig


class SampleNumbers:
    """Batches of sample numbers for one process of several, from sample `start` on, without end."""

    def __init__(self, start: int, batch: int, process: int, processes: int) -> None:
        self.start, self.batch, self.process, self.processes = start, batch, process, processes

    def __iter__(self) -> Iterator[list[int]]:
        first = self.start + self.process * self.batch
        while True:
            yield list(range(first, first + self.batch))
            first += self.batch * self.processes


def share_of_stream(rows: IterableDataset, holdout: int, process: int, processes: int) -> IterableDataset:
    """The rows of a stream that a process trains on: all but the first `holdout`, divided among the processes.

    Where there are files enough, a process reads files of its own, else every so-manieth row. Skipping rows before
    dividing the files would divide the number of skipped rows too, so the rows to skip are counted file by file.
    """
    if rows.num_shards < processes:
        return rows.skip(holdout).filter(lambda _, i: i % processes == process, with_indices=True)
    for earlier in range(process):
        if holdout:
            holdout -= sum(1 for _ in rows.shard(processes, earlier).take(holdout))
    share = rows.shard(processes, process)
    return share.skip(holdout) if holdout else share


class StreamedRows:
    """Batches of a stream's encoded rows for one process of several, shuffled `shuffle_buffer` rows at a time.

    Every row says in `position` how to go on after it: the stream's state at the start of its block, and how many
    rows of the block are done. The next block is read while this one is used.

    Args:
        rows: The stream, the held-out rows included.
        config: The run's.
        process: This process's number.
        processes: How many there are.
        position: That of the last row used, or None to start.
    """

    def __init__(self, rows: IterableDataset, config: TrainingConfig, process: int, processes: int, position=None):
        self.config, self.process, self.processes = config, process, processes
        self.position = position or {"epoch": 0, "state": None, "done": 0, "count": 0}
        self.rows = share_of_stream(rows, config.data.holdout, process, processes)

    def _blocks(self) -> Iterator[tuple[int, dict, list[dict]]]:
        start = deepcopy(self.rows.state_dict())
        epoch, state, seen = self.position["epoch"], self.position["state"] or start, False
        while True:
            self.rows.load_state_dict(state)
            iterator = iter(self.rows)
            while block := list(islice(iterator, self.config.data.shuffle_buffer)):
                seen = True
                yield epoch, state, block
                state = deepcopy(self.rows.state_dict())
            if not seen:
                raise ValueError(f"The stream holds no image for process {self.process + 1} of {self.processes}.")
            epoch, state = epoch + 1, start

    def __iter__(self) -> Iterator[list[dict]]:
        size = self.config.optimization.train_batch_size
        done, count, batch = self.position["done"], self.position["count"], []
        with ThreadPoolExecutor(1) as reader:
            blocks = self._blocks()
            following = reader.submit(next, blocks)
            while True:
                epoch, state, block = following.result()
                following = reader.submit(next, blocks)
                seed = [self.config.run.seed, self.process, epoch, count - done]
                for i in np.random.default_rng(seed).permutation(len(block))[done:]:
                    done, count = done + 1, count + 1
                    position = {"epoch": epoch, "state": state, "done": done, "count": count}
                    number = self.process + self.processes * count
                    batch.append({"row": block[i], "number": number, "position": position})
                    if len(batch) == size:
                        yield batch
                        batch = []
                done = 0
