import pytest
import torch

from benchmarks.waits import WaitCounter
from textir_hf.tasks import TASKS
from training.output import Log
from training.train import set_up, train_step


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


@pytest.mark.parametrize(
    ("task", "latent"),
    [(task, False) for task in TASKS] + [("inpainting", True), ("super-resolution", True)],
)
def test_a_step_without_logging_never_waits_for_the_device(config, task, latent):
    changes = {"decoder": "taef2", "lambda_clip": 0.0, "lambda_matching": 1.0} if latent else {}
    changes |= {"condition_dropout": 0.5, "max_grad_norm": 1.0}
    run = set_up(config(task=task, train_batch_size=4, adversarial_start=0, **changes))
    loader, log = run.batches(), Log(run.config, run.accelerator, 0, 4)
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
    values, _ = log.read(3, 0.0, [0.0])
    expected = {"l1", "adversarial", "discriminator"} | ({"matching"} if latent else {"clip", "r1"})
    assert expected < set(values)
