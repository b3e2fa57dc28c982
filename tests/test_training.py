import json
import resource
from itertools import islice

import numpy as np
import pytest
import torch
from conftest import final_state, picture
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PILImage
from training.export import export
from training.grow import adopt, grow

from textir_hf import TextIRGenerator, TextIRPipeline, TextRecentering
from textir_hf.evaluation.data import load_masks
from training import train_clip
from training.config import PRESETS, parse
from training.data import Degrader, HoleSampler, StreamedRows, decode_whole, open_dataset
from training.embeddings import cached_embeddings, recentering
from training.train import Trainer


@pytest.mark.parametrize("task", ["inpainting", "super-resolution", "colorization"])
def test_a_run_leaves_a_pipeline_sheets_curves_and_metrics(task, config, tmp_path):
    trainer = Trainer(config(task=task, mixed_precision="bf16", lambda_features=0.1, train_batch_size=3))
    before = {n: p.clone() for n, p in trainer.generator.named_parameters()}
    frozen = {"clip": trainer.clip, "features": trainer.features}
    frozen_before = {m: {n: p.clone() for n, p in module.named_parameters()} for m, module in frozen.items()}
    folder = trainer.run()
    moved = [n for n, p in trainer.generator.named_parameters() if not torch.equal(p, before[n])]
    assert set(before) == set(moved)
    for name, module in frozen.items():
        for n, p in module.named_parameters():
            assert p.grad is None and torch.equal(p, frozen_before[name][n])
    pipe = TextIRPipeline.from_pretrained(folder)
    assert pipe.restorer.config.task == task and pipe.recentering.image_mean.norm() > 0.1
    assert {p.name for p in folder.iterdir()} >= {"model_index.json", "README.md", "samples.png", "curves.png"}
    card = (folder / "README.md").read_text()
    assert f"# TextIR, {task}" in card and "| right |" in card and "4 steps of 3 pictures at 32x32" in card
    assert str(tmp_path) not in card + (folder / "training_config.json").read_text()
    run = tmp_path / "run"
    assert (run / "validation" / "0000004.png").exists() and not list(run.glob(".*"))
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows] == [1, 2, 3, 4, 4]
    assert "discriminator" not in rows[0] and "discriminator" in rows[1] and "r1" in rows[2] and "r1" not in rows[3]
    assert {f"validation/{m}/{c}" for m in ("psnr", "ssim") for c in ("right", "other", "empty")} < set(rows[4])
    assert json.loads((run / "training_config.json").read_text())["task"] == task


def test_the_run_with_vgg_and_clip_loss_gives_them_no_gradients(config, tmp_path):
    from safetensors.torch import save_file

    shapes = {0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256), 14: (256, 256)}
    shapes |= {17: (512, 256), 19: (512, 512), 21: (512, 512)}
    state = {}
    for index, (o, i) in shapes.items():
        state |= {f"features.{index}.weight": torch.randn(o, i, 3, 3) / (9 * i) ** 0.5}
        state |= {f"features.{index}.bias": torch.zeros(o)}
    save_file(state, tmp_path / "vgg.safetensors")
    trainer = Trainer(config(lambda_perceptual=0.1, vgg=str(tmp_path / "vgg.safetensors")))
    values = trainer.train_step(trainer.batches())
    assert values["perceptual"] > 0 and values["clip"] > 0
    for module in (trainer.clip, trainer.perceptual):
        parameters = list(module.parameters())
        assert parameters and all(p.grad is None and not p.requires_grad for p in parameters)


@pytest.mark.parametrize("task", ["inpainting", "super-resolution", "colorization"])
def test_a_swapped_condition_is_judged_by_the_clip_and_adversarial_losses_alone(task, config):
    trainer = Trainer(config(task=task, swap_probability=1.0, lambda_features=0.1, train_batch_size=4))
    values, target, restored = trainer._generator_losses(next(trainer.batches()))
    assert values["features"] == 0
    # a hole's border (twice), the small picture, and what lies around an object still have to fit
    assert 0 < values["l1"] < 2 * (restored - target).abs().mean()
    values["clip"].backward()
    assert trainer.generator.style.weight.grad.abs().sum() > 0


