import io
import json

import numpy as np
import pytest
import torch
from conftest import picture
from datasets import Dataset, Features, Image, List, Value, disable_progress_bars

from textir_hf import TextIRGenerator, TextIRPipeline, TextRecentering
from training import train_clip
from training.data import HoleSampler, load_pictures
from training.export import export
from training.train import Trainer, TrainingConfig

disable_progress_bars()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Eight training and two test pictures as a parquet file."""
    rows = []
    for i in range(10):
        buffer = io.BytesIO()
        picture(48, 40, seed=i).save(buffer, "PNG")
        image = {"bytes": buffer.getvalue(), "path": None}
        rows.append({"image": image, "text": ["a red flower", "a face"], "split": "test" if i > 7 else "train"})
    features = Features({"image": Image(), "text": List(Value("string")), "split": Value("string")})
    path = tmp_path_factory.mktemp("data") / "pictures.parquet"
    Dataset.from_list(rows, features=features).to_parquet(path)
    return str(path)


@pytest.fixture(scope="module")
def clip_folder(encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip") / "encoder"
    train_clip.save(encoder[0], encoder[1], encoder[2], folder)
    encoder[0].float()
    return str(folder)


@pytest.fixture
def config(data, clip_folder, tmp_path):
    def make(**changes) -> TrainingConfig:
        fields = {
            "task": "inpainting",
            "data": [data],
            "output_dir": str(tmp_path / "run"),
            "clip": clip_folder,
            "sample_size": 32,
            "channels": [4, 6, 8],
            "style_dim": 8,
            "discriminator_channels": [4, 8],
            "batch_size": 2,
            "max_steps": 4,
            "lambda_features": 0.1,
            "embedding_noise": 0.2,
            "adversarial_start": 1,
            "r1_every": 2,
            "validation_steps": 4,
            "checkpointing_steps": 2,
            "bf16": False,
            "lambda_perceptual": 0.0,
        }
        return TrainingConfig(**fields | changes)

    return make


@pytest.mark.parametrize("task", ["inpainting", "super-resolution", "colorization"])
def test_a_run_leaves_a_network_a_sheet_and_its_metrics(task, config, tmp_path):
    trainer = Trainer(config(task=task, bf16=True))
    before = {n: p.clone() for n, p in trainer.generator.named_parameters()}
    encoder_before = {n: p.clone() for n, p in trainer.clip.named_parameters()}
    trainer.run()
    run = tmp_path / "run"
    moved = [n for n, p in trainer.generator.named_parameters() if not torch.equal(p, before[n])]
    assert {n for n in before if "noise_strength" not in n} == set(moved)
    assert all(torch.equal(p, encoder_before[n]) and p.grad is None for n, p in trainer.clip.named_parameters())
    assert TextIRGenerator.from_pretrained(run / "restorer").config.task == task
    assert TextRecentering.from_pretrained(run / "recentering").image_mean.norm() > 0.1
    assert (run / "validation" / "0000004.png").exists()
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows] == [1, 2, 3, 4]
    assert "discriminator" not in rows[0] and "discriminator" in rows[1] and "r1" in rows[2] and "r1" not in rows[3]
    assert json.loads((run / "training_config.json").read_text())["task"] == task


def test_a_resumed_run_equals_an_uninterrupted_one(config, tmp_path):
    whole, parts = str(tmp_path / "whole"), str(tmp_path / "parts")
    Trainer(config(output_dir=whole)).run()
    Trainer(config(output_dir=parts, max_steps=2)).run()
    trainer = Trainer(config(output_dir=parts))
    trainer.run()
    states = [torch.load(f"{folder}/state.pt", weights_only=True) for folder in (whole, parts)]
    for part in ("generator", "ema", "discriminator"):
        for name, value in states[0][part].items():
            assert torch.equal(value, states[1][part][name]), name
    assert states[0]["step"] == states[1]["step"] == 4


def test_a_run_can_start_from_another_size(config, tmp_path):
    Trainer(config(max_steps=1)).run()
    start = str(tmp_path / "run" / "restorer")
    trainer = Trainer(config(output_dir=str(tmp_path / "large"), sample_size=64, init_from=start))
    saved = TextIRGenerator.from_pretrained(start).state_dict()
    assert all(torch.equal(p, saved[n]) for n, p in trainer.generator.state_dict().items())


def test_an_exported_run_is_a_checkpoint_without_the_shared_encoder(config, encoder, clip_folder, tmp_path):
    Trainer(config(max_steps=1)).run()
    for _ in range(2):  # the second replaces the first
        export(tmp_path / "run", tmp_path / "made" / "checkpoint", clip_folder)
    assert [p.name for p in (tmp_path / "made").iterdir()] == ["checkpoint"]
    folder = tmp_path / "made" / "checkpoint"
    assert sorted(p.name for p in folder.iterdir()) == ["model_index.json", "recentering", "restorer"]
    assert not [p for p in folder.rglob("*.json") if str(tmp_path) in p.read_text()]
    parts = dict(zip(("clip", "tokenizer", "image_processor"), encoder, strict=True))
    pipe = TextIRPipeline.from_pretrained(folder, **parts)
    trained = TextIRGenerator.from_pretrained(tmp_path / "run" / "restorer")
    torch.testing.assert_close(pipe.restorer.style.weight, trained.style.weight, atol=1e-2, rtol=1e-3)


def test_a_state_of_another_task_is_refused(config):
    Trainer(config(max_steps=1)).run()
    with pytest.raises(ValueError, match="holds a inpainting run, got --task colorization"):
        Trainer(config(task="colorization")).run()


def test_a_loss_that_is_not_finite_stops_the_run(config):
    trainer = Trainer(config())
    with torch.no_grad():
        trainer.generator.encoder.first.weight.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="not finite at step 0: l1 nan"):
        trainer.train_step()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "sharpening"}, "task must be one of"),
        ({"sample_size": 30}, "sample_size must be a multiple of 4"),
        ({"lambda_perceptual": 0.01}, "give their safetensors file with --vgg"),
    ],
)
def test_unfit_configs_are_refused(config, change, message):
    with pytest.raises(ValueError, match=message):
        config(**change)


def test_pictures_are_square_uint8_and_of_their_split(data):
    assert load_pictures([data], "train", 16).shape == (8, 3, 16, 16)
    assert load_pictures([data], "test", 16).dtype == torch.uint8
    with pytest.raises(ValueError, match='has split "other"'):
        load_pictures([data], "other", 16)


def test_holes_are_binary_and_of_every_kind():
    import random

    irregular = torch.zeros(1, 1, 16, 16)
    irregular[..., :3, :5] = 1
    masks = HoleSampler(16, irregular)(60, random.Random(0))
    assert masks.shape == (60, 1, 16, 16) and set(masks.unique().tolist()) == {0.0, 1.0}
    assert sum(m.sum() == 15 for m in masks) >= 10  # the irregular one, turned


def test_contrastive_loss_spreads_its_target_over_all_that_fits():
    image = torch.eye(3)
    fits = torch.eye(3, dtype=torch.bool)
    scale = torch.tensor(np.log(20.0))
    assert train_clip.contrastive_loss(image, image, fits, scale) < 1e-6
    assert train_clip.contrastive_loss(image, image.roll(1, 0), fits, scale) > 10
    both = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    text = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 2**0.5]]) / 2**0.5
    assert train_clip.contrastive_loss(text, text, both, scale) == pytest.approx(2 / 3 * np.log(2), abs=1e-4)
