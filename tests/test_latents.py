from unittest.mock import Mock

import pytest
import torch
from conftest import encoded, make_image
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image
from test_training import LATENT

from textir_hf.models.autoencoder import load_taef2
from textir_hf.tasks import get_task
from training.data import training_and_held_out
from training.latents import FrozenEncoder, Latents
from training.objective import MARGIN, masked_cells
from training.train import Run


@pytest.fixture
def latent_config(config):
    """Makes the config of a tiny run that learns latents."""
    return lambda **more: config(**LATENT | more)


def test_a_sample_has_the_latents_embeddings_and_valid_mask_of_what_it_shows(latent_config, tmp_path):
    valid = Image.new("L", (4, 4))
    valid.putpixel((0, 2), 255)
    rows = [{"image": encoded(make_image(32, 32, seed=i)), "valid": encoded(valid)} for i in range(4)]
    features = Features({"image": ImageFeature(), "valid": ImageFeature()})
    Dataset.from_list(rows, features=features).to_parquet(tmp_path / "faces.parquet")
    changes = {"dataset": [str(tmp_path / "faces.parquet")], "split_column": None, "caption_column": None}
    run = Run(latent_config(**changes, train_batch_size=8))
    batch = next(run.batches())
    images = batch["target"].float() / 255
    torch.testing.assert_close(batch["embedding"], run.encoder.images(images), atol=1e-5, rtol=0)
    assert (batch["latent"].float() - load_taef2("encoder")(images)).abs().mean() < 0.02  # computed in bfloat16
    assert sorted(batch["flip"]) == [0] * 4 + [1] * 4
    for valid, flip in zip(batch["valid"], batch["flip"], strict=True):
        assert valid.sum() == 1 and valid[0, 2, -1 if flip else 0] == 1


def test_each_image_is_encoded_once_for_all_runs_and_two_are_needed(latent_config, tmp_path):
    settings = latent_config(cache_dir=str(tmp_path / "cache"))
    assert len(Run(settings).latents.items) == 16
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.safetensors")}
    assert len(before) == len(Run(settings).latents.items) == 16
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    with pytest.raises(ValueError, match="1 of 1 have latents"):
        Latents(training_and_held_out(settings)[0].take(1), settings, FrozenEncoder(settings.clip, torch.device("cpu")))


def test_a_mask_predicts_the_cells_that_it_touches_and_a_margin():
    for y, x in ((0, 0), (37, 90), (127, 64)):
        mask, expected = torch.zeros(1, 1, 128, 128), torch.zeros(16, 16)
        mask[..., y, x] = 1
        rows, columns = (slice(max(0, place // 8 - MARGIN), place // 8 + MARGIN + 1) for place in (y, x))
        expected[rows, columns] = 1
        assert torch.equal(masked_cells(mask)[0, 0].float(), expected)


def test_cells_of_the_photo_within_the_margin_are_judged_and_a_target_under_its_neighbors_condition_is_fake(
    latent_config,
):
    run = Run(latent_config(adversarial_start=0, train_batch_size=4))
    batch = next(run.batches())
    batch["mask"] = torch.zeros_like(batch["mask"])
    batch["mask"][..., :8, :8] = 1  # one cell in the corner
    batch["valid"][..., 1] = 0
    _, pair = run.objective.generator_terms(run.state.generator, run.state.discriminator, batch, 1)
    assert torch.equal(pair.restored[..., 3:, :], batch["latent"].float()[..., 3:, :])
    assert not torch.equal(pair.restored[..., :3, :3], batch["latent"].float()[..., :3, :3])
    assert pair.mask[..., :3, :3].sum() == pair.mask.sum() > 0 and pair.mask[..., 1].sum() == 0

    judge = Mock(side_effect=run.state.discriminator)
    run.objective.discriminator_terms(judge, pair, 1)
    latents, _, condition, _ = judge.call_args.args
    assert judge.call_count == 1 and torch.equal(latents, torch.cat([pair.target, pair.restored, pair.target]))
    assert torch.equal(condition, torch.cat([pair.own, pair.own, pair.own[[1, 0, 3, 2]]]))


def test_every_kth_image_is_decoded_for_the_clip_loss_as_users_get_it(latent_config):
    weights = {"lambda_clip": 0.5, "clip_every": 2, "lambda_perceptual": 1.0}
    run = Run(latent_config(train_batch_size=4, **weights, adversarial_start=9))
    batch = next(run.batches())
    terms, pair = run.objective.generator_terms(run.state.generator, None, batch, 0)
    decoded = run.state.restorer.latent_decoder(pair.restored[::2])
    some = {name: values[::2] for name, values in batch.items()}
    restored = get_task("inpainting").restored(decoded, batch["target"][::2].float() / 255, some)
    expected = 1 - (run.encoder.images(restored) * batch["embedding"][::2]).sum(1).mean()
    torch.testing.assert_close(terms["clip"], expected, atol=1e-4, rtol=0)
    assert run.objective.total(terms) == terms["l1"] + 0.5 * terms["clip"] + terms["perceptual"]
    assert 0 < terms["perceptual"].item() < terms["l1"].item()
    terms["clip"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in run.state.generator.levels.parameters())


def test_a_swapped_image_is_restored_towards_the_image_or_the_caption_that_was_asked_for(latent_config):
    options = {"train_batch_size": 4, "lambda_clip": 0.5, "embedding_noise": 0.0, "caption_probability": 0.5}
    run = Run(latent_config(**options, swap_probability=0.5, adversarial_start=0, lambda_matching=1.0))
    batch = next(run.batches()) | {"caption": ["", "a face", "", ""]}
    batch["swapped"] = torch.tensor([True, False, False, True])
    own, (text,) = batch["embedding"], run.encoder.texts(["a face"])
    generator = Mock(side_effect=run.state.generator)
    terms, pair = run.objective.generator_terms(generator, run.state.discriminator, batch, 1)
    torch.testing.assert_close(generator.call_args.args[1], torch.stack([text, text, own[2], own[2]]))
    assert torch.equal(pair.own, own) and torch.equal(pair.asked, own[[1, 1, 2, 2]])
    batch["swapped"][:] = False  # the images that were swapped are now compared with theirs as well
    assert run.objective.generator_terms(generator, run.state.discriminator, batch, 1)[0]["l1"] > terms["l1"]
    batch["swapped"][:] = True
    assert run.objective.generator_terms(generator, run.state.discriminator, batch, 1)[0]["matching"] == 0
