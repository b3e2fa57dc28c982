import json
import multiprocessing
import re
import resource
from contextlib import contextmanager
from copy import deepcopy

import numpy as np
import pytest
import torch
from conftest import make_image, make_mask
from safetensors.torch import load_file, save_file
from test_training_processes import command

from textir_hf import TextIRGenerator, TextIRPipeline
from textir_hf.imaging.resample import to_array
from textir_hf.metrics import functional
from textir_hf.models.embedding import embed_texts
from training.loop import learning_rate, train, train_step
from training.networks import adopt, lazy_ratio
from training.publish import as_stored
from training.run import Run, set_up
from training.train import main


@pytest.mark.parametrize("task", ["inpainting", "super-resolution", "colorization"])
def test_a_run_leaves_a_pipeline_grids_curves_and_metrics(task, config, tmp_path, monkeypatch):
    settings = config(task=task, mixed_precision="bf16", lambda_features=0.1, train_batch_size=3)
    folder = train(settings)
    pipe = TextIRPipeline.from_pretrained(folder)
    assert pipe.restorer.config.task == task and pipe.recentering.image_mean.norm() > 0.1
    assert {p.name for p in folder.iterdir()} >= {"model_index.json", "README.md", "samples.png", "curves.png"}
    card = (folder / "README.md").read_text()
    assert f"# TextIR, {task}" in card and "| right |" in card and "4 steps of 3 images at 32x32" in card
    assert ("in the masked regions" in card) == (task == "inpainting")
    make_image().save(folder / "image.png")
    make_mask().save(folder / "mask.png")
    monkeypatch.chdir(folder)
    exec(re.search(r"```python\n(.*?)```", card, re.S)[1], {})
    assert str(tmp_path) not in card + (folder / "training_config.json").read_text()
    run = tmp_path / "run"
    assert (run / "validation" / "0000004.png").exists() and not list(run.glob(".*"))
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows] == [1, 2, 3, 4, 4]
    assert "discriminator" not in rows[0] and "discriminator" in rows[1] and "r1" in rows[2] and "r1" not in rows[3]
    assert {f"validation/{m}/{c}" for m in ("psnr", "ssim") for c in ("right", "other", "empty")} < set(rows[4])
    assert json.loads((run / "training_config.json").read_text())["network"]["task"] == task


@pytest.mark.parametrize("damaged", [False, True])
def test_no_process_of_the_loader_outlives_a_run_whatever_holds_its_batches(damaged, config, tmp_path, monkeypatch):
    kept, made = [], Run.batches
    monkeypatch.setattr(Run, "batches", lambda run: kept.append(made(run)) or kept[-1])
    settings = config(dataloader_num_workers=2, max_train_steps=2, validation_steps=9)
    if damaged:
        monkeypatch.setattr("training.data.MOST_DAMAGED", -1)
        with pytest.raises(ValueError, match="images are damaged"):
            train(settings)
    else:
        train(settings)
    assert len(kept) == 1 and not multiprocessing.active_children()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_an_encoder_from_half_precision_is_stored_in_it_without_a_change(encoder, dtype):
    network = deepcopy(encoder[0]).to(dtype).float()
    stored = as_stored(network)
    assert {p.dtype for p in stored.parameters()} == {dtype} and {p.dtype for p in network.parameters()} == {
        torch.float32
    }
    for before, after in zip(network.parameters(), stored.parameters(), strict=True):
        assert torch.equal(before, after.float())


@pytest.mark.parametrize("task", ["inpainting", "super-resolution", "colorization"])
def test_steps_move_every_weight_of_both_networks_and_no_frozen_one(task, config):
    run = set_up(config(task=task, lambda_features=0.1, adversarial_start=0))
    trained = {"generator": run.networks.generator, "discriminator": run.networks.discriminator}
    frozen = {"clip": run.encoder.clip, "features": run.objective.features}
    before = {m: {n: p.clone() for n, p in module.named_parameters()} for m, module in (trained | frozen).items()}
    batches = run.batches()
    for _ in range(2):
        train_step(run, batches)
    for name, module in trained.items():
        assert not [n for n, p in module.named_parameters() if torch.equal(p, before[name][n])]
    for name, module in frozen.items():
        for n, p in module.named_parameters():
            assert p.grad is None and torch.equal(p, before[name][n])


