"""What frozen networks say of the training images: embeddings and, if the generator has a decoder, latents as targets.

    python -m training.latents --preset textir-mini-inpainting --dataset photos --output-dir runs/photos

A run encodes the images that it lacks before it starts. This command does so in another process, while a run learns
from the first `--latent-limit` images.
"""

import hashlib
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from datasets import Dataset, IterableDataset
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from textir_hf.atomic import replacing
from textir_hf.models.autoencoder import load_taef2
from textir_hf.models.embedding import TextRecentering, embed_images, embed_texts, load_encoder
from training.config import TrainingConfig, parse, run_command
from training.data import decode, row_captions, training_and_held_out

_RECENTERED = 1000  # rows from which the recentering is computed
_SENTENCES, _IMAGES = 64, 8  # embedded or encoded at a time
_PER_FILE = 128  # latents


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
    """Latents and embeddings of rows, encoded once and kept in files by the image's bytes and whether it is mirrored.

    The latents of a mirrored image are not the mirrored latents, so both are encoded. `items` are the pairs (row,
    mirrored). The files hold `keys` `[n, 16]` uint8, `latents` `[n, 32, h, w]` float16 and `embeddings` `[n, D]`.
    """

    def __init__(self, rows: Dataset, config: TrainingConfig, encoder: FrozenEncoder) -> None:
        digest = hashlib.sha256()
        for name, value in sorted(encoder.clip.state_dict().items()):
            digest.update(name.encode() + value.detach().float().cpu().contiguous().numpy().tobytes())
        self.folder = Path(config.cache_dir).expanduser() / "latents" / digest.hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        self.places, self._files = {}, {}  # key -> file and place in it
        for path in self.folder.glob("*.safetensors"):
            self._add(path)
        self.keys = {}  # of the pairs
        for row, value in enumerate(rows.select_columns(config.image_column)[:][config.image_column]):
            content = value["bytes"] or Path(value["path"]).read_bytes()
            key = hashlib.sha256(content + f" {config.sample_size}".encode()).digest()
            self.keys |= {(row, 0): key[:16], (row, 1): key[16:]}
        first = [(row, flip) for flip in (0, 1) for row in range(len(rows))][: config.latent_limit or None]
        missing = [item for item in first if self.keys[item] not in self.places]
        for start in tqdm(range(0, len(missing), _PER_FILE), desc="latents", disable=not missing):
            self._encode(rows, missing[start : start + _PER_FILE], config, encoder)
        self.items = [item for item, key in self.keys.items() if key in self.places]
        images = len({row for row, _ in self.items})
        if images < 2:  # each image is also judged under another one's condition
            raise ValueError(
                f"At least 2 images are needed, {images} of {len(rows)} have latents. Raise --latent-limit."
            )

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
    def _encode(self, rows: Dataset, items: list, config: TrainingConfig, encoder: FrozenEncoder) -> None:
        """Encodes some images to one file; the run names damaged ones."""
        autoencoder, found = load_taef2("encoder").to(encoder.device), {"keys": [], "latents": [], "embeddings": []}
        images = [(item, decode(rows[item[0]][config.image_column], config.sample_size)) for item in items]
        images = [(item, image.flip(-1) if item[1] else image) for item, image in images if image is not None]
        for start in range(0, len(images), _IMAGES):
            batch = images[start : start + _IMAGES]
            pixels = torch.stack([image for _, image in batch])
            pixels = pixels.to(encoder.device, memory_format=torch.channels_last).float() / 255
            with torch.autocast(pixels.device.type, torch.bfloat16):
                found["latents"].append(autoencoder(pixels).half().cpu().contiguous())
            found["embeddings"].append(encoder.images(pixels).float().cpu())
            found["keys"].append(torch.tensor([list(self.keys[item]) for item, _ in batch], dtype=torch.uint8))
        if images:
            path = self.folder / f"{self.keys[images[0][0]].hex()}.safetensors"
            with replacing(path) as temporary:
                save_file({name: torch.cat(parts) for name, parts in found.items()}, temporary)
            self._add(path)


def main(argv: list[str] | None = None) -> int:
    """Encodes the training rows of a run; returns the exit status."""
    config = parse(argv)

    def encode() -> str:
        config.check()
        encoder = FrozenEncoder(config.clip, PartialState().device)
        return f"{len(Latents(training_and_held_out(config)[0], config, encoder).items)} latents in {config.cache_dir}"

    return run_command(encode, "The latents encoded before are kept.")


if __name__ == "__main__":
    sys.exit(main())
