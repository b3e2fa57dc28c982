import json
import re

import pytest
from conftest import make_image

from textir_hf import TextIRGenerator
from textir_hf.imaging.faces import FACE_TEMPLATES
from textir_hf.tasks import TASKS
from training.arguments import parse
from training.config import GROUPS, TrainingConfig
from training.networks import generator_config
from training.presets import PRESETS
from training.run import set_up


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "sharpening"}, "task must be one of"),
        ({"sample_size": 48, "channels": [4] * 6}, "--sample-size must be a power of two and a multiple of 32"),
        ({"train_batch_size": 0}, "--train-batch-size must be at least 1, got 0"),
        ({"log_steps": 0}, "--log-steps must be at least 1"),
        ({"clip_every": 0}, "--clip-every must be at least 1"),
        ({"r1_every": 0}, "--r1-every must be at least 1"),
        ({"lr_warmup_steps": -1}, "--lr-warmup-steps must be at least 0"),
        ({"shuffle_buffer": 0}, "--shuffle-buffer must be at least 1"),
        ({"least_crop": 0.0}, "--least-crop must lie in 0.1..1, got 0"),
        ({"color_jitter": 2.0}, "--color-jitter must lie in 0..1"),
        ({"caption_probability": 1.5}, "--caption-probability must lie in 0..1"),
        ({"swap_probability": -0.1}, "--swap-probability must lie in 0..1"),
        ({"recentering_gain": 0.0}, "--recentering-gain must be at least 1e-06"),
        ({"face_template": "celeba"}, "--face-template must be ffhq, portrait or eight numbers, got celeba"),
        ({"face_template": "0.3,0.5,0.6"}, "--face-template must be ffhq, portrait or eight numbers"),
        ({"mask_mix": [0.5, 0.5]}, "--mask-mix must be three shares"),
        ({"mask_mix": [0.5, 0.6, -0.1]}, "--mask-mix must be three shares"),
        ({"mask_mix": [0.5, 0.2, 0.2]}, "--mask-mix must be three shares"),
        ({"batch": 3, "size": 4}, "A training run has no batch, size"),
    ],
)
def test_unfit_configs_are_refused(config, change, message):
    with pytest.raises(ValueError, match=message):
        config(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": None}, "--dataset must name the data"),
        ({"output_dir": ""}, "--output-dir must be given"),
        ({"validation_split": "test", "holdout": 2}, "not on both"),
        ({"streaming": True, "cache_embeddings": True}, "drop --cache-embeddings"),
        ({"cache_embeddings": True, "least_crop": 0.5}, "set --cache-embeddings false"),
        ({"push_to_hub": True}, "needs --hub-model-id"),
        ({"dataset": ["/none"]}, "no folder, no .parquet or .tar file and no name on the Hub"),
        ({"dataset": ["/none.parquet"]}, "cannot be opened"),
        ({"image_column": "photo"}, "no column photo"),
        ({"split_column": "part"}, "has no column part"),
        ({"split_column": None, "holdout": 10}, "--holdout 10 leaves none of the 10"),
        ({"split_column": "split", "train_split": "dev"}, "holds no image"),
        ({"lambda_perceptual": 0.1, "vgg": "/none.safetensors"}, "VGG16's weights .* cannot be fetched"),
        ({"clip": "/none"}, "dual encoder /none cannot be loaded"),
        ({"domain_texts": "/none.txt"}, "must be a text file"),
        ({"masks": "/none"}, "neither a parquet file nor a folder"),
        ({"report_to": "trackio"}, "--report-to trackio needs its package: pip install trackio"),
    ],
)
def test_unfit_inputs_are_refused(config, change, message):
    with pytest.raises(ValueError, match=message):
        set_up(config(**change))


