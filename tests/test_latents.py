import pytest
import torch
from conftest import encoded, make_image
from datasets import Dataset, Features, Value
from datasets import Image as ImageFeature
from test_training_processes import assert_same
from torch.nn import functional as F

from textir_hf import TextIRPipeline
from textir_hf.models.autoencoder import load_taef2
from training.latent_objective import MARGIN, masked_cells
from training.latents import Latents, encode_rows, encoded_rows, row_keys
from training.loop import learning_rate, train, train_step
from training.networks import full_parameters
from training.run import set_up


@pytest.fixture
def latent_config(config):
    """Makes the config of a tiny run that learns latents."""
    changes = {"decoder": "taef2", "discriminator": "latent", "discriminator_channels": [4, 6], "blocks": 1}
    changes |= {"lambda_clip": 0.0, "lambda_matching": 0.5, "r1_every": 1}
    return lambda **more: config(**changes | more)


def test_latents_and_embeddings_are_those_of_the_image_plain_and_mirrored(latent_config):
    run = set_up(latent_config())
    assert len(run.latents.items) == 2 * len(run.rows) == 16
    encoder = load_taef2("encoder")
    for row, flip in ((0, 0), (5, 1)):
        image = torch.tensor(next(iter_images(run, row)))
        image = (image.flip(-1) if flip else image)[None] / 255
        latent, embedding = run.latents[row, flip]
        assert (latent.float() - encoder(image)[0]).abs().mean() < 0.02  # they are computed in bfloat16
        torch.testing.assert_close(embedding, run.encoder.images(image)[0], atol=1e-5, rtol=0)


def iter_images(run, row):
    from training.samples import decode

    yield decode(run.rows[row]["image"], 32).numpy()


def test_a_sample_has_the_latents_of_what_it_shows(latent_config):
    run = set_up(latent_config(train_batch_size=16))
    batch, encoder = next(run.batches()), load_taef2("encoder")
    expected = encoder(batch["target"].float() / 255)
    assert (batch["latent"].float() - expected).abs().mean() < 0.02
    assert sorted(batch["flip"]) == [0] * 8 + [1] * 8


def test_each_image_is_encoded_once_and_a_run_uses_what_is_there(latent_config, tmp_path):
    some = latent_config(latent_limit=5, latent_dir=str(tmp_path / "latents"))
    run = set_up(some)
    assert run.latents.items == [(row, 0) for row in range(5)]
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "latents").iterdir()}
    again = encoded_rows(run.rows, some, run.encoder)
    assert again.items == run.latents.items
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "latents").iterdir()} == before
    encode_rows(run.rows, row_keys(run.rows, some), tmp_path / "latents", latent_config(), run.encoder)
    assert len(Latents(tmp_path / "latents").places) == 16
    assert all(p.stat().st_mtime_ns == time for p, time in before.items())


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


@pytest.mark.parametrize("task", ["inpainting", "super-resolution"])
def test_a_run_learns_latents_and_leaves_a_pipeline(task, latent_config):
    folder = train(latent_config(task=task, mixed_precision="bf16", train_batch_size=4))
    pipe = TextIRPipeline.from_pretrained(folder)
    assert pipe.restorer.config.decoder == "taef2" and pipe.restorer.stride == 32
    for name, value in load_taef2("decoder").state_dict().items():
        assert torch.equal(pipe.restorer.latent_decoder.state_dict()[name], value)
    assert (folder.parent / "discriminator.safetensors").is_file()


def test_steps_move_every_weight_but_the_decoders(latent_config):
    run = set_up(latent_config(adversarial_start=0))
    networks = {"generator": run.networks.generator, "discriminator": run.networks.discriminator}
    before = {m: {n: p.clone() for n, p in module.named_parameters()} for m, module in networks.items()}
    batches = run.batches()
    for _ in range(2):
        terms = train_step(run, batches)
    assert set(terms) == {"l1", "adversarial", "matching", "discriminator"}
    for name, module in networks.items():
        still = {n for n, p in module.named_parameters() if torch.equal(p, before[name][n])}
        assert still == {n for n in before[name] if n.startswith("latent_decoder.")}


