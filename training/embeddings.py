"""Embeddings of the training pictures, computed once and kept; and where texts have to be moved to meet them."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, IterableDataset
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from textir_hf.models.embedding import embed_texts
from textir_hf.models.recentering import TextRecentering
from training.config import TrainingConfig
from training.data import decode_whole, embed_rows


def fingerprint(module: nn.Module) -> str:
    """SHA-256 of a module's weights."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def cached_embeddings(embed, clip, precision: str, rows: Dataset, config: TrainingConfig) -> Tensor:
    """Embeddings of all pictures and of their mirror images, `[2, N, D]`, kept on disk.

    The key holds the encoder's weights, the precision, the rows' fingerprint and the pictures' size.
    """
    key = f"{fingerprint(clip)} {precision} {rows._fingerprint} {config.image_column} {config.sample_size}"
    folder = Path(config.cache_dir).expanduser() / "embeddings"
    path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.safetensors"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        save_file({"embeddings": embed_rows(embed, clip.config.projection_dim, rows, config)}, temporary)
        temporary.replace(path)
    return load_file(path)["embeddings"]


@torch.no_grad()
def recentering(
    config: TrainingConfig, rows, clip, tokenizer, embed, embeddings: Tensor | None, most: int = 1000
) -> tuple[TextRecentering | None, Tensor | None]:
    """Where the texts of this domain lie against its pictures, and these texts moved there, `[T, D]`.

    Both are None if no texts are given.

    Args:
        config: `domain_texts` names a file of sentences; else `caption_column` gives them.
        rows: The training rows, which may be in any order.
        clip: The dual encoder.
        tokenizer: Its tokenizer.
        embed: `[N, 3, S, S]` in [0, 1] to `[N, D]`.
        embeddings: `[2, N, D]` of the pictures, if they are cached.
        most: At most so many rows count, spread over them all; of a stream, the first.

    Raises:
        ValueError: The file does not exist or is empty, or all its sentences are the same.
    """
    if not config.domain_texts and not config.caption_column:
        return None, None
    sample = _spread(rows, most) if embeddings is None or not config.domain_texts else []
    if config.domain_texts:
        path = Path(config.domain_texts)
        sentences = path.read_text().splitlines() if path.is_file() else []
        sentences = [s for s in sentences if s.strip()]
        if not sentences:
            raise ValueError(f"--domain_texts {path} must be a text file with one sentence a line.")
    else:
        captions = [row[config.caption_column] for row in sample]
        sentences = [c if isinstance(c, str) else c[0] for c in captions if c]
    text = torch.cat([embed_texts(clip, tokenizer, sentences[i : i + 64]) for i in range(0, len(sentences), 64)]).cpu()
    if embeddings is None:
        images = [image for _, image in decode_whole(sample, config)]
        batches = [torch.stack(images[i : i + 64]).float() / 255 for i in range(0, len(images), 64)]
        image = torch.cat([embed(b).cpu() for b in batches])
    else:
        image = embeddings.flatten(0, 1)
        image = image[image.norm(dim=1) > 0]
    text_spread, image_spread = ((e - e.mean(0)).norm(dim=1).mean().item() for e in (text, image))
    if text_spread < 1e-6:
        raise ValueError(f"Recentering needs 2 sentences or more that differ, got {sentences[:3]}. Give others.")
    module = TextRecentering(text.shape[1], scale=config.recentering_gain * image_spread / text_spread)
    module.text_mean.copy_(text.mean(0))
    module.image_mean.copy_(image.mean(0))
    return module, module(text)


def _spread(rows: Dataset | IterableDataset, most: int) -> list[dict]:
    if isinstance(rows, Dataset) and len(rows) > most:
        rows = rows.select(np.linspace(0, len(rows) - 1, most).astype(int))
    return list(rows.take(most))
