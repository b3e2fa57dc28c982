"""Teaches the small text tower the space of a larger text model, and to keep apart the facts that sentences state."""

import random
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm
from transformers import AutoModel, AutoTokenizer

from textir_hf.atomic import replacing
from textir_hf.models.towers import TextTower
from training.clip.towers import TokenIds, tower_features

TEACHER = "sentence-transformers/all-mpnet-base-v2"
EPOCHS, FACT_STEPS, BATCH, RATE = 5.0, 300, 256, 2.5e-4
_RELATION_WEIGHT, _TEMPERATURE, _FACT_WEIGHT = 0.2, 0.05, 0.3
_SHARPNESS = 16.0  # the features have unit length
_UNSTATED = 0.15  # weight of the attributes that a sentence does not mention


def teacher_features(
    texts: Sequence[str], cache: Path, teacher: str = TEACHER, device: torch.device | str = "cpu"
) -> Tensor:
    """`[len(texts), F]` fp16 at unit length: the mean over the teacher's tokens; each sentence is computed once.

    Args:
        texts: Sentences.
        cache: `.npz` file that keeps the features.
        teacher: Folder, or name on the Hub, of a model whose sentence embedding is the mean over its tokens.
        device: Where the teacher runs.
    """
    known: dict[str, np.ndarray] = {}
    if cache.exists():
        with np.load(cache) as stored:
            known = dict(zip(stored["texts"].tolist(), stored["features"], strict=True))
    missing = sorted(set(texts) - set(known), key=lambda text: (len(text), text))
    if missing:
        known |= dict(zip(missing, _embed(missing, teacher, device), strict=True))
        with replacing(cache) as temporary:
            np.savez(temporary, texts=np.array(list(known)), features=np.stack(list(known.values())))
    return torch.from_numpy(np.stack([known[text] for text in texts]))


@torch.no_grad()
def _embed(texts: list[str], teacher: str, device: torch.device | str, batch: int = 64) -> np.ndarray:
    tokenizer = AutoTokenizer.from_pretrained(teacher)
    model = AutoModel.from_pretrained(teacher, add_pooling_layer=False, dtype=torch.bfloat16).eval().to(device)
    features = []
    for start in tqdm(range(0, len(texts), batch), desc="teacher"):
        chunk = texts[start : start + batch]
        tokens = tokenizer(chunk, padding=True, truncation=True, max_length=64, return_tensors="pt").to(device)
        states = model(**tokens).last_hidden_state.float()
        weights = tokens["attention_mask"][:, :, None].float()
        features.append(F.normalize((states * weights).sum(1) / weights.sum(1), dim=-1).half().cpu())
    return torch.cat(features).numpy()


def recombined(captions: Sequence[str], seed: int = 0) -> list[str]:
    """New sentences from the subject of one caption and the rest of another, in alphabetical order."""
    rng = random.Random(seed)
    parts: dict[str, list[tuple[str, str]]] = {"is": [], "are": [], "": []}
    for caption in captions:
        if match := re.match(r"^(.{5,60}?) (is|are) (.{6,})$", caption.strip()):
            parts[match[2]].append((match[1], match[3]))
        elif match := re.match(r"^(.{5,60}?) (\w+ing .{4,})$", caption.strip()):
            parts[""].append((match[1], match[2]))
    sentences = set()
    for verb, halves in parts.items():
        for _ in halves:
            (subject, _), (_, rest) = rng.choice(halves), rng.choice(halves)
            sentences.add(" ".join(f"{subject} {verb} {rest}".split()))
    return sorted(sentences)


