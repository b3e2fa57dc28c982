import json
from dataclasses import replace

import pytest
from conftest import make_image

from textir_hf import TextIRPipeline
from training.config import PRESETS, TrainingConfig, parse
from training.train import Run, main

PAPER = [name for name in PRESETS if not name.startswith("textir-mini")]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"task": "sharpening"}, "task"),
        ({"sample_size": 48, "channels": [4] * 6}, "--sample-size"),
        ({"max_minutes": float("nan")}, "--max-minutes"),
        ({"caption_probability": 1.5}, "--caption-probability"),
        ({"mask_mix": [0.5, 0.2, 0.2]}, "--mask-mix"),
        ({"dataset": None}, "--dataset"),
        ({"output_dir": ""}, "--output-dir"),
        ({"image_column": "photo"}, "no column photo"),
        ({"clip": "/none"}, "/none"),
        ({"mask_mix": [0.2, 0.3, 0.5]}, "--masks"),
        ({"report_to": "trackio"}, "pip install trackio"),
        ({"init_from": "/none"}, "--init-from"),
        ({"caption_probability": 0.5, "caption_column": None}, "--caption-column"),
        ({"decoder": "taef2", "train_batch_size": 3}, "--train-batch-size"),
        ({"decoder": "taef2", "clip_every": 3}, "--clip-every"),
        ({"decoder": "taef2", "streaming": True}, "--streaming"),
        ({"swap_probability": 0.5}, "--swap-probability"),
    ],
)
def test_an_input_that_does_not_fit_is_named(config, change, named):
    with pytest.raises(ValueError, match=named):
        Run(config(**change))


def test_a_preset_gives_way_to_the_command_line():
    words = ["--preset", "super-resolution-ffhq-512", "--dataset", "x", "--learning-rate", "1e-3"]
    words += ["--mask-mix", "0", "1", "0"]
    changes = {"preset": words[1], "dataset": ["x"], "learning_rate": 1e-3, "mask_mix": [0.0, 1.0, 0.0]}
    assert parse(words) == replace(PRESETS[words[1]], **changes)
    assert parse(["--dataset", "a", "b"]) == TrainingConfig(dataset=["a", "b"])
    with pytest.raises(SystemExit):
        parse(["--preset", "none"])


@pytest.mark.parametrize("task", ["inpainting", "colorization"])  # on latents and on images
def test_a_folder_of_images_is_all_that_a_mini_preset_needs(task, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    for i in range(6):
        make_image(40, 40, seed=i).save(tmp_path / "photos" / f"{i}.png")
    words = ["--preset", f"textir-mini-{task}", "--dataset", str(tmp_path / "photos"), "--output-dir"]
    small = "--sample-size 32 --channels 4 6 8 --style-dim 8 --discriminator-channels 4 8 --train-batch-size 2"
    small += f" --clip-every 2 --max-train-steps 1 --dataloader-num-workers 0 --cache-dir {tmp_path / 'cache'}"
    assert main([*words, str(tmp_path / "run"), *small.split()]) == 0
    assert "3 are held out, not 16" in capsys.readouterr().err
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert "validation/psnr/right" in rows[-1]
    pipe = TextIRPipeline.from_pretrained(tmp_path / "run" / "pipeline")
    assert pipe.task.name == task and (pipe.restorer.config.decoder == "taef2") == (task == "inpainting")
