"""Losses of the dual encoder over similarities, which are cosines times the inverse temperature."""

import torch
from torch import Tensor
from torch.nn import functional as F

_ONE_SIDED = 0.25  # weight of a pair that has one answer only in the batch: it would teach a bias


def contrastive_loss(logits: Tensor, relation: Tensor) -> Tensor:
    """InfoNCE over the columns (CLIP), the target spread over all that are true.

    Args:
        logits: `[N, M]`.
        relation: `[N, M]`: 1 true, -1 false, 0 not known, which counts for nothing. Rows without a true column are
            left out.
    """
    logits = logits.masked_fill(relation == 0, -1e4)
    target = (relation > 0).to(logits.dtype)
    rows = target.sum(1) > 0
    target = target[rows] / target[rows].sum(1, keepdim=True)
    return -(F.log_softmax(logits[rows], 1) * target).sum(1).mean()


def choice_loss(logits: Tensor, answer: Tensor) -> Tensor:
    """Choice between the two sentences of a pair; both answers weigh the same within each pair.

    Args:
        logits: `[N, P]`: the first sentence's similarity less the second's.
        answer: `[N, P]`: 1 the first is true and the second false, -1 the reverse, 0 neither.
    """
    losses = F.softplus(-logits * answer)
    sides = torch.stack([answer > 0, answer < 0]).to(logits.dtype)  # [2, N, P]
    counts = sides.sum(1)
    means = (losses * sides).sum(1) / counts.clamp(min=1)
    by_pair = means.sum(0) / (counts > 0).sum(0).clamp(min=1)
    weight = torch.where((counts > 0).all(0), 1.0, _ONE_SIDED)
    return (by_pair * weight).sum() / weight.sum()