def test_half_of_the_swaps_are_sentences_and_a_sample_decides_for_itself(config):
    trainer = Trainer(config(swap_probability=0.5))
    embedding = torch.nn.functional.normalize(torch.randn(64, trainer.sentences.shape[1]), dim=1)

    def draw():
        return trainer._swap(embedding, [torch.Generator().manual_seed(i) for i in range(64)])

    mixed, swapped = draw()
    assert torch.equal(draw()[0], mixed)
    assert 16 < swapped.sum() < 48
    torch.testing.assert_close(mixed[~swapped], embedding[~swapped])
    theirs = (mixed == embedding.roll(-1, 0)).all(1)
    said = (mixed[:, None] == trainer.sentences[None]).all(2).any(1)
    assert torch.equal(theirs | said, swapped) and min(theirs.sum(), said.sum()) > 4


def test_recentering_gain_spreads_the_texts(config):
    plain, wide = (Trainer(config(recentering_gain=g)).recentering.config.scale for g in (1.0, 1.5))
    assert wide == pytest.approx(1.5 * plain)


def test_recentering_looks_at_rows_from_all_over_the_data(config):
    trainer = Trainer(config(sample_size=32))
    parts = (trainer.clip, trainer.tokenizer, trainer.embed, None)
    few, _ = recentering(trainer.config, trainer.rows, *parts, most=4)
    some = [image for _, image in decode_whole([trainer.rows[i] for i in (0, 2, 4, 7)], trainer.config)]
    torch.testing.assert_close(few.image_mean, trainer.embed(torch.stack(some).float() / 255).mean(0))
    with pytest.raises(ValueError, match="2 sentences or more that differ"):
        recentering(trainer.config, trainer.rows, *parts, most=1)


def test_crops_and_tints_follow_from_the_sample_alone():
    target = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    plain, varied = (Degrader("super-resolution", 32, None, 0, *v) for v in ((), (0.5, 0.3)))
    assert (plain.decoded_size, varied.decoded_size) == (32, 64)
    samples = [varied(target, n)["target"] for n in range(64)]
    assert all(s.shape == (3, 32, 32) and s.dtype == torch.uint8 for s in samples)
    assert all(torch.equal(varied(target, n)["target"], samples[n]) for n in (3, 40))
    assert len({s.numpy().tobytes() for s in samples}) > 32  # a quarter is only mirrored or not
    small = target[:, ::2, ::2].contiguous()
    given = plain(small, 5)
    assert torch.equal(given["target"], small.flip(-1) if given["flip"] else small)


def test_a_run_can_start_from_another_size(config, tmp_path):
    folder = Trainer(config(max_train_steps=1)).run()
    trainer = Trainer(config(output_dir=str(tmp_path / "large"), sample_size=64, init_from=str(folder / "restorer")))
    saved = TextIRGenerator.from_pretrained(folder / "restorer").state_dict()
    assert all(torch.equal(p, saved[n]) for n, p in trainer.generator.state_dict().items())