def test_vgg_and_the_clip_loss_take_no_gradients(config, tmp_path):
    shapes = {0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256), 14: (256, 256)}
    shapes |= {17: (512, 256), 19: (512, 512), 21: (512, 512)}
    state = {}
    for index, (o, i) in shapes.items():
        state |= {f"features.{index}.weight": torch.randn(o, i, 3, 3) / (9 * i) ** 0.5}
        state |= {f"features.{index}.bias": torch.zeros(o)}
    save_file(state, tmp_path / "vgg.safetensors")
    run = set_up(config(lambda_perceptual=0.1, vgg=str(tmp_path / "vgg.safetensors")))
    terms = train_step(run, run.batches())
    assert terms["perceptual"] > 0 and terms["clip"] > 0
    for module in (run.encoder.clip, run.objective.perceptual):
        parameters = list(module.parameters())
        assert parameters and all(p.grad is None and not p.requires_grad for p in parameters)


def test_without_noise_its_strengths_stay(config):
    run = set_up(config(noise="none"))
    train_step(run, run.batches())
    still = {n for n, p in run.networks.generator.named_parameters() if p.grad is None and not p.requires_grad}
    assert still and all(n.endswith("noise_strength") for n in still)
    assert len(still) == 2 * len(run.config.network.channels) - 1


@pytest.mark.parametrize("noise", ["none", "batch", "sample"])
def test_a_step_follows_from_the_seed(config, noise, tmp_path):
    losses = []
    for name in ("a", "b"):
        run = set_up(config(noise=noise, output_dir=str(tmp_path / name), adversarial_start=0))
        with torch.no_grad():
            for n, p in run.networks.generator.named_parameters():
                if n.endswith("noise_strength"):
                    p.fill_(1.0)
        losses.append(train_step(run, run.batches()))
    assert all(torch.equal(value, losses[1][name]) for name, value in losses[0].items())


def test_both_networks_are_unscaled_by_the_scale_of_their_gradients(config, tmp_path):
    states = []
    for name, scaler in (("plain", None), ("scaled", torch.amp.GradScaler("cpu", 1024.0, growth_interval=1))):
        run = set_up(config(adversarial_start=0, output_dir=str(tmp_path / name)))
        run.accelerator.scaler = run.networks.optimizer.scaler = run.networks.discriminator_optimizer.scaler = scaler
        batches = run.batches()
        for _ in range(3):
            train_step(run, batches)
        optimizers = (run.networks.optimizer, run.networks.discriminator_optimizer)
        states.append([s[k] for o in optimizers for s in o.state_dict()["state"].values() for k in s])
    assert scaler.get_scale() == 1024.0 * 2**3  # one update a step
    for plain, scaled in zip(*states, strict=True):
        torch.testing.assert_close(plain, scaled, rtol=1e-4, atol=1e-7)


@pytest.mark.filterwarnings("default")  # of the compiler about itself
def test_compiled_networks_make_the_same_steps(config, monkeypatch, tmp_path):
    module_compile = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: module_compile(self, backend="aot_eager"))
    losses = []
    for compiled in (False, True):
        changes = {"adversarial_start": 0, "r1_every": 1, "noise": "batch", "output_dir": str(tmp_path / str(compiled))}
        run = set_up(config(compile=compiled, **changes))
        batches = run.batches()
        losses.append([train_step(run, batches) for _ in range(2)])
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 2
    for plain, compiled in zip(*losses, strict=True):
        for name, value in plain.items():
            torch.testing.assert_close(compiled[name], value)


