import json
import multiprocessing
import re
import resource
import signal
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict

import pytest
import torch
from conftest import make_image, make_mask
from safetensors.torch import load_file, save_file
from test_tasks import Denoising
from test_training_processes import command

from textir_hf import TextIRGenerator, TextIRPipeline
from textir_hf.tasks import TASKS
from training.output import as_stored
from training.state import LAZY
from training.train import Run, learning_rate, main, train, train_step


@pytest.mark.parametrize("task", ["inpainting", "denoising"])
def test_a_run_leaves_a_pipeline_grids_curves_and_metrics(task, config, tmp_path, monkeypatch):
    monkeypatch.setitem(TASKS, "denoising", Denoising())
    run, folder = tmp_path / "run", train(config(task=task, mixed_precision="bf16", max_train_steps=2))
    pipe = TextIRPipeline.from_pretrained(folder)
    assert pipe.restorer.config.task == task and pipe.recentering.image_mean.norm() > 0.1
    card = (folder / "README.md").read_text()
    assert f"# TextIR, {task}" in card and "| right |" in card and "2 steps of 2 images at 32x32" in card
    assert ("in the masked regions" in card) == (task == "inpainting")
    assert str(tmp_path) not in card + (folder / "training_config.json").read_text()
    make_image().save(folder / "image.png")
    make_mask().save(folder / "mask.png")
    monkeypatch.chdir(folder)
    exec(re.search(r"```python\n(.*?)```", card, re.S)[1], {})
    assert {"samples.png", "curves.png"} <= {p.name for p in folder.iterdir()}
    assert (run / "validation" / "0000002.png").exists() and not list(run.glob(".*"))
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows] == [1, 2, 2] and "discriminator" not in rows[0] and "discriminator" in rows[1]
    assert {f"validation/{m}/{c}" for m in ("psnr", "ssim") for c in ("right", "other", "empty")} < set(rows[2])


def test_no_process_of_the_loader_outlives_a_failed_run_whatever_holds_its_batches(config, monkeypatch):
    kept, made = [], Run.batches
    monkeypatch.setattr(Run, "batches", lambda run: kept.append(made(run)) or kept[-1])
    monkeypatch.setattr("training.data.MOST_DAMAGED", -1)
    with pytest.raises(ValueError, match="images are damaged"):
        train(config(dataloader_num_workers=1))
    assert len(kept) == 1 and not multiprocessing.active_children()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_an_encoder_from_half_precision_is_stored_in_it_without_a_change(encoder, dtype):
    network = deepcopy(encoder[0]).to(dtype).float()
    for before, after in zip(network.parameters(), as_stored(network).parameters(), strict=True):
        assert after.dtype == dtype and before.dtype == torch.float32 and torch.equal(before, after.float())


LATENT = {"decoder": "taef2", "discriminator_channels": [4, 6], "blocks": 1, "lambda_clip": 0.0, "lambda_matching": 0.5}


@pytest.mark.parametrize(("task", "changes"), [("colorization", {}), ("inpainting", LATENT)])
def test_steps_move_every_weight_of_both_networks_at_their_rates_and_no_frozen_one(task, changes, config):
    run = Run(config(task=task, learning_rate=0.01, adversarial_start=0, discriminator_rate=3.0, **changes))
    trained = {"generator": run.state.generator, "discriminator": run.state.discriminator}
    modules = trained | {"clip": run.encoder.clip}
    before = {m: {n: p.clone() for n, p in module.named_parameters()} for m, module in modules.items()}
    batches = run.batches()
    for _ in range(2):
        terms = train_step(run, batches)
    (group,), (other,) = run.state.optimizer.param_groups, run.state.discriminator_optimizer.param_groups
    assert group["lr"] == 0.01 and group["betas"] == (0.0, 0.99) and LAZY == 16 / 17
    assert other["lr"] == pytest.approx(3 * 0.01 * 16 / 17) and other["betas"] == (0.0, 0.99 ** (16 / 17))
    assert {"l1", "adversarial", "discriminator", "matching" if changes else "clip"} <= set(terms)
    for name, module in trained.items():  # the slopes of the hinge cancel in a logit's bias at first
        still = {n for n, p in module.named_parameters() if torch.equal(p, before[name][n])}
        still = {n for n in still if not re.fullmatch(r"logits\.\d\.bias", n)}
        assert still == {n for n in before[name] if n.startswith("latent_decoder.")}
    for n, p in run.encoder.clip.named_parameters():
        assert p.grad is None and torch.equal(p, before["clip"][n])