def test_an_exported_run_is_a_checkpoint_without_the_shared_encoder(config, encoder, tmp_path):
    folder = Trainer(config(max_train_steps=1)).run()
    for scale in (None, 2.0):  # the second replaces the first
        export([tmp_path / "run"], tmp_path / "made" / "checkpoint", output_scale=scale)
    assert [p.name for p in (tmp_path / "made").iterdir()] == ["checkpoint"]
    made = tmp_path / "made" / "checkpoint"
    assert sorted(p.name for p in made.iterdir()) == ["model_index.json", "recentering", "restorer"]
    assert not [p for p in made.rglob("*.json") if str(tmp_path) in p.read_text()]
    parts = dict(zip(("clip", "tokenizer", "image_processor"), encoder, strict=True))
    pipe = TextIRPipeline.from_pretrained(made, **parts)
    trained = TextIRGenerator.from_pretrained(folder / "restorer")
    assert (trained.config.output_scale, pipe.restorer.config.output_scale) == (1.0, 2.0)
    torch.testing.assert_close(pipe.restorer.style.weight, trained.style.weight, atol=1e-2, rtol=1e-3)
    assert TextRecentering.from_pretrained(folder / "recentering").config.embedding_dim == 32


def test_several_runs_are_exported_as_the_mean_of_their_weights(config, encoder, tmp_path):
    runs, made = [tmp_path / name for name in ("one", "two", "wider")], tmp_path / "checkpoint"
    for i, run in enumerate(runs):
        width = {"channels": [16, 16, 16]} if run.name == "wider" else {}
        Trainer(config(max_train_steps=1, output_dir=str(run), seed=i, **width)).run()
    export(runs[:2], made)
    one, two, mean = (
        TextIRGenerator.from_pretrained(folder / "restorer").state_dict()
        for folder in (runs[0] / "pipeline", runs[1] / "pipeline", made)
    )
    assert not torch.equal(one["style.weight"], two["style.weight"])
    for name, value in mean.items():
        torch.testing.assert_close(value.float(), (one[name] + two[name]) / 2, atol=1e-2, rtol=1e-3)
    before = {p: p.read_bytes() for p in made.rglob("*") if p.is_file()}
    with pytest.raises(ValueError, match=r"wider.* differs from .*one.* in channels: only"):
        export([runs[0], runs[2]], made)
    assert before == {p: p.read_bytes() for p in made.rglob("*") if p.is_file()}


