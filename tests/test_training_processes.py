import json
import os
import shutil
import signal

import pytest
import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from conftest import final_state
from processes import Forked, fork_ranks, wait_until

from training.config import TrainingConfig
from training.train import main, train


def command(fields: dict) -> list[str]:
    """The command line of these fields."""
    words = []
    for name, value in fields.items():
        if value is not None:
            values = value if isinstance(value, list) else [value]
            words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return words


def train_sharded(argv: list[str]) -> int:
    """Trains on the CPU as Accelerate would on GPUs, where alone it shards networks."""
    PartialState(cpu=True)
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    return main(argv)


def finish(*processes: Forked) -> None:
    """Waits for runs that must succeed."""
    for process in processes:
        assert process.wait() == 0, process.err()


def assert_same(first, second) -> None:
    states = [final_state(f) for f in (first, second)]
    assert states[0].keys() == states[1].keys() and len(states[0]) > 100
    different = [k for k, v in states[0].items() if not torch.equal(v, states[1][k])]
    assert not different


@pytest.mark.parametrize("kind", [{"streaming": True}, {"decoder": "taef2", "lambda_clip": 0.0}], ids=str)
def test_a_killed_run_goes_on_bit_for_bit(fields, kind, tmp_path):
    changes = {"max_train_steps": 5, "shuffle_buffer": 3, **kind, "dataloader_num_workers": 2, "checkpointing_steps": 2}
    unbroken = Forked(main, command(fields | changes | {"output_dir": str(tmp_path / "unbroken")}))
    killed = fields | changes | {"output_dir": str(tmp_path / "killed")}
    process = Forked(main, command(killed | {"max_train_steps": 100_000}))
    wait_until((tmp_path / "killed" / "checkpoint-2").exists, process)  # in the midst of an epoch
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, process.err()
    for later in (tmp_path / "killed").glob("checkpoint-[!2]*"):
        shutil.rmtree(later)
    finish(unbroken, Forked(main, command(killed | {"resume_from_checkpoint": "latest"})))
    assert_same(tmp_path / "unbroken", tmp_path / "killed")
    for folder in (tmp_path / "unbroken", tmp_path / "killed"):
        steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert list(dict.fromkeys(steps)) == [1, 2, 3, 4, 5]
        assert {p.name for p in folder.glob("checkpoint-*")} == {"checkpoint-2", "checkpoint-4", "checkpoint-5"}


def test_two_processes_end_on_one_step_when_one_gets_a_signal(fields, tmp_path):
    changes = {"max_train_steps": 100_000, "checkpointing_steps": 100_000, "log_steps": 3, "dataloader_num_workers": 1}
    processes = fork_ranks(2, main, command(fields | changes))
    wait_until((tmp_path / "run" / "metrics.jsonl").exists, processes[0])
    os.killpg(processes[1].pid, signal.SIGTERM)  # as the terminal does, the loader's processes included
    assert [process.wait() for process in processes] == [128 + signal.SIGINT, 128 + signal.SIGTERM]
    (checkpoint,) = (tmp_path / "run").glob("checkpoint-*")
    assert int(checkpoint.name.split("-")[1]) % 3 == 0
    assert all(f"Interrupted. {checkpoint} is saved" in process.err() for process in processes)


@pytest.mark.parametrize("latent", [False, True])
def test_two_processes_make_the_updates_of_one_with_twice_the_batch(fields, latent, tmp_path):
    changes = {"max_train_steps": 1, "adversarial_start": 0, "lambda_clip": 0.0}
    if latent:
        changes |= {"decoder": "taef2", "lambda_matching": 0.5, "lambda_adversarial": 0.5}
    one, two = tmp_path / "one", tmp_path / "two"
    finish(*fork_ranks(2, main, command(fields | changes | {"output_dir": str(two)})))
    train(TrainingConfig(**fields | changes | {"train_batch_size": 4, "output_dir": str(one)}))
    rows = [[json.loads(line) for line in (f / "metrics.jsonl").read_text().splitlines()] for f in (one, two)]
    for alone, shared in zip(*rows, strict=True):
        for term in ("l1", "adversarial", "matching", "discriminator", "r1"):
            assert shared.get(term) == pytest.approx(alone.get(term), abs=1e-4)
    states = [final_state(f) for f in (one, two)]
    for key, value in states[0].items():
        if "exp_avg_sq" in key:  # the squared gradients of the first update
            torch.testing.assert_close(states[1][key], value, atol=1e-4 * value.max().item(), rtol=1e-3, msg=key)
    # Adam divides by the gradient's own size, so that one of rounding errors alone has a sign by chance.
    moved = [(v - states[1][k]).abs().flatten() for k, v in states[0].items() if k.startswith("model")]
    assert (torch.cat(moved) > 1e-4).float().mean() < 0.01


def test_fsdp_is_refused(fields):
    sharded = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1", "FSDP_SYNC_MODULE_STATES": "false"}
    process = Forked(train_sharded, command(fields), sharded)
    assert process.wait() == 1 and "accelerate is set to FSDP. Launch with" in process.err()
