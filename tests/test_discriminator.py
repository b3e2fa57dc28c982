import pytest
import torch
from torch.nn import functional as F

from training.discriminator import Discriminator, LatentDiscriminator
from training.objective import gradient_penalty


@pytest.mark.parametrize("latent", [False, True])
def test_gradient_penalties_reach_all_weights(latent):
    network = LatentDiscriminator(3, 16, (4, 6)) if latent else Discriminator(32, (4, 8))
    images = torch.randn(2, 32, 4, 4) if latent else torch.rand(2, 3, 32, 32)
    seen = torch.rand(2, 3, 32, 32), torch.randn(2, 16), torch.ones(2, 1, 4, 4)
    images.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = network(images, *seen, full_precision=True)
    assert all(logits.dtype == torch.float32 for logits, _ in found) and found[0][0].shape[:2] == (2, 1)
    gradient_penalty([logits for logits, _ in found], images).backward()
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