def test_a_folder_of_pictures_trains_and_a_cached_embedding_is_used_again(config, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(6):
        picture(40, 40, seed=i).save(folder / f"{i}.png")
    changes = {"data_files": None, "train_data_dir": str(folder), "split_column": None, "caption_column": None}
    made = config(**changes, holdout=2, cache_embeddings=True, domain_texts=str(tmp_path / "texts.txt"))
    (tmp_path / "texts.txt").write_text("a red flower\na smiling face\n")
    trainer = Trainer(made)
    assert len(trainer.rows) == 4 and len(trainer.held_out) == 2 and trainer.embeddings.shape == (2, 4, 32)
    (file,) = (tmp_path / "cache" / "embeddings").iterdir()
    stamp = file.stat().st_mtime_ns
    again = cached_embeddings(trainer.embed, trainer.clip, "no", trainer.rows, made)
    assert torch.equal(again, trainer.embeddings) and file.stat().st_mtime_ns == stamp
    batch = next(trainer.batches())
    for target, flip, row in zip(batch["target"], batch["flip"], batch["row"], strict=True):
        expected = trainer.embed(target[None].float() / 255)[0]
        torch.testing.assert_close(trainer.embeddings[flip, row], expected, atol=1e-5, rtol=0)
    with torch.no_grad():
        trainer.clip.logit_scale.add_(1.0)  # another encoder has another key
    cached_embeddings(trainer.embed, trainer.clip, "no", trainer.rows, made)
    assert len(list((tmp_path / "cache" / "embeddings").iterdir())) == 2


def stream(config, position=None, process=0, processes=1, take=20):
    rows = StreamedRows(open_dataset(config, "train"), config, process, processes, position)
    items = [item for batch in islice(rows, take) for item in batch]
    assert len({id(i) for i in items}) == take * config.train_batch_size
    return items


def test_a_stream_shows_every_picture_once_an_epoch_and_goes_on_anywhere(config):
    made = config(streaming=True, shuffle_buffer=3, train_batch_size=1)
    items = stream(made)
    epochs = [[i["image"]["bytes"] for i in items if i["position"]["epoch"] == e] for e in range(2)]
    assert [len(e) for e in epochs] == [8, 8] and set(epochs[0]) == set(epochs[1]) and len(set(epochs[0])) == 8
    assert epochs[0] != epochs[1] and [i["number"] for i in items] == list(range(1, 21))
    for stop in (1, 3, 4, 8, 9, 16):
        rest = stream(made, items[stop - 1]["position"], take=4)
        assert [(i["number"], i["image"]) for i in rest] == [(i["number"], i["image"]) for i in items[stop : stop + 4]]


@pytest.mark.parametrize("files", [1, 2])
def test_processes_share_a_stream(config, data, files):
    made = config(streaming=True, shuffle_buffer=3, train_batch_size=1, data_files=[data] * files)
    shares = [[i for i in stream(made, None, p, 2, take=8) if i["position"]["epoch"] == 0] for p in range(2)]
    numbers = [i["number"] for share in shares for i in share]
    assert len(numbers) == len(set(numbers)) == 8 * files
    pictures = [[i["image"]["bytes"] for i in share] for share in shares]
    assert len(set(pictures[0]) | set(pictures[1])) == 8
    assert files == 2 or not set(pictures[0]) & set(pictures[1])


def test_damaged_pictures_are_skipped_and_too_many_stop_the_run(config, data, tmp_path, capsys):
    rows = Dataset.from_parquet(data, cache_dir=str(tmp_path / "c")).cast_column("image", Image(decode=False)).to_list()
    rows = [rows[i % 8] for i in range(120)]
    features = Features({"image": Image(), "text": List(Value("string")), "split": Value("string")})
    for count, stops in ((1, False), (2, True)):
        for i in range(count):
            rows[3 + i] = rows[3 + i] | {"image": {"bytes": b"no picture", "path": f"bad{i}.png"}}
        path = tmp_path / f"{count}.parquet"
        Dataset.from_list(rows, features=features).to_parquet(path)
        trainer = Trainer(config(data_files=[str(path)], split_column=None, train_batch_size=20))
        batches = trainer.batches()
        if stops:
            with pytest.raises(ValueError, match=r"2 of 120 pictures are damaged, more than 1%: bad0.png, bad1.png"):
                [next(batches) for _ in range(7)]
        else:
            assert all(len(next(batches)["target"]) == 20 for _ in range(7))
            assert "damaged picture 1 skipped: bad0.png" in capsys.readouterr().err


def test_a_full_disk_leaves_the_older_checkpoints_whole(config, tmp_path):
    trainer = Trainer(config())
    trainer.save()
    before = final_state(tmp_path / "run")
    trainer.train_step(trainer.batches())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"cannot be written .* Older checkpoints are whole"):
            trainer.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["checkpoint-0"]
    after = final_state(tmp_path / "run")
    assert all(torch.equal(v, after[k]) for k, v in before.items())


def test_a_checkpoint_of_another_run_is_refused(config):
    Trainer(config(max_train_steps=2)).run()
    with pytest.raises(ValueError, match="holds the run that reached checkpoint-2"):
        Trainer(config()).run()
    with pytest.raises(ValueError, match="made with --task inpainting, got colorization"):
        Trainer(config(task="colorization", resume_from_checkpoint="latest")).run()
    with pytest.raises(ValueError, match="checkpoint-9 is no checkpoint"):
        Trainer(config(resume_from_checkpoint="checkpoint-9")).run()


def test_a_run_goes_on_at_another_rate(config):
    Trainer(config(max_train_steps=2)).run()
    trainer = Trainer(config(learning_rate=1e-4, resume_from_checkpoint="latest"))
    trainer.resume()
    for optimizer in (trainer.optimizer, trainer.discriminator_optimizer):
        assert [group["lr"] for group in optimizer.param_groups] == [1e-4]


