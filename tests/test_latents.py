from dataclasses import asdict

import pytest
import torch
from conftest import encoded, make_image
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from test_training import LATENT
from test_training_processes import command

from textir_hf.models.autoencoder import load_taef2
from textir_hf.tasks import get_task
from training.latents import Latents
from training.latents import main as latents_main
from training.objective import MARGIN, masked_cells
from training.train import Run


@pytest.fixture
def latent_config(config):
    """Makes the config of a tiny run that learns latents."""
    return lambda **more: config(**LATENT | more)


def test_a_sample_has_the_latents_and_embeddings_of_what_it_shows(latent_config):
    run = Run(latent_config(train_batch_size=16))
    batch = next(run.batches())
    images = batch["target"].float() / 255
    torch.testing.assert_close(batch["embedding"], run.encoder.images(images), atol=1e-5, rtol=0)
    assert (batch["latent"].float() - load_taef2("encoder")(images)).abs().mean() < 0.02  # computed in bfloat16
    assert sorted(batch["flip"]) == [0] * 8 + [1] * 8


def test_each_image_is_encoded_once_for_all_runs(latent_config, tmp_path):
    run = Run(latent_config(cache_dir=str(tmp_path / "cache")))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.safetensors")}
    assert len(before) == 16 and Latents(run.rows, run.config, run.encoder).items == run.latents.items
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    with pytest.raises(ValueError, match="2 images"):  # each is also judged under another one's condition
        Latents(run.rows.select([0]), run.config, run.encoder)


def test_a_run_begins_with_the_first_images_while_a_command_encodes_the_others(latent_config, tmp_path):
    cache = {"cache_dir": str(tmp_path / "cache")}
    with pytest.raises(ValueError, match="1 of 8 have latents"):
        Run(latent_config(latent_limit=1, **cache))
    some = latent_config(latent_limit=5, **cache)
    assert Run(some).latents.items == [(row, 0) for row in range(5)]
    assert latents_main(command(asdict(latent_config(**cache)))) == 0
    assert len(Run(some).latents.items) == 16


def test_a_mask_predicts_the_cells_that_it_touches_and_a_margin():
    for y, x in ((0, 0), (37, 90), (127, 64)):
        mask = torch.zeros(1, 1, 128, 128)
        mask[..., y, x] = 1
        cells = masked_cells(mask)[0, 0]
        rows, columns = cells.nonzero().T
        top, left = y // 8, x // 8
        assert rows.min() == max(0, top - MARGIN) and rows.max() == min(15, top + MARGIN)
        assert columns.min() == max(0, left - MARGIN) and columns.max() == min(15, left + MARGIN)
        assert cells.sum() == len(rows.unique()) * len(columns.unique())


def test_cells_beyond_the_photo_or_the_margin_are_not_judged(latent_config):
    run = Run(latent_config(adversarial_start=0, task="inpainting", sample_size=64))
    batch = next(run.batches())
    batch["mask"] = torch.zeros_like(batch["mask"])
    batch["mask"][..., :8, :8] = 1  # one cell in the corner
    batch["valid"][..., 1] = 0
    _, pair = run.objective.generator_terms(run.state.generator, run.state.discriminator, batch, 0)
    assert torch.equal(pair.restored[..., 3:, :], batch["latent"].float()[..., 3:, :])
    assert not torch.equal(pair.restored[..., :3, :3], batch["latent"].float()[..., :3, :3])
    assert pair.mask[..., :3, :3].sum() == pair.mask.sum() > 0 and pair.mask[..., 1].sum() == 0


def test_valid_masks_come_along_mirrored(latent_config, tmp_path):
    rows = []
    for i in range(4):
        valid = make_image(4, 4).point(lambda _: 0).convert("L")
        valid.putpixel((0, 2), 255)
        rows.append({"image": encoded(make_image(32, 32, seed=i)), "valid": encoded(valid)})
    features = Features({"image": ImageFeature(), "valid": ImageFeature()})
    path = tmp_path / "faces.parquet"
    Dataset.from_list(rows, features=features).to_parquet(path)
    changes = {"dataset": [str(path)], "split_column": None, "caption_column": None}
    run = Run(latent_config(**changes, train_batch_size=8))
    batch = next(run.batches())
    for valid, flip in zip(batch["valid"], batch["flip"], strict=True):
        assert valid.sum() == 1 and valid[0, 2, -1 if flip else 0] == 1


def test_a_target_under_its_neighbors_condition_is_a_fake(latent_config):
    run = Run(latent_config(adversarial_start=0, train_batch_size=4))
    _, pair = run.objective.generator_terms(run.state.generator, run.state.discriminator, next(run.batches()), 1)
    seen = []

    def judge(latents, degraded, condition, mask):
        seen.append((latents, condition))
        return run.state.discriminator(latents, degraded, condition, mask)

    run.objective.discriminator_terms(judge, pair, 1)
    ((latents, condition),) = seen
    assert torch.equal(latents, torch.cat([pair.target, pair.restored, pair.target]))
    own = pair.own
    assert torch.equal(condition, torch.cat([own, own, own[[1, 0, 3, 2]]]))


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
    seen = {}

    class Spy(torch.nn.Module):
        def forward(self, degraded, condition, *inputs, **options):
            seen["condition"] = condition
            return run.state.generator(degraded, condition, *inputs, **options)

    terms, pair = run.objective.generator_terms(Spy(), run.state.discriminator, batch, 1)
    torch.testing.assert_close(seen["condition"], torch.stack([text, text, own[2], own[2]]))
    assert torch.equal(pair.own, own) and torch.equal(pair.asked, own[[1, 1, 2, 2]])
    known = run.objective.generator_terms(Spy(), run.state.discriminator, batch | {"mask": batch["mask"] * 0}, 1)[0]
    batch["swapped"][:] = True
    everything = run.objective.generator_terms(Spy(), run.state.discriminator, batch, 1)[0]
    assert everything["matching"] == 0 and everything["l1"] < known["l1"]
    batch["swapped"][:] = False
    assert run.objective.generator_terms(Spy(), run.state.discriminator, batch, 1)[0]["l1"] > terms["l1"]
