import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from conftest import final_state
from safetensors.torch import load_file

from training.config import TrainingConfig
from training.loop import train

REPOSITORY = Path(__file__).parent.parent


def command(fields: dict) -> list[str]:
    """The command line of these fields."""
    words = []
    for name, value in fields.items():
        if value is not None:
            values = value if isinstance(value, list) else [value]
            words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return words


def run_module(fields: dict, *launcher: str) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "HF_HUB_OFFLINE": "1"}
    environment["PYTHONPATH"] = str(REPOSITORY)  # for the scripts among the tests
    words = [sys.executable, *(launcher or ["-m", "training.train"]), *command(fields)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(words, cwd=REPOSITORY, env=environment, start_new_session=True, **pipes)


def finish(process: subprocess.Popen) -> None:
    """Waits for a run that must succeed."""
    try:
        out = process.communicate(timeout=120)[0].decode()
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 0, out


def assert_same(first, second) -> None:
    states = [final_state(f) for f in (first, second)]
    assert states[0].keys() == states[1].keys() and len(states[0]) > 100
    different = [k for k, v in states[0].items() if not torch.equal(v, states[1][k])]
    assert not different


def wait_for(path: Path, process: subprocess.Popen) -> None:
    """Waits until a file is there, or the process is not."""
    for _ in range(600):
        if path.exists() or process.poll() is not None:
            return
        time.sleep(0.1)


@pytest.mark.parametrize("streaming", [False, True])
def test_a_killed_run_goes_on_bit_for_bit(fields, streaming, tmp_path):
    changes = {
        "max_train_steps": 7,
        "streaming": streaming,
        "shuffle_buffer": 3,
        "dataloader_num_workers": 2,
        "validation_steps": 100,
        "checkpoints_total_limit": 2,
        "noise": "batch",
    }
    unbroken = run_module(fields | changes | {"output_dir": str(tmp_path / "unbroken")})
    killed = fields | changes | {"output_dir": str(tmp_path / "killed"), "max_train_steps": 100_000}
    process = run_module(killed)
    wait_for(tmp_path / "killed" / "checkpoint-4", process)  # in the midst of an epoch
    process.send_signal(signal.SIGKILL)
    out = process.communicate()[0].decode()
    found = sorted(p.name for p in (tmp_path / "killed").glob("checkpoint-*"))
    assert found and len(found) <= 3, out
    reached = max(int(name.split("-")[1]) for name in found)
    end = max(7, reached + 2)
    resumed = run_module(killed | {"max_train_steps": end, "resume_from_checkpoint": "latest"})
    finish(resumed)
    finish(unbroken)
    if end > 7:
        longer = fields | changes | {"output_dir": str(tmp_path / "unbroken"), "resume_from_checkpoint": "checkpoint-6"}
        again = run_module(longer | {"max_train_steps": end})
        finish(again)
    assert_same(tmp_path / "unbroken", tmp_path / "killed")
    steps = [json.loads(line)["step"] for line in (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()]
    assert [s for i, s in enumerate(steps) if s not in steps[:i]] == list(range(1, end + 1))
    assert len(list((tmp_path / "killed").glob("checkpoint-*"))) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_saved_in_one_line(fields, tmp_path, number):
    changes = {"max_train_steps": 100_000, "checkpointing_steps": 100_000, "validation_steps": 100_000}
    run = tmp_path / "run"
    process = run_module(fields | changes | {"dataloader_num_workers": 2, "log_steps": 1})
    wait_for(run / "metrics.jsonl", process)
    os.killpg(process.pid, number)  # as the terminal does, the loader's processes included
    out = process.communicate(timeout=120)[0].decode()
    assert process.returncode == 128 + number, out
    (checkpoint,) = run.glob("checkpoint-*")
    assert "Traceback" not in out and out.splitlines()[-1] == (
        f"Interrupted. {checkpoint} is saved: give the same command with --resume-from-checkpoint latest."
    )
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert checkpoint.name == f"checkpoint-{steps[-1]}" and not (run / "pipeline").exists()
    more = {"resume_from_checkpoint": "latest", "max_train_steps": steps[-1] + 1}
    finish(run_module(fields | changes | more))
    assert (run / "pipeline" / "model_index.json").exists()


def test_two_processes_end_on_one_step_when_one_gets_a_signal(fields, tmp_path):
    changes = {"max_train_steps": 100_000, "checkpointing_steps": 100_000, "validation_steps": 100_000, "log_steps": 3}
    torchrun = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone", "-m", "training.train"]
    process = run_module(fields | changes, *torchrun)
    wait_for(tmp_path / "run" / "metrics.jsonl", process)
    workers = psutil.Process(process.pid).children()
    workers[-1].send_signal(signal.SIGINT)
    out = process.communicate(timeout=120)[0].decode()
    (checkpoint,) = (tmp_path / "run").glob("checkpoint-*")
    assert int(checkpoint.name.split("-")[1]) % 3 == 0
    assert out.count(f"Interrupted. {checkpoint} is saved") == 2


def test_two_processes_make_the_updates_of_one_with_twice_the_batch(fields, tmp_path):
    changes = {"max_train_steps": 2, "checkpointing_steps": 1, "adversarial_start": 0, "lambda_clip": 0.0}
    torchrun = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone", "-m", "training.train"]
    two = run_module(fields | changes | {"output_dir": str(tmp_path / "two")}, *torchrun)
    finish(two)
    for name, change in {"one": {"train_batch_size": 4}, "parts": {"gradient_accumulation_steps": 2}}.items():
        train(TrainingConfig().replace(**fields | changes | change | {"output_dir": str(tmp_path / name)}))
    losses = {
        name: [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()[:2]]
        for name in ("one", "two", "parts")
    }
    states = {name: final_state(tmp_path / name, "checkpoint-1") for name in losses}
    for name in ("two", "parts"):
        for step in range(2):
            for term in ("l1", "adversarial", "discriminator", "r1"):
                assert losses[name][step].get(term) == pytest.approx(losses["one"][step].get(term), abs=1e-4)
        for key, value in states["one"].items():
            other = states[name][key]
            if "exp_avg_sq" in key:  # the squared gradients of the first update
                torch.testing.assert_close(other, value, atol=1e-4 * value.max().item(), rtol=1e-3, msg=key)
        # Adam divides by the gradient's own size, so that one of rounding errors alone has a sign by chance.
        moved = [(v - states[name][k]).abs().flatten() for k, v in states["one"].items() if k.startswith("model")]
        assert (torch.cat(moved) > 1e-4).float().mean() < 0.01


def test_sharded_networks_get_the_updates_of_whole_ones_and_go_on_bit_for_bit(fields, tmp_path):
    """FSDP2 with the config that is shipped."""
    changes = {"max_train_steps": 3, "checkpointing_steps": 1, "adversarial_start": 0, "mixed_precision": "no"}
    launcher = ["-m", "accelerate.commands.launch", "--config_file", "training/accelerate/fsdp.yaml"]
    launcher += ["--num_processes", "2", "--main_process_port", "0", "tests/launch_sharded.py"]
    pieces, again, one = (str(tmp_path / name) for name in ("pieces", "again", "one"))
    finish(run_module(fields | changes | {"output_dir": pieces, "gradient_accumulation_steps": 2}, *launcher))
    train(TrainingConfig().replace(**fields | changes | {"output_dir": one, "train_batch_size": 8}))
    rows = [[json.loads(line) for line in Path(f, "metrics.jsonl").read_text().splitlines()] for f in (pieces, one)]
    for sharded, unsharded in zip(*rows, strict=True):
        for term in ("l1", "clip", "adversarial", "discriminator", "r1"):
            assert sharded.get(term) == pytest.approx(unsharded.get(term), abs=1e-4)
    states = [load_file(Path(f, "pipeline/restorer/diffusion_pytorch_model.safetensors")) for f in (pieces, one)]
    moved = torch.cat([(v - states[1][k]).abs().flatten() for k, v in states[0].items()])
    assert (moved > 1e-4).float().mean() < 0.01
    shutil.copytree(Path(pieces, "checkpoint-1"), Path(again, "checkpoint-1"))
    resumed = fields | changes | {"output_dir": again, "gradient_accumulation_steps": 2}
    finish(run_module(resumed | {"resume_from_checkpoint": "latest"}, *launcher))
    assert_same(pieces, again)


def test_the_first_fsdp_is_refused(fields, monkeypatch):
    for name, value in {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1", "FSDP_SYNC_MODULE_STATES": "false"}.items():
        monkeypatch.setenv(name, value)
    process = run_module(fields, "tests/launch_sharded.py")
    out = process.communicate(timeout=120)[0].decode()
    assert process.returncode == 1 and "accelerate is set to FSDP 1" in out and "fsdp.yaml" in out