def test_a_stream_goes_on_only_with_the_same_batches(config):
    Trainer(config(max_train_steps=2, streaming=True)).run()
    with pytest.raises(ValueError, match="same --shuffle_buffer"):
        Trainer(config(streaming=True, shuffle_buffer=7, resume_from_checkpoint="latest")).run()


def test_a_loss_that_is_not_finite_stops_the_run(config):
    trainer = Trainer(config())
    trainer.save()
    with torch.no_grad():
        trainer.generator.encoder.first.weight.fill_(torch.nan)
    message = r"not finite at step 0: l1 nan, clip nan. The last good checkpoint is .*checkpoint-0"
    with pytest.raises(FloatingPointError, match=message):
        trainer.train_step(trainer.batches())


def test_without_a_network_the_pipeline_stays_and_the_way_to_push_is_said(config, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    folder = Trainer(config(max_train_steps=1, push_to_hub=True, hub_model_id="me/mine")).run()
    said = capsys.readouterr().out
    assert f"textir publish {folder} --repo me/mine" in said and (folder / "model_index.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "sharpening"}, "task must be one of"),
        ({"sample_size": 48, "channels": [4] * 6}, "sample_size must be a power of two and a multiple of 32"),
        ({"train_batch_size": 0}, "train_batch_size must be at least 1"),
        ({"least_crop": 0.0}, "least_crop must be between 0.1 and 1, got 0.0"),
        ({"color_jitter": 2.0}, "color_jitter must be between 0 and 1"),
        ({"recolor_probability": 1.5}, "recolor_probability must be between 0 and 1"),
        ({"swap_probability": -0.1}, "swap_probability must be between 0 and 1"),
        ({"recentering_gain": 0.0}, "recentering_gain must be above 0"),
    ],
)
def test_unfit_configs_are_refused(config, change, message):
    with pytest.raises(ValueError, match=message):
        config(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data_files": None}, "Exactly one of .* must name the data, got none"),
        ({"train_data_dir": "x"}, "got train_data_dir and data_files"),
        ({"output_dir": ""}, "--output_dir must be given"),
        ({"streaming": True, "cache_embeddings": True}, "drop --cache_embeddings"),
        ({"cache_embeddings": True, "least_crop": 0.5}, "set --cache_embeddings false"),
        ({"cache_embeddings": True, "recolor_probability": 0.5}, "set --cache_embeddings false"),
        ({"push_to_hub": True}, "needs --hub_model_id"),
        ({"data_files": None, "train_data_dir": "/none"}, "cannot be opened.*no folder"),
        ({"data_files": ["/none.parquet"]}, "cannot be opened"),
        ({"image_column": "photo"}, "no column photo"),
        ({"split_column": "part"}, "--split_column part is not there"),
        ({"split_column": None, "holdout": 10}, "--holdout 10 leaves none of the 10"),
        ({"split_column": "text"}, "holds no picture"),
        ({"lambda_perceptual": 0.1, "vgg": "/none.safetensors"}, "VGG16's weights .* cannot be had"),
        ({"clip": "/none"}, "dual encoder /none cannot be loaded"),
        ({"domain_texts": "/none.txt"}, "must be a text file"),
        ({"masks": "/none"}, "neither a parquet file nor a folder"),
        ({"report_to": "comet_ml"}, "--report_to must be tensorboard, wandb or trackio, got comet_ml"),
    ],
)
def test_unfit_inputs_are_refused(config, change, message):
    with pytest.raises(ValueError, match=message):
        Trainer(config(**change))


def test_masks_with_gray_levels_are_refused(tmp_path):
    mask = np.zeros((8, 8), np.uint8)
    mask[2:5, 2:5] = 255
    PILImage.fromarray(mask).save(tmp_path / "a.png")
    assert load_masks(tmp_path, "train", 16).sum() == 36
    mask[0, 0] = 7
    PILImage.fromarray(mask).save(tmp_path / "b.png")
    with pytest.raises(ValueError, match=r"b.png holds gray levels \(7 among others\)"):
        load_masks(tmp_path, "train", 16)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no mask"):
        load_masks(tmp_path / "empty", "train", 16)


