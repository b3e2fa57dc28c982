"""Teaches a small text tower the space of a larger text model, and to keep apart what sentences state."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textir_hf.models.towers import TextTower
from training.encoder.texts import TokenIds, tower_features

_SHARPNESS = 16.0  # the features have unit length
_UNSTATED = 0.15  # weight of the attributes that a sentence states nothing of
_PROJECTION_RATE = 10  # times the tower's learning rate
_READER_RATE = 1e-2


@dataclass
class DistillationConfig:
    """Options.

    Args:
        epochs: Over all sentences.
        fact_steps: Steps after that, in which the facts of pairs are read too.
        learning_rate: Of the tower.
        batch: Sentences of a step.
        relation_weight: Of the divergence between the similarities within a batch.
        temperature: Of those similarities.
        fact_weight: Of reading the facts.
    """

    epochs: float = 5
    fact_steps: int = 300
    learning_rate: float = 2.5e-4
    batch: int = 256
    relation_weight: float = 0.2
    temperature: float = 0.05
    fact_weight: float = 0.3


@dataclass(frozen=True)
class PairSentences:
    """The sentences of pairs with the facts that they state.

    Args:
        numbers: Of the sentences among those of the run; the two of a pair follow each other.
        facts: `[len(numbers), A]` in {-1, 0, 1}.
    """

    numbers: np.ndarray
    facts: Tensor


class Distillation:
    """Training of the BERT of a text tower.

    Args:
        tower: Text tower; its head is not touched.
        token_ids: Of every sentence.
        targets: `[N, F]` at unit length, the teacher's features.
        config: Options.
    """

    def __init__(self, tower: TextTower, token_ids: TokenIds, targets: Tensor, config: DistillationConfig) -> None:
        self.device = next(tower.parameters()).device
        self.tower, self.token_ids, self.targets, self.config = tower, token_ids, targets.to(self.device), config
        self.to_teacher = nn.Linear(tower.bert.config.hidden_size, targets.shape[1], device=self.device)
        self.rng = np.random.default_rng(0)

    def learn_space(self, numbers: np.ndarray) -> None:
        """All epochs over these sentences."""
        lengths = [len(self.token_ids[n]) for n in numbers]
        steps = max(int(self.config.epochs * len(numbers) / self.config.batch), 2)
        batches: list[np.ndarray] = []

        def loss() -> Tensor:
            if not batches:
                batches.extend(batches_of_like_length(lengths, self.config.batch, self.rng))
            features = self._features(numbers[batches.pop()])
            return self._distance(*features) + self.config.relation_weight * self._divergence(*features)

        self._train(loss, steps, "space", [])

    def learn_facts(self, numbers: np.ndarray, groups: Sequence[PairSentences]) -> None:
        """Steps of which one half are these sentences, and the other half pairs whose facts a linear map must read."""
        width = self.tower.bert.config.hidden_size
        readers = nn.ModuleList([nn.Linear(width, 3 * group.facts.shape[1]) for group in groups]).to(self.device)
        half, pairs = self.config.batch // 2, self.config.batch // (4 * len(groups))

        def loss() -> Tensor:
            total = self._distance(*self._features(self.rng.choice(numbers, half)))
            for group, reader in zip(groups, readers, strict=True):
                first = 2 * self.rng.choice(len(group.numbers) // 2, pairs)
                rows = np.concatenate([first, first + 1])
                own, targets = self._features(group.numbers[rows])
                read = reading_loss(reader(_SHARPNESS * own), group.facts[rows].to(self.device))
                total = total + 0.5 * self._distance(own, targets) + self.config.fact_weight * read
            return total

        self._train(loss, self.config.fact_steps, "facts", list(readers.parameters()))

    def _features(self, numbers: np.ndarray) -> tuple[Tensor, Tensor]:
        """The tower's features of sentences, and the teacher's."""
        return tower_features(self.tower, [self.token_ids[n] for n in numbers]), self.targets[numbers].float()

    def _projected(self, features: Tensor) -> Tensor:
        return F.normalize(self.to_teacher(features), dim=-1)

    def _distance(self, features: Tensor, targets: Tensor) -> Tensor:
        return 1 - (self._projected(features) * targets).sum(1).mean()

    def _divergence(self, features: Tensor, targets: Tensor) -> Tensor:
        own, teacher = (x @ x.T / self.config.temperature for x in (self._projected(features), targets))
        return F.kl_div(own.log_softmax(1), teacher.softmax(1), reduction="batchmean")

    def _train(self, loss_of_step: Callable[[], Tensor], steps: int, name: str, readers: list[nn.Parameter]) -> None:
        rate = self.config.learning_rate
        bert, projection = list(self.tower.bert.parameters()), list(self.to_teacher.parameters())
        parts = [(bert, rate), (projection, _PROJECTION_RATE * rate), *([(readers, _READER_RATE)] if readers else [])]
        optimizer = torch.optim.AdamW(
            [{"params": parameters, "lr": own_rate} for parameters, own_rate in parts],
            weight_decay=0.01,
            betas=(0.9, 0.98),
        )
        rates = [own_rate for _, own_rate in parts]
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, steps, pct_start=0.1)
        self.tower.train()
        for step in range(steps):
            loss = loss_of_step()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(bert, 1.0)
            optimizer.step()
            schedule.step()
            if step % 100 == 0:
                print(f"step {step} of {steps}, {name}: {loss.item():.4f}", flush=True)
        self.tower.eval()


def reading_loss(logits: Tensor, facts: Tensor) -> Tensor:
    """Cross-entropy of false, not stated or true for each attribute: `[N, 3 A]` against `[N, A]` in {-1, 0, 1}."""
    weight = torch.tensor([1.0, _UNSTATED, 1.0], device=logits.device)
    return F.cross_entropy(logits.reshape(-1, 3), facts.long().flatten() + 1, weight)


def batches_of_like_length(lengths: Sequence[int], size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Every number once, in batches of sentences whose lengths differ little, in random order."""
    order, counts = rng.permutation(len(lengths)), np.asarray(lengths)
    chunks = np.array_split(order, max(len(order) // (16 * size), 1))
    chunks = [chunk[np.argsort(counts[chunk], kind="stable")] for chunk in chunks]
    batches = [chunk[i : i + size] for chunk in chunks for i in range(0, len(chunk), size)]
    rng.shuffle(batches)
    return batches