class Distillation:
    """Training of the BERT of a text tower, whose head is not touched.

    Args:
        tower: Text tower.
        token_ids: Of every sentence.
        targets: `[N, F]` at unit length, the teacher's features.
        batch: Sentences of a step.
        rate: The tower's learning rate.
    """

    def __init__(
        self, tower: TextTower, token_ids: TokenIds, targets: Tensor, batch: int = BATCH, rate: float = RATE
    ) -> None:
        self.device = next(tower.parameters()).device
        self.tower, self.token_ids, self.targets = tower, token_ids, targets.to(self.device)
        self.batch, self.rate, self.rng = batch, rate, np.random.default_rng(0)
        self.to_teacher = nn.Linear(tower.bert.config.hidden_size, targets.shape[1], device=self.device)

    def learn_space(self, numbers: np.ndarray, epochs: float = EPOCHS) -> None:
        """Goes over these sentences so many times."""
        lengths, batches = [len(self.token_ids[n]) for n in numbers], []
        steps = max(int(epochs * len(numbers) / self.batch), 2)
        for _ in self._steps(steps, []):
            if not batches:
                batches = batches_of_like_length(lengths, self.batch, self.rng)
            own, targets = self._features(numbers[batches.pop()])
            own = F.normalize(self.to_teacher(own), dim=-1)
            ours, theirs = (x @ x.T / _TEMPERATURE for x in (own, targets))
            divergence = F.kl_div(ours.log_softmax(1), theirs.softmax(1), reduction="batchmean")
            self.loss = 1 - (own * targets).sum(1).mean() + _RELATION_WEIGHT * divergence

    def learn_facts(
        self, numbers: np.ndarray, groups: Sequence[tuple[np.ndarray, Tensor]], steps: int = FACT_STEPS
    ) -> None:
        """Steps of which one half are these sentences, and the other half pairs whose facts a linear map must read.

        Args:
            numbers: Of sentences.
            groups: Numbers of the sentences of pairs, the two of a pair in a row, and their facts `[N, A]`.
            steps: How many.
        """
        width, each = self.tower.bert.config.hidden_size, self.batch // (4 * len(groups))
        readers = nn.ModuleList([nn.Linear(width, 3 * facts.shape[1]) for _, facts in groups]).to(self.device)
        for _ in self._steps(steps, list(readers.parameters())):
            self.loss = self.distance(self.rng.choice(numbers, self.batch // 2))
            for (sentences, facts), reader in zip(groups, readers, strict=True):
                first = 2 * self.rng.choice(len(sentences) // 2, each)
                rows = np.concatenate([first, first + 1])
                own, targets = self._features(sentences[rows])
                read = reading_loss(reader(_SHARPNESS * own), facts[rows].to(self.device))
                self.loss = self.loss + 0.5 * self._distance(own, targets) + _FACT_WEIGHT * read

    def distance(self, numbers: np.ndarray) -> Tensor:
        """One minus the mean cosine between the tower's projected features of sentences and the teacher's."""
        return self._distance(*self._features(numbers))

    def _features(self, numbers: np.ndarray) -> tuple[Tensor, Tensor]:
        return tower_features(self.tower, [self.token_ids[n] for n in numbers]), self.targets[numbers].float()

    def _distance(self, features: Tensor, targets: Tensor) -> Tensor:
        return 1 - (F.normalize(self.to_teacher(features), dim=-1) * targets).sum(1).mean()

    def _steps(self, steps: int, readers: list[nn.Parameter]):
        """Yields for each step, in which the caller leaves `self.loss`, and then moves the weights."""
        bert = list(self.tower.bert.parameters())
        parts = [(bert, self.rate), (list(self.to_teacher.parameters()), 10 * self.rate)]
        parts += [(readers, 1e-2)] if readers else []
        groups = [{"params": parameters, "lr": rate} for parameters, rate in parts]
        optimizer = torch.optim.AdamW(groups, weight_decay=0.01, betas=(0.9, 0.98))
        rates = [rate for _, rate in parts]
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, steps, pct_start=0.1)
        self.tower.train()
        for step in range(steps):
            yield step
            optimizer.zero_grad()
            self.loss.backward()
            nn.utils.clip_grad_norm_(bert, 1.0)
            optimizer.step()
            schedule.step()
            if step % 100 == 0:
                print(f"step {step} of {steps}: {self.loss.item():.4f}", flush=True)
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
