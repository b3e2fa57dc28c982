"""Sentence features of a larger text model, which the text tower learns from; only training needs it."""

import random
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm
from transformers import AutoModel, AutoTokenizer

from textir_hf.atomic import replacing

TEACHER = "sentence-transformers/all-mpnet-base-v2"
_MAX_TOKENS = 64


def teacher_features(
    texts: Sequence[str], cache: Path, teacher: str = TEACHER, device: torch.device | str = "cpu"
) -> Tensor:
    """`[len(texts), F]` fp16 at unit length: the mean over the teacher's tokens; each sentence is computed once.

    Args:
        texts: Sentences.
        cache: `.npz` file that keeps the features; it is written, or grows by the sentences that it lacks.
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
        tokens = tokenizer(chunk, padding=True, truncation=True, max_length=_MAX_TOKENS, return_tensors="pt").to(device)
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
