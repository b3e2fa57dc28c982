import pytest
import torch

from benchmarks.waits import WaitCounter
from training.log import Log
from training.loop import train_step
from training.run import set_up


def test_the_counter_sees_what_waits():
    with WaitCounter() as counter:
        x = torch.ones(4)
        x.sum().item()
        x[x > 0]
        bool(x.sum() > 1)
        torch.tensor([1.0, 2.0])
        x[:2] + torch.arange(2)
        torch.randn(2)
    assert counter.found == ["_local_scalar_dense", "index", "_local_scalar_dense", "lift_fresh"]
    assert counter.drawn == 1


@pytest.mark.parametrize("task", ["inpainting", "super-resolution", "colorization"])
@pytest.mark.parametrize("cached", [False, True])
def test_a_step_without_logging_never_waits_for_the_device(config, task, cached):
    changes = {"swap_probability": 0.5, "noise": "batch", "lambda_features": 0.1, "cache_embeddings": cached}
    run = set_up(config(task=task, train_batch_size=16, adversarial_start=0, **changes))
    loader, log = run.batches(), Log(run.config, run.accelerator, 0)
    batches = iter([next(loader) for _ in range(3)])
    log.add(train_step(run, batches))
    if torch.cuda.is_available():
        torch.cuda.set_sync_debug_mode("error")
    with WaitCounter() as counter:
        for _ in range(2):  # one with R1, one without
            log.add(train_step(run, batches))
    if torch.cuda.is_available():
        torch.cuda.set_sync_debug_mode("default")
    assert counter.found == []
    levels = len(run.config.network.channels)
    assert counter.drawn == 2 * (2 * levels - 1)  # once a level and convolution
    values, _ = log.read(3, 0.0, [False])
    assert {"l1", "clip", "adversarial", "discriminator", "r1"} < set(values)
