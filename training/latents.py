"""Latents of the training images, computed once and kept: the targets of a generator with a decoder.

    python -m training.latents --preset textir-mini-inpainting --dataset photos --output-dir runs/photos

A run encodes the images that it lacks before it starts. This command does so in another process, while a run learns
from the first `--latent-limit` images.
"""

import hashlib
from pathlib import Path

import torch
from datasets import Dataset
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from textir_hf.atomic import replacing
from textir_hf.models.autoencoder import load_taef2
from training.config import TrainingConfig, parse
from training.data import decode, training_and_held_out
from training.encoder import FrozenEncoder

_PER_FILE = 128  # images
_BATCH = 8


class Latents:
    """Latents and embeddings of rows, found in a folder by the image's bytes and whether it is mirrored.

    The latents of a mirrored image are not the mirrored latents, so both are encoded.

    Args:
        folder: Holds safetensors files with `keys` `[n, 16]` uint8, `latents` `[n, 32, h, w]` float16 and
            `embeddings` `[n, D]`.
        keys: Of every row's image, plain and mirrored.

    Attributes:
        items: The pairs (row, mirrored) that are encoded.
    """

    def __init__(self, folder: Path, keys: list[tuple[bytes, bytes]]) -> None:
        self.keys, self.places, self._files = keys, {}, {}
        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(path, framework="pt") as file:
                stored = file.get_tensor("keys")
            self.places |= {bytes(key.tolist()): (path, i) for i, key in enumerate(stored)}
        self.items = [(row, flip) for row, both in enumerate(keys) for flip in (0, 1) if both[flip] in self.places]

    def __getitem__(self, item: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The latents `[32, h, w]` float16 and the embedding `[D]` of a row, plain (0) or mirrored (1)."""
        row, flip = item
        path, i = self.places[self.keys[row][flip]]
        if path not in self._files:
            self._files[path] = safe_open(path, framework="pt")
        file = self._files[path]
        return file.get_slice("latents")[i], file.get_slice("embeddings")[i]


def encoded_rows(rows: Dataset, config: TrainingConfig, encoder: FrozenEncoder) -> Latents:
    """The latents of a run's rows; those that the folder lacks are encoded first.

    Raises:
        ValueError: No image could be encoded.
    """
    folder = Path(config.cache_dir).expanduser() / "latents" / encoder.fingerprint()[:16]
    keys = _keys(rows, config)
    _encode_missing(rows, keys, folder, config, encoder)
    latents = Latents(folder, keys)
    count = len({row for row, _ in latents.items})
    if count < 2:  # each image is also judged under another one's condition
        raise ValueError(f"{folder} has latents of {count} images, at least 2 are needed. Raise --latent-limit.")
    return latents


def _keys(rows: Dataset, config: TrainingConfig) -> list[tuple[bytes, bytes]]:
    keys = []
    for value in rows.select_columns(config.image_column)[:][config.image_column]:
        content = value["bytes"] or Path(value["path"]).read_bytes()
        digest = hashlib.sha256(content + f" {config.sample_size}".encode()).digest()
        keys.append((digest[:16], digest[16:]))
    return keys


def _encode_missing(rows, keys, folder: Path, config: TrainingConfig, encoder: FrozenEncoder) -> None:
    """Encodes rows in their order, first all as they are, then mirrored."""
    folder.mkdir(parents=True, exist_ok=True)
    known = Latents(folder, keys).places
    jobs = [(row, flip) for flip in (0, 1) for row in range(len(rows))][: config.latent_limit or None]
    jobs = [(row, flip) for row, flip in jobs if keys[row][flip] not in known]
    if not jobs:
        return
    autoencoder = load_taef2("encoder").to(encoder.device)
    with tqdm(total=len(jobs), desc="latents") as bar:
        for start in range(0, len(jobs), _PER_FILE):
            parts = []
            for at in range(start, min(start + _PER_FILE, len(jobs)), _BATCH):
                batch = jobs[at : min(at + _BATCH, start + _PER_FILE)]
                parts.append(_encode(rows, keys, batch, config, encoder, autoencoder))
                bar.update(len(batch))
            if parts := [part for part in parts if part]:
                tensors = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
                with replacing(folder / f"{bytes(tensors['keys'][0].tolist()).hex()}.safetensors") as temporary:
                    save_file(tensors, temporary)


@torch.inference_mode()
def _encode(rows, keys, jobs, config: TrainingConfig, encoder: FrozenEncoder, autoencoder) -> dict[str, Tensor]:
    images, done = [], []
    for row, flip in jobs:
        try:
            image = decode(rows[row][config.image_column], config.sample_size)
        except ValueError:  # a damaged image, which the run names
            continue
        images.append(image.flip(-1) if flip else image)
        done.append(torch.tensor(list(keys[row][flip]), dtype=torch.uint8))
    if not images:
        return {}
    batch = torch.stack(images).to(encoder.device).float() / 255
    with torch.autocast(batch.device.type, torch.bfloat16):
        latents = autoencoder(batch.to(memory_format=torch.channels_last))
    return {
        "keys": torch.stack(done),
        "latents": latents.half().cpu().contiguous(),
        "embeddings": encoder.images(batch).float().cpu(),
    }


def main(argv: list[str] | None = None) -> None:
    """Encodes the training rows of a run."""
    config = parse(argv)
    config.check_inputs()
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    rows, _ = training_and_held_out(config)
    encoded_rows(rows, config, FrozenEncoder(config.clip, device))


if __name__ == "__main__":
    main()