def test_the_learning_rate_rises_stays_and_falls(config):
    plain = config(learning_rate=0.5, max_train_steps=100)
    assert {learning_rate(plain, step) for step in range(100)} == {0.5}
    warm = config(learning_rate=0.5, max_train_steps=100, lr_warmup_steps=10, lr_scheduler="cosine")
    rates = [learning_rate(warm, step) for step in range(101)]
    assert rates[:2] == pytest.approx([0.05, 0.1]) and rates[9] == rates[10] == 0.5
    assert rates[55] == pytest.approx(0.25) and rates[100] == pytest.approx(0.0, abs=1e-9)
    run = set_up(config(learning_rate=0.5, lr_warmup_steps=2, adversarial_start=0, r1_every=4, discriminator_rate=3.0))
    train_step(run, run.batches())
    (group,), (other,) = run.networks.optimizer.param_groups, run.networks.discriminator_optimizer.param_groups
    assert group["lr"] == 0.25 and group["betas"] == (0.0, 0.99)
    assert (
        other["lr"] == pytest.approx(3 * 0.25 * 4 / 5)
        and other["betas"] == (0.0, 0.99 ** (4 / 5))
        and lazy_ratio(run.config) == 4 / 5
    )


def test_the_average_warms_up_to_its_half_life(config):
    run = set_up(config(ema_half_life=1, train_batch_size=2))
    batches, seen = run.batches(), []
    for _ in range(3):
        train_step(run, batches)
        seen.append(run.networks.generator.style.weight.detach().clone())
    decays = [min(0.25, (1 + n) / (10 + n)) for n in (1, 2)]  # two images are two half-lives
    expected = seen[0]
    for value, decay in zip(seen[1:], decays, strict=True):
        expected = decay * expected + (1 - decay) * value
    torch.testing.assert_close(run.networks.averaged().style.weight, expected)


@pytest.mark.parametrize("task", ["inpainting", "super-resolution", "colorization"])
def test_validation_measures_as_the_evaluation_does(task, config, tmp_path):
    run = set_up(config(task=task, sample_size=64))
    validation, restorer = run.validation, run.networks.averaged()
    figures = validation.run(restorer, tmp_path / "grid.png")
    batch, target = validation.batch, validation.targets
    with torch.no_grad():
        condition = run.encoder.recentering(embed_texts(run.encoder.clip, run.encoder.tokenizer, validation.captions))
        sample = restorer(batch["degraded"], condition, batch.get("strength")).sample
    restored = run.maker.task.restored(sample, target, batch).clamp(0, 1)
    masks = [None if task != "inpainting" else m[0].bool().numpy() for m in batch.get("mask", target)]
    triples = [(to_array(a[None]), to_array(b[None]), m) for a, b, m in zip(restored, target, masks, strict=True)]
    for name in ("psnr", "ssim"):
        expected = np.mean([getattr(functional, name)(*triple) for triple in triples])
        assert figures[f"{name}/right"] == pytest.approx(expected, rel=1e-4)


def test_a_run_can_start_from_another_size(config, tmp_path):
    folder = train(config(max_train_steps=1))
    run = set_up(config(output_dir=str(tmp_path / "large"), sample_size=64, init_from=str(folder / "restorer")))
    saved = TextIRGenerator.from_pretrained(folder / "restorer").state_dict()
    assert all(torch.equal(p, saved[n]) for n, p in run.networks.generator.state_dict().items())


def test_a_network_starts_as_one_of_another_task():
    shape = {"embedding_dim": 8, "style_dim": 8, "channels": (6, 8), "sample_size": 16}
    inpainting = TextIRGenerator("inpainting", in_channels=4, **shape)
    upscaling = TextIRGenerator("super-resolution", in_channels=3, strength_source="input", **shape)
    own = upscaling.encoder.first.weight.clone()
    adopt(inpainting, upscaling)
    inputs = torch.randn(1, 6, 16, 16)
    torch.testing.assert_close(upscaling.encoder.down[0](inputs), inpainting.encoder.down[0](inputs))
    torch.testing.assert_close(upscaling.style.weight, inpainting.style.weight)
    torch.testing.assert_close(upscaling.encoder.first.weight, own)
    again = TextIRGenerator("inpainting", in_channels=4, **shape)
    adopt(inpainting, again)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in inpainting.state_dict().items())
    with pytest.raises(ValueError, match=r"--init-from has channels, style_dim and embedding_dim \(\(6, 8\), 8, 8\)"):
        adopt(inpainting, TextIRGenerator("inpainting", in_channels=4, **shape | {"style_dim": 4}))