def test_both_networks_are_unscaled_by_the_scale_of_their_gradients(config, tmp_path):
    states = []
    for name, scaler in (("plain", None), ("scaled", torch.amp.GradScaler("cpu", 1024.0, growth_interval=1))):
        run = Run(config(adversarial_start=0, max_grad_norm=1e-3, output_dir=str(tmp_path / name)))
        state = run.state
        run.accelerator.scaler = state.optimizer.scaler = state.discriminator_optimizer.scaler = scaler
        batches = run.batches()
        for _ in range(2):
            train_step(run, batches)
        optimizers = (state.optimizer, state.discriminator_optimizer)
        states.append([s[k] for o in optimizers for s in o.state_dict()["state"].values() for k in s])
    assert scaler.get_scale() == 1024.0 * 2**2  # one update a step
    for plain, scaled in zip(*states, strict=True):
        torch.testing.assert_close(plain, scaled, rtol=1e-4, atol=1e-7)


def test_a_run_starts_from_both_networks_of_another_or_from_the_generator(config, tmp_path):
    folder = train(config(max_train_steps=1))
    saved = TextIRGenerator.from_pretrained(folder / "restorer").state_dict()
    judge = load_file(folder.parent / "discriminator.safetensors")
    run = Run(config(output_dir=str(tmp_path / "next"), seed=1, init_from=str(folder.parent)))
    assert all(torch.equal(p, saved[n]) for n, p in run.state.generator.state_dict().items())
    assert all(torch.equal(p, judge[n]) for n, p in run.state.discriminator.state_dict().items())
    larger = {"output_dir": str(tmp_path / "large"), "sample_size": 64, "task": "colorization"}
    run = Run(config(**larger, init_from=str(folder / "restorer")))
    for name, value in run.state.generator.state_dict().items():
        assert name.startswith(("encoder.first.", "strength.", "out.")) or torch.equal(value, saved[name])
    with pytest.raises(ValueError, match=r"--init-from .* pipeline/restorer"):
        Run(config(**larger, init_from=str(folder.parent)))


@contextmanager
def full_disk():
    """No file can be longer than a config."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_whatever_stops_a_run_leaves_what_was_written_whole(config, tmp_path, monkeypatch, capsys):
    def signaled(run, batches):
        if run.state.step == 1:
            signal.raise_signal(signal.SIGTERM)
        return train_step(run, batches)

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("training.train.train_step", signaled)
        assert main(command(asdict(config(log_steps=100)))) == 128 + signal.SIGTERM
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"Interrupted. {run / 'checkpoint-2'} is saved") and not (run / "pipeline").exists()
    train(config(max_train_steps=2, resume_from_checkpoint="latest"))
    files = [p for part in ("pipeline", "checkpoint-2") for p in (run / part).rglob("*") if p.is_file()]
    before = {p: p.read_bytes() for p in files}

    for change, named in (
        ({"resume_from_checkpoint": None}, "holds the run that reached checkpoint-2"),
        ({"blocks": 1}, "--blocks"),
        ({"resume_from_checkpoint": "checkpoint-9"}, "checkpoint-9"),
    ):
        with pytest.raises(ValueError, match=named):
            train(config(**{"resume_from_checkpoint": "latest"} | change))
    for steps, message in (
        (3, r"checkpoint of step 3 cannot be written .* Older checkpoints are whole"),
        (2, r"pipeline cannot be written .* The checkpoint of step 2 is whole"),  # it alone is left to be done
    ):
        longer = config(max_train_steps=steps, resume_from_checkpoint="latest")
        with full_disk():
            assert main(command(asdict(longer))) == 1
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("error: ") and re.search(message, error) and "--resume-from-checkpoint latest" in error
        assert {p.name for p in run.iterdir() if p.is_dir()} == {"checkpoint-2", "pipeline"}
    assert before == {p: p.read_bytes() for p in files}

    state = load_file(run / "checkpoint-2" / "model.safetensors")
    state["encoder.first.weight"].fill_(torch.nan)
    save_file(state, run / "checkpoint-2" / "model.safetensors", {"format": "pt"})
    with pytest.raises(FloatingPointError, match="steps 2 to 3: l1 nan"):
        train(config(max_train_steps=8, log_steps=8, resume_from_checkpoint="latest"))
    assert [p.name for p in run.glob("checkpoint-*")] == ["checkpoint-2"]


def test_the_learning_rate_falls_over_the_steps_or_the_minutes(config):
    falling = config(learning_rate=0.5, max_train_steps=100, lr_scheduler="cosine")
    assert [learning_rate(falling, step) for step in (0, 50, 100)] == pytest.approx([0.5, 0.25, 0])
    falling = config(learning_rate=0.5, max_train_steps=100, lr_scheduler="cosine", max_minutes=10)
    assert [learning_rate(falling, 7, m) for m in (0, 5, 10, 11)] == pytest.approx([0.5, 0.25, 0, 0])
