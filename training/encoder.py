"""The frozen dual encoder of a run, and the recentering of its text embeddings."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from datasets import Dataset, IterableDataset
from torch import Tensor

from textir_hf.models.embedding import TextRecentering, embed_images, embed_texts, load_encoder
from training.config import TrainingConfig
from training.data import decode, row_captions

_ROWS = 1000  # from which the recentering is computed
_SENTENCES = 64  # embedded at a time


class FrozenEncoder:
    """E_I and E_T of Eq. 1, without gradients to their weights; `name` as for `load_encoder`."""

    def __init__(self, name: str, device: torch.device, autocast: Callable[[], AbstractContextManager] = nullcontext):
        self.device, self.autocast = device, autocast
        self.clip, self.tokenizer, self.image_processor = load_encoder(name)
        self.clip.requires_grad_(False).to(device)
        self.dim: int = self.clip.config.projection_dim
        self.recentering: TextRecentering | None = None

    @torch.no_grad()
    def images(self, images: Tensor) -> Tensor:
        """Embeddings of `[N, 3, S, S]` in [0, 1]: `[N, D]` at unit length, on the device."""
        images = images.to(self.device, memory_format=torch.channels_last)
        with self.autocast():
            return embed_images(self.clip, self.image_processor, images)

    @torch.no_grad()
    def texts(self, sentences: list[str]) -> Tensor:
        """Embeddings of sentences, recentered if the run does so: `[N, D]` on the device."""
        parts = [sentences[start : start + _SENTENCES] for start in range(0, len(sentences), _SENTENCES)]
        embedding = torch.cat([embed_texts(self.clip, self.tokenizer, part) for part in parts])
        return embedding if self.recentering is None else self.recentering(embedding)

    def recenter(self, rows: Dataset | IterableDataset, config: TrainingConfig) -> None:
        """Moves text embeddings to the mean and spread of the training images', if there is a caption column."""
        if not config.caption_column:
            return
        if isinstance(rows, IterableDataset):
            rows = rows.skip(config.held_out_rows)
        elif len(rows) > _ROWS:  # from all over the data
            rows = rows.select(np.linspace(0, len(rows) - 1, _ROWS).astype(int))
        captions, images = [], []
        for row in rows.take(_ROWS):
            captions += row_captions(row, config.caption_column)[:1]
            image = decode(row[config.image_column], config.sample_size)
            if image is not None:
                images.append(self.images(image[None].float() / 255))
        text, image = self.texts(captions or [""]), torch.cat(images)
        image_spread, text_spread = ((e - e.mean(0)).norm(dim=1).mean().item() for e in (image, text))
        if text_spread < 1e-6:
            raise ValueError(f"Recentering needs two captions or more that differ, got {captions[:3]}.")
        self.recentering = TextRecentering(self.dim, scale=image_spread / text_spread).to(self.device)
        self.recentering.text_mean.copy_(text.mean(0))
        self.recentering.image_mean.copy_(image.mean(0))
