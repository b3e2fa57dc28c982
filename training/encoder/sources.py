"""What one domain gives to a step: images, sentences, and the loss over their embeddings."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from training.encoder.data import ImageSet
from training.encoder.losses import choice_loss, contrastive_loss
from training.encoder.pairs import Pair, relation, to_matrix

EmbedSentences = Callable[[Tensor], Tensor]  # [N] sentence numbers -> [N, D] at unit length


class Draw(NamedTuple):
    """What a step takes from a source.

    Args:
        rows: Of the images.
        pairs: Numbers of the pairs that are asked; none of a source of captions.
    """

    rows: np.ndarray
    pairs: np.ndarray


class Source(ABC):
    """Images of one domain with sentences.

    Args:
        images: The images.
        least_crop: Least share of an image's area that a random crop keeps.
    """

    def __init__(self, images: ImageSet, least_crop: float) -> None:
        self.images, self.least_crop = images, least_crop

    @abstractmethod
    def draw(self, size: int, rng: np.random.Generator) -> Draw:
        """Chooses training images for a step."""

    @abstractmethod
    def loss(
        self, draw: Draw, images: Tensor, embed: EmbedSentences, scale: Tensor, rng: np.random.Generator
    ) -> Tensor:
        """The loss of a step.

        Args:
            draw: The step's.
            images: Embeddings of its images, `[N, D]` at unit length.
            embed: Embeds sentences.
            scale: Inverse temperature.
            rng: Source of further choices.
        """


class CaptionSource(Source):
    """Images with several captions each, told from other captions and from earlier images.

    Args:
        images: With captions.
        captions: Of every image.
        first: The number of the first caption among the sentences of the run; they follow row by row.
        negatives: Captions of other images in every step.
        memory: Embeddings of earlier images that captions are also told from (cross-batch memory, Wang et al., 2020).
    """

    def __init__(
        self, images: ImageSet, captions: list[list[str]], first: int, negatives: int = 640, memory: int = 1024
    ) -> None:
        super().__init__(images, least_crop=0.5)
        self.negatives, self.limit = negatives, memory
        ends = first + np.cumsum([len(several) for several in captions])
        self.numbers = [np.arange(end - len(several), end) for end, several in zip(ends, captions, strict=True)]
        self.memory_rows, self.memory = torch.zeros(0, dtype=torch.long), torch.zeros(0, 0)

    def draw(self, size: int, rng: np.random.Generator) -> Draw:
        return Draw(rng.choice(self.images.train, size, replace=False), np.zeros(0, int))

    def loss(
        self, draw: Draw, images: Tensor, embed: EmbedSentences, scale: Tensor, rng: np.random.Generator
    ) -> Tensor:
        device, rows = images.device, torch.from_numpy(draw.rows)
        own = np.concatenate([self.numbers[row] for row in draw.rows])
        owners = torch.from_numpy(np.concatenate([np.full(len(self.numbers[row]), row) for row in draw.rows]))
        others = rng.choice(np.setdiff1d(self.images.train, draw.rows), self.negatives)
        numbers = np.concatenate([own, [rng.choice(self.numbers[row]) for row in others]])
        texts = embed(torch.from_numpy(numbers))
        by_image = contrastive_loss(
            images @ texts.T * scale, _same(rows, torch.cat([owners, torch.from_numpy(others)])).to(device)
        )
        self._forget(rows)
        pool = torch.cat([images, self.memory.to(device).reshape(-1, images.shape[1])])
        by_text = contrastive_loss(
            texts[: len(own)] @ pool.T * scale, _same(owners, torch.cat([rows, self.memory_rows])).to(device)
        )
        self.memory = torch.cat([pool[len(rows) :], images]).detach()[-self.limit :]
        self.memory_rows = torch.cat([self.memory_rows, rows])[-self.limit :]
        return (by_image + by_text) / 2

    def _forget(self, rows: Tensor) -> None:
        kept = ~torch.isin(self.memory_rows, rows)
        self.memory, self.memory_rows = self.memory[kept.to(self.memory.device)], self.memory_rows[kept]


def _same(rows: Tensor, columns: Tensor) -> Tensor:
    return torch.where(rows[:, None] == columns[None], 1, -1)


class LabeledSource(Source):
    """Images with labels, asked pairs of sentences that differ in one fact.

    A draw takes an attribute, a pair about it, the sentence that shall be right, and then an image for which it is. So
    both sides of every attribute come equally often.

    Args:
        images: The images.
        labels: `[N, len(names)]` in {-1, 0, 1}.
        pairs: Their two sentences have the numbers `first + 2 i` and `first + 2 i + 1`.
        first: The number of the first sentence among those of the run.
        names: Of the labels' columns.
        favored: Attributes that are drawn three times as often as the others.
        least_crop: As for `Source`.
    """

    def __init__(
        self,
        images: ImageSet,
        labels: Tensor,
        pairs: list[Pair],
        first: int,
        names: tuple[str, ...],
        favored: tuple[str, ...] = (),
        least_crop: float = 0.75,
    ) -> None:
        super().__init__(images, least_crop)
        self.labels, self.first = labels, first
        self.statements = torch.stack([to_matrix([p.statements[side] for p in pairs], names) for side in (0, 1)])
        attributes = np.array([p.attribute for p in pairs])
        self.pairs_of = {name: np.flatnonzero(attributes == name) for name in dict.fromkeys(attributes.tolist())}
        self.attributes = [*self.pairs_of, *favored, *favored]
        self.answer = self._answers(pairs, names)

    def _answers(self, pairs: list[Pair], names: tuple[str, ...]) -> Tensor:
        """The right sentence of each pair for each image, `[P, N]`: 1 the first, -1 the second, 0 neither."""
        first, second = (relation(self.labels, to_matrix([p.facts[side] for p in pairs], names)) for side in (0, 1))
        answers = ((first == 1) & (second == -1)).to(torch.int8) - ((first == -1) & (second == 1)).to(torch.int8)
        return answers.T.contiguous()

    def draw(self, size: int, rng: np.random.Generator) -> Draw:
        rows: list[int] = []
        pairs: list[int] = []
        while len(rows) < size:
            pair = rng.choice(self.pairs_of[rng.choice(self.attributes)])
            answers = self.answer[pair, self.images.train].numpy()
            candidates = self.images.train[answers == rng.choice((1, -1))]
            if len(candidates):
                rows.append(rng.choice(candidates))
                pairs.append(pair)
        return Draw(np.array(rows), np.array(pairs))

    def sentences(self, pairs: Tensor) -> Tensor:
        """Numbers of the first sentences of these pairs, then of the second ones."""
        return torch.cat([self.first + 2 * pairs, self.first + 2 * pairs + 1])

    def loss(
        self, draw: Draw, images: Tensor, embed: EmbedSentences, scale: Tensor, rng: np.random.Generator
    ) -> Tensor:
        pairs = torch.from_numpy(draw.pairs)
        logits = images @ embed(self.sentences(pairs)).T * scale
        first, second = logits.chunk(2, 1)
        answer = self.answer[pairs][:, draw.rows].T.float()
        choice = choice_loss(first - second, answer.to(images.device))
        fits = relation(self.labels[draw.rows], torch.cat([self.statements[0, pairs], self.statements[1, pairs]]))
        fits = fits.to(images.device)
        return choice + 0.5 * (contrastive_loss(logits, fits) + contrastive_loss(logits.T, fits.T))