@contextmanager
def full_disk():
    """No file can be longer than a config."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (3, r"checkpoint of step 3 cannot be written .* Older checkpoints are whole"),
        (2, r"pipeline cannot be written .* The checkpoint of step 2 is whole"),  # it alone is left to be done
    ],
)
def test_a_full_disk_leaves_what_was_written_whole(config, tmp_path, steps, message, capsys):
    train(config(max_train_steps=2, validation_steps=2))
    run = tmp_path / "run"
    files = [p for part in ("pipeline", "checkpoint-2") for p in (run / part).rglob("*") if p.is_file()]
    before = {p: p.read_bytes() for p in files}
    longer = config(max_train_steps=steps, validation_steps=2, resume_from_checkpoint="latest")
    with full_disk():
        assert main(command(longer.flat())) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and re.search(message, error) and "--resume-from-checkpoint latest" in error
    assert {p.name for p in run.iterdir() if p.is_dir()} == {"checkpoint-2", "pipeline", "validation"}
    assert before == {p: p.read_bytes() for p in files}


def test_a_checkpoint_of_another_run_is_refused(config):
    train(config(max_train_steps=2))
    with pytest.raises(ValueError, match="holds the run that reached checkpoint-2"):
        train(config())
    with pytest.raises(ValueError, match="made with --task inpainting, got colorization"):
        train(config(task="colorization", resume_from_checkpoint="latest"))
    with pytest.raises(ValueError, match="checkpoint-9 is no checkpoint"):
        train(config(resume_from_checkpoint="checkpoint-9"))


def test_a_run_goes_on_at_another_rate_and_average(config):
    train(config(max_train_steps=2))
    run = set_up(config(learning_rate=1e-4, ema_half_life=2, resume_from_checkpoint="latest"))
    run.checkpoints.resume()
    assert run.progress.step == 2 and run.networks.average.decay == 0.5
    train_step(run, run.batches())
    assert [group["lr"] for group in run.networks.optimizer.param_groups] == [1e-4]


def test_a_stream_goes_on_only_with_the_same_batches(config):
    train(config(max_train_steps=2, streaming=True))
    with pytest.raises(ValueError, match="same --shuffle-buffer"):
        train(config(streaming=True, shuffle_buffer=7, resume_from_checkpoint="latest"))


@pytest.mark.parametrize(("log_steps", "last"), [(1, 2), (8, 3)])  # it is read before each checkpoint
def test_a_loss_that_is_not_finite_stops_the_run_before_it_is_saved(config, tmp_path, log_steps, last):
    train(config(max_train_steps=2, checkpointing_steps=2))
    path = tmp_path / "run" / "checkpoint-2" / "model.safetensors"
    state = load_file(path)
    state["encoder.first.weight"].fill_(torch.nan)
    save_file(state, path, {"format": "pt"})
    with pytest.raises(FloatingPointError, match=f"not finite within steps 2 to {last}: l1 nan"):
        train(config(max_train_steps=8, log_steps=log_steps, resume_from_checkpoint="latest"))
    assert [p.name for p in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-2"]


def test_losses_are_read_every_few_steps_as_their_means(config, tmp_path):
    changes = {"max_train_steps": 4, "adversarial_start": 2, "checkpointing_steps": 4}
    train(config(**changes, output_dir=str(tmp_path / "each")))
    train(config(**changes, output_dir=str(tmp_path / "some"), log_steps=3))
    each, some = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("each", "some")
    )
    assert [row["step"] for row in some] == [3, 4, 4]
    assert some[0]["l1"] == pytest.approx(np.mean([row["l1"] for row in each[:3]]), rel=1e-5)
    assert some[0]["discriminator"] == pytest.approx(each[2]["discriminator"], rel=1e-5)
    assert some[1]["l1"] == pytest.approx(each[3]["l1"], rel=1e-5)


def test_without_a_network_the_pipeline_stays_and_the_way_to_push_is_said(config, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    folder = train(config(max_train_steps=1, push_to_hub=True, hub_model_id="me/mine"))
    printed = capsys.readouterr().out
    assert f"textir publish {folder} --repo me/mine" in printed and (folder / "model_index.json").exists()
