import math

import pytest
import torch
from torch.nn import functional as F

from training.discriminator import Discriminator, LatentDiscriminator
from training.objective import r1_penalty


@pytest.mark.parametrize("size", [8, 16, 64])
def test_stylegan2s_gives_one_logit_an_image(size):
    model = Discriminator(size, (4, 8))
    ((logits, _),) = model(torch.rand(3, 3, size, size), None, None, None)
    assert logits.shape == (3, 1, 1, 1) and len(model.blocks) == int(math.log2(size)) - 2


def test_r1_reaches_all_weights():
    network, images = Discriminator(32, (4, 8)), torch.rand(2, 3, 32, 32, requires_grad=True)
    ((logits, _),) = network(images, None, None, None, full_precision=True)
    r1_penalty(logits, images).backward()
    assert all(n.endswith("bias") for n, p in network.named_parameters() if p.grad is None or not p.grad.any())


def test_latents_are_judged_at_each_size_by_degraded_image_condition_and_mask():
    model = LatentDiscriminator(3, 16, (4, 6)).eval()
    own, mask = F.normalize(torch.randn(2, 16), dim=1), torch.ones(2, 1, 4, 4)
    latents, degraded = torch.randn(2, 32, 4, 4), torch.rand(2, 3, 32, 32)
    maps = [logits for logits, _ in model(latents, degraded, own, mask)]
    assert [tuple(m.shape) for m in maps] == [(2, 1, 4, 4), (2, 1, 2, 2)]
    half = mask * torch.tensor([0.0, 0.0, 1.0, 1.0])
    for other in ((degraded.flip(0), own, mask), (degraded, own.flip(0), mask), (degraded, own, half)):
        assert all((a - b).abs().max() > 1e-5 for a, (b, _) in zip(maps, model(latents, *other), strict=True))


def test_spectral_norms_bound_every_layer():
    model = LatentDiscriminator(3, 16, (4, 6))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(30)
        for _ in range(50):
            model(torch.randn(1, 32, 4, 4), torch.rand(1, 3, 32, 32), torch.randn(1, 16), torch.ones(1, 1, 4, 4))
        layers = [m for m in model.modules() if hasattr(m, "parametrizations")]
        norms = [torch.linalg.matrix_norm(m.weight.flatten(1), 2).item() for m in layers]
    assert len(norms) == 8 and norms == pytest.approx([1.0] * len(norms), rel=1e-2)