def test_presets_hold_the_papers_recipe_and_give_way_to_the_command_line():
    changes = "--dataset x --learning-rate 1e-3 --no-tf32 --mask-mix 0 1 0"
    words = ["--preset", "super-resolution-ffhq-512", *changes.split(" ")]
    config = parse(words)
    assert (config.network.task, config.network.sample_size) == ("super-resolution", 512)
    assert (config.optimization.learning_rate, config.optimization.tf32) == (1e-3, False)
    assert config.data.dataset == ["x"] and config.data.mask_mix == [0.0, 1.0, 0.0]
    assert config.objective.lambda_clip == 0.1 and config.objective.embedding_noise == 0
    assert parse(["--dataset", "a", "b"]) == TrainingConfig().replace(dataset=["a", "b"])
    assert PRESETS["inpainting-ffhq-256"].objective.lambda_clip == 0.5
    templates = {name: preset.network.face_template for name, preset in PRESETS.items()}
    assert [name for name, template in templates.items() if template == "ffhq"] == [n for n in templates if "ffhq" in n]
    assert {name for name, template in templates.items() if template is None} == {
        "colorization-imagenet-256",
        "textir-mini-colorization",
    }
    shares = "0.3,0.5,0.6,0.5,0.4,0.8,0.6,0.8"
    for text, first in (("", None), ("portrait", FACE_TEMPLATES["portrait"][0]), (shares, (0.3, 0.5))):
        points = parse(["--preset", "textir-mini-inpainting", "--face-template", text]).network.face_points()
        assert (points and points[0]) == first


def test_a_trained_network_carries_the_template_of_its_faces(config):
    arguments = generator_config(config(face_template="ffhq"), 32)
    assert TextIRGenerator(**arguments).config.face_template == FACE_TEMPLATES["ffhq"]
    for name, preset in PRESETS.items():
        paper = not name.startswith("textir-mini")
        assert preset.source and preset.network.task in name and bool(preset.expected) == paper
        if paper:
            optimization, objective = preset.optimization, preset.objective
            assert (optimization.max_train_steps, optimization.learning_rate) == (300_000, 2e-3)
            assert (optimization.lr_scheduler, optimization.lr_warmup_steps, optimization.beta1) == ("constant", 0, 0.0)
            assert (objective.lambda_l1, objective.lambda_perceptual, objective.lambda_adversarial) == (1.0, 0.01, 0.01)
            assert (objective.r1_weight, objective.r1_every, objective.swap_probability) == (10.0, 16, 0.0)
            assert preset.network.clip == "openai/clip-vit-base-patch32"
    with pytest.raises(ValueError, match="--preset must be one of"):
        parse(["--preset", "none"])


def test_options_have_one_spelling(capsys):
    for words in (["--output_dir", "x"], ["--no_tf32"], ["--output", "x"], ["--data", "x"]):
        with pytest.raises(SystemExit):
            parse(words)
        assert "unrecognized arguments" in capsys.readouterr().err


def test_help_reads_in_groups_and_shows_a_presets_values(capsys):
    with pytest.raises(SystemExit):
        parse(["--preset", "textir-mini-colorization", "--help"])
    text = capsys.readouterr().out
    sections = re.split(r"^(\w+):$", text, flags=re.MULTILINE)
    titles, bodies = sections[1::2], sections[2::2]
    assert titles == ["options", *GROUPS]
    for kind, body in zip(GROUPS.values(), bodies[1:], strict=True):
        flags = [f"--{name.replace('_', '-')}" for name in kind.__dataclass_fields__]
        assert all(re.search(rf"^  {flag} ", body, re.MULTILINE) for flag in flags)
    assert "__" not in text and not re.search(r"--\w+_", text)
    assert re.search(r"--lambda-features LAMBDA_FEATURES\s+weight .*\s.*\(default: 0.15\)", text)


def test_a_config_is_kept_in_its_groups(config, tmp_path):
    config(seed=3).save(tmp_path / "config.json")
    saved = json.loads((tmp_path / "config.json").read_text())
    assert [k for k, v in saved.items() if isinstance(v, dict)] == list(GROUPS) and saved["run"]["seed"] == 3


def test_a_fourth_task_trains(config, monkeypatch, tmp_path):
    from test_tasks import Denoising

    from textir_hf import TextIRPipeline
    from training.loop import train

    monkeypatch.setitem(TASKS, "denoising", Denoising())
    folder = train(config(task="denoising", max_train_steps=2, swap_probability=0.5))
    assert (tmp_path / "run" / "validation" / "0000002.png").exists()
    card = (folder / "README.md").read_text()
    assert "# TextIR, denoising" in card and 'pipe("a face", image)' in card
    pipe = TextIRPipeline.from_pretrained(folder)
    assert pipe("a face", make_image()).images[0].size == (40, 36)
