"""A training step never makes the CPU wait for a GPU, which no GPU is needed to test."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from textir_hf.tasks import TASKS
from training.output import Log
from training.train import Run, train_step

_READS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_dim", "unique_consecutive")
_COPIES = ("lift_fresh",)  # a tensor of Python numbers, which are in the CPU's memory


class WaitCounter(TorchDispatchMode):
    """Counts, in a run on the CPU, the operations that would wait for a GPU: reads of values, copies from the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in (*_READS, *_COPIES) or (name in ("index", "index_put", "index_put_") and _by_mask(args[1])):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


def _by_mask(indices) -> bool:
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)


@pytest.mark.parametrize(("task", "latent"), [*((task, False) for task in TASKS), ("inpainting", True)])
def test_a_step_without_logging_never_waits_for_the_device(config, task, latent):
    changes = {"decoder": "taef2", "lambda_clip": 0.0, "lambda_matching": 1.0} if latent else {}
    changes |= {"condition_dropout": 0.5, "max_grad_norm": 1.0}
    run = Run(config(task=task, train_batch_size=4, adversarial_start=0, **changes))
    run.state.step = run.objective.penalty_every - 2
    loader, log = run.batches(), Log(run.config, run.accelerator, 0, 4)
    batches = iter([next(loader) for _ in range(3)])
    log.add(train_step(run, batches))
    with WaitCounter() as counter:
        for _ in range(2):  # one without R1, one with it
            log.add(train_step(run, batches))
    assert counter.found == []
    values, _ = log.read(3, 0.0, [0.0])
    expected = {"l1", "adversarial", "discriminator", "r1"} | ({"matching"} if latent else {"clip"})
    assert expected < set(values)
