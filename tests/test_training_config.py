import json

import pytest
from conftest import make_image

from textir_hf import TextIRPipeline
from training.train import Run, main


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"sample_size": 48, "channels": [4] * 6}, "--sample-size"),
        ({"caption_probability": 1.5}, "--caption-probability"),
        ({"mask_mix": [0.5, 0.2, 0.2]}, "--mask-mix"),
        ({"dataset": None}, "--dataset"),
        ({"image_column": "photo"}, "no column photo"),
        ({"mask_mix": [0.2, 0.3, 0.5]}, "--masks"),
        ({"init_from": "/none"}, "--init-from"),
        ({"caption_probability": 0.5, "caption_column": None}, "--caption-column"),
        ({"decoder": "taef2", "train_batch_size": 3}, "--train-batch-size"),
        ({"split_column": None, "validation_split": "validation"}, 'has no split "validation"'),
        ({"swap_probability": 0.5}, "--swap-probability"),
    ],
)
def test_an_input_that_does_not_fit_is_named(config, change, named):
    with pytest.raises(ValueError, match=named):
        Run(config(**change))


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
