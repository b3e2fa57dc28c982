"""The second step: the network on batches of what the plans of several results ask for."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice

import torch
from torch import Tensor
from torch.nn import functional as F

from textir_hf.models.generator import TextIRGenerator
from textir_hf.tasks.base import NetworkInput, Restoration


@dataclass(eq=False)
class Run:
    """One result on its way.

    Args:
        restoration: Asks for the network's outputs and returns the restored image.
        conditions: `[1, D]` each: the image's, and perhaps one for each of its faces.
        strength: s of Eq. 4 that the caller gave, one or one a level; None leaves it to the task and the network.
        generator: Source of its noise.
    """

    restoration: Restoration
    conditions: list[Tensor]
    strength: float | tuple[float, ...] | None
    generator: torch.Generator


def run_all(runs: Iterable[Run], forward: Callable, batch_size: int) -> Iterator[Tensor]:
    """Restores images, `batch_size` of them side by side, and yields them in their order.

    Args:
        runs: The results to make; each is begun only when its turn comes.
        forward: Takes a list of pairs (run, input) of one size and returns their outputs, `[N, C, h, w]`.
        batch_size: Most inputs in a call of `forward`.
    """
    runs = iter(runs)
    while group := list(islice(runs, batch_size)):
        results: dict[int, Tensor] = {}
        waiting = {i: next(run.restoration) for i, run in enumerate(group)}
        while waiting:
            pairs = [(group[i], single) for i, inputs in waiting.items() for single in inputs]
            samples = iter(_batches(pairs, forward, batch_size))
            answers = {i: [next(samples) for _ in inputs] for i, inputs in waiting.items()}
            waiting = {}
            for i, answer in answers.items():
                try:
                    waiting[i] = group[i].restoration.send(answer)
                except StopIteration as done:
                    results[i] = done.value
        yield from (results[i] for i in range(len(group)))


def _batches(pairs: list[tuple[Run, NetworkInput]], forward: Callable, batch_size: int) -> Iterator[Tensor]:
    """Outputs in the inputs' order; a batch holds neighbors of one size."""
    for _, same in groupby(pairs, key=lambda pair: pair[1].degraded.shape):
        same = iter(same)
        while batch := list(islice(same, batch_size)):
            yield from forward(batch)


def forward(restorer: TextIRGenerator, device: torch.device, batch: list[tuple[Run, NetworkInput]]) -> Tensor:
    """One call of the network; sides are padded to its stride by repeating the border, and cropped again.

    Args:
        restorer: The network.
        device: Where it runs.
        batch: Inputs of one size.

    Returns:
        `[N, C, h, w]` float32.

    Raises:
        ValueError: A value is NaN or infinite.
    """
    degraded = torch.stack([single.degraded for _, single in batch])
    height, width = degraded.shape[-2:]
    padded = F.pad(degraded, (0, -width % restorer.stride, 0, -height % restorer.stride), mode="replicate")
    padded = padded.to(device, restorer.dtype, memory_format=torch.channels_last)
    strengths = [single.strength if run.strength is None else run.strength for run, single in batch]
    strength = None
    if strengths[0] is not None:
        strength = torch.tensor(strengths, dtype=torch.float32, device=device).reshape(len(batch), -1)
    generators = [run.generator for run, _ in batch]
    conditions = torch.cat([_condition(run, single) for run, single in batch]).to(device)
    sample = restorer(padded, conditions, strength, generators).sample
    if not sample.isfinite().all():
        raise ValueError(
            f"The network's output in {restorer.dtype} is NaN or infinite. Load the checkpoint in float32, or another."
        )
    return sample[..., :height, :width].float()


class CountedNetwork:
    """The network as `run_all` calls it, which tells of each of its runs.

    Args:
        restorer: The network.
        device: Where it runs.
        update: Called with the number of inputs that a run has done.
        callback: As `step_callback` returns it, or None.
    """

    def __init__(
        self,
        restorer: TextIRGenerator,
        device: torch.device,
        update: Callable[[int], object],
        callback: Callable[[int, Tensor], Tensor] | None,
    ) -> None:
        self.restorer, self.device, self.update, self.callback, self.runs = restorer, device, update, callback, 0

    def __call__(self, batch: list[tuple[Run, NetworkInput]]) -> Tensor:
        """As `forward`."""
        samples = forward(self.restorer, self.device, batch)
        self.update(len(batch))
        self.runs += 1
        return samples if self.callback is None else self.callback(self.runs - 1, samples)


def _condition(run: Run, single: NetworkInput) -> Tensor:
    return run.conditions[0 if single.face is None or len(run.conditions) == 1 else 1 + single.face]


def step_callback(pipe, function: Callable | None, names: Sequence[str]) -> Callable[[int, Tensor], Tensor] | None:
    """The caller's function as it is called after a run of the network, with its number and output.

    Args:
        pipe: Given to the function.
        function: As diffusers describes `callback_on_step_end`, or None.
        names: Of the tensors that it is given.

    Raises:
        ValueError: There is no tensor of that name.
    """
    if unknown := [name for name in names if name not in pipe._callback_tensor_inputs]:
        raise ValueError(
            f"callback_on_step_end_tensor_inputs must be among {pipe._callback_tensor_inputs}, got {unknown}."
        )
    if function is None:
        return None

    def call(step: int, sample: Tensor) -> Tensor:
        replaced = function(pipe, step, step, {"sample": sample} if names else {})
        return (replaced or {}).get("sample", sample)

    return call