def test_presets_hold_the_papers_recipe_and_give_way_to_the_command_line():
    config = parse(["--preset", "super-resolution-ffhq-512", "--data_files", "x", "--learning_rate", "1e-3"])
    assert (config.task, config.sample_size, config.lambda_clip) == ("super-resolution", 512, 0.1)
    assert config.learning_rate == 1e-3 and config.data_files == ["x"] and config.embedding_noise == 0
    assert PRESETS["inpainting-ffhq-256"].lambda_clip == 0.5
    for name, preset in PRESETS.items():
        paper = not name.startswith("textir-mini")
        assert preset.source and preset.task in name and bool(preset.expected) == paper
        if paper:
            assert (preset.max_train_steps, preset.learning_rate, preset.lambda_perceptual) == (300_000, 2e-3, 0.01)
    with pytest.raises(ValueError, match="--preset must be one of"):
        parse(["--preset", "none"])


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


def test_a_larger_network_starts_as_the_smaller_one_at_half_its_size():
    torch.manual_seed(0)
    shape = {"in_channels": 4, "embedding_dim": 8, "style_dim": 8}
    small = TextIRGenerator(sample_size=16, channels=(8, 12), **shape)
    large = TextIRGenerator(sample_size=32, channels=(6, 8, 12), **shape)
    grow(small, large)
    features = [torch.randn(1, 6, 32, 32), torch.randn(1, 8, 16, 16), torch.randn(1, 12, 8, 8)]
    torch.testing.assert_close(large.encoder.down[1](features[1]), small.encoder.down[0](features[1]))
    embedding = torch.nn.functional.normalize(torch.randn(1, 8), dim=1)
    strength = torch.tensor([[0.3]])
    for inner, outer in zip(small.fusion(strength), large.fusion(strength)[1:], strict=True):
        torch.testing.assert_close(outer, inner)
    images = {}
    for name, network, seen in (("small", small, features[1:]), ("large", large, features)):
        network.encoder.forward = lambda _, seen=seen: (seen, seen[-1])
        inner = network.levels[0]
        inner.register_forward_hook(lambda *a, name=name: images.__setitem__(name, a[2][1]))
        side = 16 if name == "small" else 32
        network(torch.rand(1, 4, side, side), embedding, 0.3)
    torch.testing.assert_close(images["large"], images["small"])
    with pytest.raises(ValueError, match=r"channels \[8, 12\] and style_dim 8 starts one"):
        grow(small, TextIRGenerator(sample_size=32, channels=(6, 8, 16), **shape))


def test_a_network_starts_as_one_of_another_task():
    shape = {"embedding_dim": 8, "style_dim": 8, "channels": (6, 8), "sample_size": 16}
    filling = TextIRGenerator("inpainting", in_channels=4, **shape)
    enlarging = TextIRGenerator("super-resolution", in_channels=3, strength_source="input", **shape)
    own = enlarging.encoder.first.weight.clone()
    adopt(filling, enlarging)
    inputs = torch.randn(1, 6, 16, 16)
    torch.testing.assert_close(enlarging.encoder.down[0](inputs), filling.encoder.down[0](inputs))
    torch.testing.assert_close(enlarging.style.weight, filling.style.weight)
    torch.testing.assert_close(enlarging.encoder.first.weight, own)
    again = TextIRGenerator("inpainting", in_channels=4, **shape)
    adopt(filling, again)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in filling.state_dict().items())
    with pytest.raises(ValueError, match=r"channels \[6, 8\] and style_dim 8 starts one"):
        adopt(filling, TextIRGenerator("inpainting", in_channels=4, **shape | {"style_dim": 4}))