def test_what_lies_beyond_the_photo_or_the_margin_is_not_judged(latent_config):
    run = set_up(latent_config(adversarial_start=0, task="inpainting", sample_size=64))
    batch = next(run.batches())
    batch["mask"] = torch.zeros_like(batch["mask"])
    batch["mask"][..., :8, :8] = 1  # one cell in the corner
    batch["valid"][..., 1] = 0
    _, pair = run.objective.generator_terms(run.networks.generator, run.networks.discriminator, batch, 0)
    assert torch.equal(pair.restored[..., 3:, :], batch["latent"].float()[..., 3:, :])
    assert not torch.equal(pair.restored[..., :3, :3], batch["latent"].float()[..., :3, :3])
    assert pair.mask[..., :3, :3].sum() == pair.mask.sum() > 0 and pair.mask[..., 1].sum() == 0


def test_valid_masks_come_along_mirrored(latent_config, tmp_path):
    rows = []
    for i in range(4):
        valid = make_image(4, 4).point(lambda _: 0).convert("L")
        valid.putpixel((0, 2), 255)
        rows.append({"image": encoded(make_image(32, 32, seed=i)), "valid": encoded(valid)})
    features = Features({"image": ImageFeature(), "valid": ImageFeature(), "x": Value("string")})
    path = tmp_path / "faces.parquet"
    Dataset.from_list([row | {"x": ""} for row in rows], features=features).to_parquet(path)
    changes = {"dataset": [str(path)], "split_column": None, "caption_column": None, "valid_column": "valid"}
    run = set_up(latent_config(**changes, holdout=0, train_batch_size=8))
    batch = next(run.batches())
    for valid, flip in zip(batch["valid"], batch["flip"], strict=True):
        assert valid.sum() == 1 and valid[0, 2, -1 if flip else 0] == 1


def test_a_run_goes_on_bit_for_bit_and_two_halves_equal_one(latent_config, tmp_path):
    unbroken = latent_config(max_train_steps=4, output_dir=str(tmp_path / "unbroken"))
    train(unbroken)
    train(latent_config(max_train_steps=2, output_dir=str(tmp_path / "halves")))
    train(latent_config(max_train_steps=4, output_dir=str(tmp_path / "halves"), resume_from_checkpoint="latest"))
    assert_same(tmp_path / "unbroken", tmp_path / "halves")


def test_a_run_starts_from_both_networks_of_another(latent_config, tmp_path):
    first = train(latent_config())
    settings = latent_config(
        output_dir=str(tmp_path / "second"),
        init_from=str(first / "restorer"),
        init_discriminator=str(first.parent / "discriminator.safetensors"),
    )
    run = set_up(settings)
    pipe = TextIRPipeline.from_pretrained(first)
    for ours, theirs in zip(full_parameters(run.networks.generator), pipe.restorer.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_long_gradients_are_cut(latent_config, tmp_path):
    moved = {}
    for norm in (0.0, 1e-6):
        run = set_up(latent_config(max_grad_norm=norm, output_dir=str(tmp_path / str(norm))))
        train_step(run, run.batches())
        moments = [s["exp_avg_sq"].sum() for s in run.networks.optimizer.state_dict()["state"].values()]
        moved[norm] = torch.stack(moments).sum().item()
    assert moved[1e-6] == pytest.approx(1e-12 * 0.01, rel=1e-3)  # (1 - beta2) times the squared norm
    assert moved[0.0] > 1e-6


def test_the_rate_falls_to_zero_by_the_clock(latent_config):
    settings = latent_config(lr_scheduler="clock", max_minutes=10.0, learning_rate=1.0)
    rates = [learning_rate(settings, 5, minutes) for minutes in (0, 5, 10, 11)]
    assert rates == pytest.approx([1, 0.5, 0, 0])


def test_a_target_with_anothers_condition_is_a_fake(latent_config):
    run = set_up(latent_config(adversarial_start=0, task="super-resolution"))
    judge = run.networks.discriminator
    own = F.normalize(torch.randn(2, 32), dim=1)
    latents, degraded, mask = torch.randn(2, 32, 4, 4), torch.rand(2, 3, 32, 32), torch.ones(2, 1, 4, 4)
    maps = [logits for logits, _ in judge(latents, degraded, own, mask)]
    swapped = [logits for logits, _ in judge(latents, degraded, own.flip(0), mask)]
    assert [tuple(m.shape) for m in maps] == [(2, 1, 4, 4), (2, 1, 2, 2)]
    assert all((a - b).abs().max() > 1e-4 for a, b in zip(maps, swapped, strict=True))


def test_an_odd_batch_is_refused(latent_config):
    with pytest.raises(ValueError, match="train-batch-size"):
        set_up(latent_config(train_batch_size=3))
