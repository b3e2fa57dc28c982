"""The adversarial losses, over maps of logits: Eq. 6 and R1."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def discriminator_loss(real: list[Tensor], fakes: list[list[Tensor]], counted: Tensor) -> Tensor:
    """Eq. 6: `E[log(1 + exp(-D(target)))] + E[log(1 + exp(D(restored)))]`, the mean over the maps of logits.

    Args:
        real: Maps `[N, 1, h, w]` of the targets.
        fakes: The same of what is not real, of one kind or of several that count alike.
        counted: `[N, 1, S, S]`, 1 = repainted: only places that hold some such pixels count.
    """
    losses = [_mean_over_places([F.softplus(x) for x in fake], counted) for fake in fakes]
    return generator_loss(real, counted) + sum(losses) / len(losses)


def generator_loss(fake: list[Tensor], counted: Tensor) -> Tensor:
    """Eq. 6, non-saturating: `E[log(1 + exp(-D(restored)))]`; arguments as for `discriminator_loss`."""
    return _mean_over_places([F.softplus(-x) for x in fake], counted)


def hinge_discriminator_loss(real: list[Tensor], fakes: list[list[Tensor]], counted: Tensor) -> Tensor:
    """`E[max(0, 1 - D(target))] + E[max(0, 1 + D(restored))]` (Lim and Ye, "Geometric GAN", 2017).

    Logits beyond 1 earn nothing, so a discriminator without a gradient penalty does not grow steeper without end.
    Arguments as for `discriminator_loss`.
    """
    losses = [_mean_over_places([F.relu(1 + x) for x in fake], counted) for fake in fakes]
    return _mean_over_places([F.relu(1 - x) for x in real], counted) + sum(losses) / len(losses)


def hinge_generator_loss(fake: list[Tensor], counted: Tensor) -> Tensor:
    """`-E[D(restored)]`; arguments as for `discriminator_loss`."""
    return _mean_over_places([-x for x in fake], counted)


def _mean_over_places(losses: list[Tensor], counted: Tensor) -> Tensor:
    means = []
    for x in losses:
        weights = F.adaptive_max_pool2d(counted, x.shape[-2:])
        means.append((x * weights).sum() / weights.sum().clamp(min=1))
    return torch.stack(means).mean()


def r1_penalty(logits: list[Tensor], inputs: list[Tensor]) -> Tensor:
    """`E[|grad D(target)|^2]` (Mescheder et al., 2018, Eq. 9 without gamma / 2), the mean over the maps of logits.

    A map's gradient is that of its sum over the root of the number of its places: were they independent, the penalty
    would be the mean of theirs.

    Args:
        logits: Maps `[N, 1, h, w]`, computed from `inputs`.
        inputs: What the discriminator sees, `[N, C, H, W]` each, with `requires_grad`.
    """
    total = sum(x.sum() / math.sqrt(x[0].numel() * len(logits)) for x in logits)
    gradients = torch.autograd.grad(total, inputs, create_graph=True)
    return sum(g.float().square().sum((1, 2, 3)).mean() for g in gradients)
