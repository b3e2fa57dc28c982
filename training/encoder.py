"""The frozen networks of a run: the dual encoder with its recentering, and the latents of the training images."""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, IterableDataset
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from textir_hf.atomic import replacing
from textir_hf.models.autoencoder import load_taef2
from textir_hf.models.embedding import TextRecentering, embed_images, embed_texts, load_encoder
from training.config import TrainingConfig
from training.data import decode, row_captions

_ROWS = 1000  # from which the recentering is computed
_SENTENCES = 64  # embedded at a time
_ENCODED, _PER_FILE = 8, 128  # images encoded at a time, and in one file of latents


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


class Latents:
    """Latents and embeddings of rows, encoded once and kept in files by the image's bytes and whether it is mirrored.

    They are the targets of a generator with a decoder. The latents of a mirrored image are not the mirrored latents, so
    both are encoded. `items` are the pairs (row, mirrored). The files hold `keys` `[n, 16]` uint8, `latents`
    `[n, 32, h, w]` float16 and `embeddings` `[n, D]`.
    """

    def __init__(self, rows: Dataset, config: TrainingConfig, encoder: FrozenEncoder) -> None:
        digest = hashlib.sha256()
        for name, value in sorted(encoder.clip.state_dict().items()):
            digest.update(name.encode() + value.detach().float().cpu().contiguous().numpy().tobytes())
        self.folder = Path(config.cache_dir).expanduser() / "latents" / digest.hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        self.places, self._files = {}, {}
        for path in self.folder.glob("*.safetensors"):
            self._add(path)
        self.keys, missing = {}, []  # of the pairs
        for row, value in enumerate(rows.select_columns(config.image_column)[:][config.image_column]):
            content = value["bytes"] or Path(value["path"]).read_bytes()
            key = hashlib.sha256(content + f" {config.sample_size}".encode()).digest()
            self.keys |= {(row, 0): key[:16], (row, 1): key[16:]}
        for flip in (0, 1):
            missing += [(row, flip) for row in range(len(rows)) if self.keys[row, flip] not in self.places]
        self._encode(rows, missing, config, encoder)
        self.items = [item for item, key in self.keys.items() if key in self.places]
        if len(self.items) < 4:  # each image is also judged under another one's condition
            raise ValueError(f"At least 2 images are needed, got {len(self.items) // 2}.")

    def __getitem__(self, item: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The latents `[32, h, w]` float16 and the embedding `[D]` of a row, plain (0) or mirrored (1)."""
        path, i = self.places[self.keys[item]]
        if path not in self._files:
            self._files[path] = safe_open(path, framework="pt")
        return self._files[path].get_slice("latents")[i], self._files[path].get_slice("embeddings")[i]

    def _add(self, path: Path) -> None:
        with safe_open(path, framework="pt") as file:
            for i, key in enumerate(file.get_tensor("keys")):
                self.places[bytes(key.tolist())] = path, i

    @torch.inference_mode()
    def _encode(self, rows: Dataset, missing: list, config: TrainingConfig, encoder: FrozenEncoder) -> None:
        autoencoder, found = load_taef2("encoder").to(encoder.device), []
        for at in tqdm(range(0, len(missing), _ENCODED), desc="latents", disable=not missing):
            batch, images = [], []
            for row, flip in missing[at : at + _ENCODED]:
                image = decode(rows[row][config.image_column], config.sample_size)
                if image is not None:  # the run names damaged ones
                    images.append(image.flip(-1) if flip else image)
                    batch.append(torch.tensor(list(self.keys[row, flip]), dtype=torch.uint8))
            if images:
                pixels = torch.stack(images).to(encoder.device, memory_format=torch.channels_last).float() / 255
                with torch.autocast(pixels.device.type, torch.bfloat16):
                    latents = autoencoder(pixels).half().cpu().contiguous()
                embeddings = encoder.images(pixels).float().cpu()
                found.append({"keys": torch.stack(batch), "latents": latents, "embeddings": embeddings})
            last = at + _ENCODED >= len(missing)
            if found and (last or len(found) * _ENCODED >= _PER_FILE):
                tensors = {name: torch.cat([part[name] for part in found]) for name in found[0]}
                path = self.folder / f"{bytes(tensors['keys'][0].tolist()).hex()}.safetensors"
                with replacing(path) as temporary:
                    save_file(tensors, temporary)
                self._add(path)
                found = []
