"""What frozen networks say of the training images: embeddings and, for a generator with a decoder, latents."""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, IterableDataset
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from textir_hf.atomic import replacing
from textir_hf.models.autoencoder import load_taef2
from textir_hf.models.embedding import TextRecentering, embed_images, embed_texts, load_encoder
from training.config import TrainingConfig
from training.data import decode, row_captions

_RECENTERED = 1000  # rows from which the recentering is computed
_SENTENCES, _IMAGES = 64, 8  # embedded or encoded at a time


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
        starts = range(0, len(sentences), _SENTENCES)
        embedding = torch.cat([embed_texts(self.clip, self.tokenizer, sentences[i : i + _SENTENCES]) for i in starts])
        return embedding if self.recentering is None else self.recentering(embedding)

    def recenter(self, rows: Dataset | IterableDataset, config: TrainingConfig) -> None:
        """Moves text embeddings to the mean and spread of the training images', if there is a caption column."""
        if not config.caption_column:
            return
        if isinstance(rows, IterableDataset):
            rows = rows.skip(config.held_out_rows)
        elif len(rows) > _RECENTERED:  # from all over the data
            rows = rows.select(np.linspace(0, len(rows) - 1, _RECENTERED).astype(int))
        captions, images = [], []
        for row in rows.take(_RECENTERED):
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


class Latents:
    """Latents and embeddings of rows, each encoded once into a file, by the image's bytes and whether it is mirrored.

    The latents of a mirrored image are not the mirrored latents, so both are encoded. `items` are the pairs (row,
    mirrored). A file holds a `latent` `[32, h, w]` float16 and an `embedding` `[D]`.
    """

    def __init__(self, rows: Dataset, config: TrainingConfig, encoder: FrozenEncoder) -> None:
        self.paths, digest = {}, hashlib.sha256()
        for name, value in sorted(encoder.clip.state_dict().items()):
            digest.update(name.encode() + value.detach().float().cpu().contiguous().numpy().tobytes())
        folder = Path(config.cache_dir).expanduser() / "encoded" / digest.hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        for row, value in enumerate(rows.select_columns(config.image_column)[:][config.image_column]):
            content = value["bytes"] or Path(value["path"]).read_bytes()
            key = hashlib.sha256(content + f" {config.sample_size}".encode()).hexdigest()
            self.paths |= {(row, flip): folder / f"{key}-{flip}.safetensors" for flip in (0, 1)}
        missing = [item for item, path in self.paths.items() if not path.exists()]
        autoencoder = load_taef2("encoder").to(encoder.device) if missing else None
        for start in tqdm(range(0, len(missing), _IMAGES), desc="latents", disable=not missing):
            images = {}
            for row, flip in missing[start : start + _IMAGES]:
                image = decode(rows[row][config.image_column], config.sample_size)
                if image is not None:  # the run names damaged ones
                    images[row, flip] = image.flip(-1) if flip else image
            if images:
                self._encode(images, encoder, autoencoder)
        self.items = [item for item, path in self.paths.items() if path.exists()]
        if len(self.items) < 4:  # each image is also judged under another one's condition
            raise ValueError(f"At least 2 images are needed, {len(self.items) // 2} of {len(rows)} have latents.")

    def __getitem__(self, item: tuple[int, int]) -> dict[str, Tensor]:
        """The `latent` and the `embedding` of a row, plain (0) or mirrored (1)."""
        return load_file(self.paths[item])

    @torch.inference_mode()
    def _encode(self, images: dict[tuple[int, int], Tensor], encoder: FrozenEncoder, autoencoder: nn.Module) -> None:
        pixels = torch.stack(list(images.values())).to(encoder.device, memory_format=torch.channels_last) / 255
        with torch.autocast(pixels.device.type, torch.bfloat16):
            latents = autoencoder(pixels).half().cpu()
        for item, latent, embedding in zip(images, latents, encoder.images(pixels).float().cpu(), strict=True):
            with replacing(self.paths[item]) as temporary:
                save_file({"latent": latent.contiguous(), "embedding": embedding.contiguous()}, temporary)
