import math

import pytest
import torch

from training.adversarial import r1_penalty
from training.discriminator import Discriminator, ProjectedDiscriminator, RandomMixing, build_discriminator
from training.loop import train_step
from training.perceptual import FEATURE_CHANNELS
from training.run import set_up


def inputs(count: int = 2, size: int = 64) -> tuple:
    """Images, features, conditions and masks."""
    features = [torch.randn(count, c, size >> i, size >> i) for i, c in enumerate(FEATURE_CHANNELS, 2)]
    condition = torch.nn.functional.normalize(torch.randn(count, 16), dim=1)
    return torch.rand(count, 3, size, size), features, condition, torch.ones(count, 1, size, size)


@pytest.mark.parametrize("size", [8, 16, 64])
def test_stylegan2s_gives_one_logit_an_image(size):
    model = Discriminator(size, (4, 8))
    (logits,) = model(torch.rand(3, 3, size, size), [], None, None)
    assert logits.shape == (3, 1, 1, 1) and len(model.blocks) == int(math.log2(size)) - 2


def test_the_projected_one_judges_places_at_five_scales():
    model = ProjectedDiscriminator((4, 8, 8), embedding_dim=16, width=8)
    assert [list(x.shape) for x in model(*inputs())] == [[2, 1, s, s] for s in (16, 8, 4, 2, 16)]


def test_the_constructor_takes_the_runs_kind_size_and_widths(config):
    network = build_discriminator(config(sample_size=64, discriminator_channels=[4, 8]).network, 16)
    assert isinstance(network, Discriminator) and network.first.weight.shape[0] == 4
    changes = {"discriminator": "projected", "discriminator_channels": [4, 8]}
    network = build_discriminator(config(**changes).network, 16)
    assert isinstance(network, ProjectedDiscriminator) and network.first.weight.shape[0] == 4
    assert network.pixels.condition.weight.shape == (8, 16)


@pytest.mark.parametrize("kind", ["stylegan2", "projected"])
def test_r1_reaches_all_weights(config, kind):
    network = build_discriminator(config(discriminator=kind, discriminator_channels=[4, 8]).network, 16)
    image, features, condition, mask = inputs(size=32)
    leaves = [image.requires_grad_(), *(x.requires_grad_() for x in features)]
    leaves = leaves if kind == "projected" else leaves[:1]
    r1_penalty(network(image, features, condition, mask), leaves).backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]  # biases
    assert all(n.endswith("bias") for n in without)


def test_a_place_is_judged_by_its_mask_and_its_condition():
    model, (image, features, condition, mask) = ProjectedDiscriminator((4, 8), 16, width=8), inputs()
    mask[..., 32:] = 0
    judged = model(image, features, condition, mask)
    for other in (model(image, features, condition.flip(0), mask), model(image, features, condition, 1 - mask)):
        assert all((a - b).abs().max() > 1e-4 for a, b in zip(judged, other, strict=True))


def test_coarse_features_reach_fine_mixtures_and_nothing_of_the_mixing_is_learned():
    mixing, (_, features, _, _) = RandomMixing(8), inputs()
    mixed = mixing(features)
    changed = mixing([*features[:-1], features[-1] + 1])
    assert all((a - b).abs().max() > 1e-4 for a, b in zip(mixed, changed, strict=True))
    assert not list(mixing.parameters()) and len(mixing.state_dict()) == 8


@pytest.mark.parametrize("task", ["inpainting", "super-resolution", "colorization"])
def test_every_task_trains_against_the_projected_one(config, task):
    changes = {"discriminator": "projected", "condition_dropout": 0.5, "swap_probability": 0.5, "r1_every": 2}
    run = set_up(config(task=task, adversarial_start=0, sample_size=32, **changes))
    batches, network = run.batches(), run.networks.discriminator
    before = {name: p.clone() for name, p in network.named_parameters()}
    terms = train_step(run, batches)
    assert {"adversarial", "discriminator", "r1"} <= set(terms)
    assert torch.isfinite(torch.stack(list(terms.values()))).all()
    kept = [name for name, p in network.named_parameters() if torch.equal(p, before[name])]
    assert all(name.endswith("bias") for name in kept) and len(kept) < len(before) / 2


def test_a_target_with_anothers_condition_is_a_fake(config):
    """A discriminator that is told nothing of the image learns from the condition alone what fits."""
    run = set_up(config(discriminator="projected", adversarial_start=0, sample_size=32, train_batch_size=4))
    _, pair = run.objective.generator_terms(run.networks.generator, run.networks.discriminator, next(run.batches()), 1)
    pair.own = pair.given = torch.eye(4, run.encoder.dim)
    pair.restored, pair.restored_features = pair.target, pair.target_features
    seen = []

    def told(images, features, condition, mask):
        seen.append(condition)
        fits = (condition * torch.cat([pair.own] * 3)).sum(1) > 0.999
        return [torch.where(fits, 5.0, -5.0)[:, None, None, None]]

    loss = run.objective.discriminator_terms(told, pair, 1)["discriminator"].item()
    assert torch.equal(seen[0], torch.cat([pair.own, pair.own, pair.own.roll(1, 0)]))
    assert loss == pytest.approx(math.log1p(math.exp(-5)) + (math.log1p(math.exp(5)) + math.log1p(math.exp(-5))) / 2)
