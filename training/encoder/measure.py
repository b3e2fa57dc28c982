"""What a run measures on held-out images."""

import random

import numpy as np
import torch
from torch import Tensor

from training.encoder.sources import CaptionSource, EmbedSentences, LabeledSource

_PAIRS = 12  # of each attribute


def ranks(images: Tensor, texts: Tensor, owners: Tensor) -> Tensor:
    """How many images are nearer to each text than its own, `[T]`.

    Args:
        images: `[N, D]`, unit length.
        texts: `[T, D]`, unit length.
        owners: Number of the image that each text belongs to, `[T]`.
    """
    scores = texts @ images.T
    return (scores > scores.gather(1, owners[:, None])).sum(1)


def recall(images: Tensor, source: CaptionSource, rows: np.ndarray, embed: EmbedSentences) -> dict[str, float]:
    """Share (%) of captions whose image is among the first k.

    Args:
        images: Embeddings of the images of these rows, `[N, D]` at unit length, fp32: ties of bf16 would be hits.
        source: Of the captions.
        rows: Of the images.
        embed: Embeds sentences.
    """
    numbers = np.concatenate([source.numbers[row] for row in rows])
    owners = torch.from_numpy(np.concatenate([np.full(len(source.numbers[row]), i) for i, row in enumerate(rows)]))
    rank = ranks(images, embed(torch.from_numpy(numbers)), owners.to(images.device))
    return {f"R@{k}": 100 * (rank < k).float().mean().item() for k in (1, 5, 10)}


def balanced_accuracy(
    images: Tensor, source: LabeledSource, rows: np.ndarray, embed: EmbedSentences
) -> dict[str, float]:
    """Share (%) of right choices between two sentences, both sides weighing the same: of each attribute, and the mean.

    Args:
        images: As for `recall`.
        source: Of the pairs.
        rows: Of the images.
        embed: Embeds sentences.
    """
    rng, shares = random.Random(0), {}
    for name, numbers in source.pairs_of.items():
        pairs = torch.tensor(rng.sample(numbers.tolist(), min(_PAIRS, len(numbers))))
        first, second = (images @ embed(source.sentences(pairs)).T).chunk(2, 1)
        chosen, answer = torch.where(first > second, 1, -1).cpu(), source.answer[pairs][:, rows].T
        sides = [(chosen[answer == side] == side).float().mean().item() for side in (1, -1)]
        if not np.isnan(sides).any():
            shares[name] = 50 * sum(sides)
    return {"mean": float(np.mean(list(shares.values()))), **shares} if shares else {}
