"""The frozen dual encoder of a run; embeddings computed once and kept; where texts are moved to meet images."""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, IterableDataset
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from textir_hf.atomic import replacing
from textir_hf.models.embedding import embed_images, embed_texts, load_encoder
from textir_hf.models.recentering import TextRecentering
from training.config import TrainingConfig
from training.data import decode_rows
from training.samples import row_captions

_MOST = 1000  # rows that stand for all of them in the recentering
_AT_ONCE = 64


class FrozenEncoder:
    """E_I and E_T of Eq. 1, without gradients to their weights.

    Args:
        name: As for `load_encoder`.
        device: Where it runs.
        autocast: Makes the context that images are embedded in.
    """

    def __init__(self, name: str, device: torch.device, autocast: Callable[[], AbstractContextManager] = nullcontext):
        self.name, self.device, self.autocast = name, device, autocast
        self.clip, self.tokenizer, self.image_processor = load_encoder(name)
        self.clip.requires_grad_(False).to(device)
        self.recentering: TextRecentering | None = None

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.clip.config.projection_dim

    @torch.no_grad()
    def images(self, images: Tensor) -> Tensor:
        """Embeddings of `[N, 3, S, S]` in [0, 1]: `[N, D]` at unit length, on the device."""
        images = images.to(self.device, memory_format=torch.channels_last)
        with self.autocast():
            return embed_images(self.clip, self.image_processor, images)

    @torch.no_grad()
    def texts(self, sentences: list[str]) -> Tensor:
        """Embeddings of sentences, recentered where the run does so: `[N, D]` on the device."""
        parts = [sentences[i : i + _AT_ONCE] for i in range(0, len(sentences), _AT_ONCE)]
        embedding = torch.cat([embed_texts(self.clip, self.tokenizer, part) for part in parts])
        return embedding if self.recentering is None else self.recentering(embedding)

    def fingerprint(self) -> str:
        """SHA-256 of the weights."""
        digest = hashlib.sha256()
        for name, value in sorted(self.clip.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def cached_embeddings(encoder: FrozenEncoder, precision: str, rows: Dataset, config: TrainingConfig) -> Tensor:
    """Embeddings of all images and of their mirror images, `[2, N, D]`, kept on disk; a damaged image's is 0.

    The key holds the encoder's weights, the precision, the rows' fingerprint and the images' size.
    """
    size = config.network.sample_size
    key = f"{encoder.fingerprint()} {precision} {rows._fingerprint} {config.data.image_column} {size}"
    folder = Path(config.data.cache_dir).expanduser() / "embeddings"
    path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.safetensors"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            save_file({"embeddings": _embed_rows(encoder, rows, config)}, temporary)
    return load_file(path)["embeddings"]


def _embed_rows(encoder: FrozenEncoder, rows: Dataset, config: TrainingConfig) -> Tensor:
    out = torch.zeros(2, len(rows), encoder.dim)
    for start in tqdm(range(0, len(rows), _AT_ONCE), desc="embeddings"):
        found = decode_rows([rows[i] for i in range(start, min(start + _AT_ONCE, len(rows)))], config)
        if found:
            places = [start + i for i, _ in found]
            images = torch.stack([image for _, image in found]).float() / 255
            for flip in (0, 1):
                out[flip, places] = encoder.images(images.flip(-1) if flip else images).float().cpu()
    return out


def recenter(
    encoder: FrozenEncoder, rows: Dataset | IterableDataset, config: TrainingConfig, embeddings: Tensor | None
) -> Tensor | None:
    """Moves the encoder's texts to where the data's images lie, and returns the data's sentences there, `[T, D]`.

    Without sentences nothing is moved, and there are none to return.

    Args:
        encoder: Gets its `recentering`.
        rows: The training rows, which may be in any order.
        config: `domain_texts` names a file of sentences; else `caption_column` gives them.
        embeddings: `[2, N, D]` of the images, if they are cached.

    Raises:
        ValueError: The file does not exist or is empty, or all its sentences are the same.
    """
    data = config.data
    if not data.domain_texts and not data.caption_column:
        return None
    if isinstance(rows, IterableDataset):
        rows = rows.skip(data.holdout)
    sample = _spread(rows, _MOST) if embeddings is None or not data.domain_texts else []
    sentences = _read_sentences(Path(data.domain_texts)) if data.domain_texts else captions(sample, data.caption_column)
    text = encoder.texts(sentences)
    if embeddings is None:
        images = [image for _, image in decode_rows(sample, config)]
        batches = [torch.stack(images[i : i + _AT_ONCE]).float() / 255 for i in range(0, len(images), _AT_ONCE)]
        image = torch.cat([encoder.images(batch) for batch in batches])
    else:
        image = embeddings.flatten(0, 1)
        image = image[image.norm(dim=1) > 0].to(text)
    text_spread, image_spread = ((e - e.mean(0)).norm(dim=1).mean().item() for e in (text, image))
    if text_spread < 1e-6:
        raise ValueError(f"Recentering needs 2 sentences or more that differ, got {sentences[:3]}. Give others.")
    scale = config.objective.recentering_gain * image_spread / text_spread
    module = TextRecentering(encoder.dim, scale=scale).to(encoder.device)
    module.text_mean.copy_(text.mean(0))
    module.image_mean.copy_(image.mean(0))
    encoder.recentering = module
    return module(text)


def captions(rows: list[dict], column: str) -> list[str]:
    """The first caption of every row that has one."""
    return [found[0] for row in rows if (found := row_captions(row, column))]


def _read_sentences(path: Path) -> list[str]:
    sentences = path.read_text().splitlines() if path.is_file() else []
    sentences = [sentence for sentence in sentences if sentence.strip()]
    if not sentences:
        raise ValueError(f"--domain-texts {path} must be a text file with one sentence a line.")
    return sentences


def _spread(rows: Dataset | IterableDataset, most: int) -> list[dict]:
    if isinstance(rows, Dataset) and len(rows) > most:
        rows = rows.select(np.linspace(0, len(rows) - 1, most).astype(int))
    return list(rows.take(most))
