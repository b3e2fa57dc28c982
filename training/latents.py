"""Latents of the training images, computed once and kept: what a generator with a decoder learns to predict.

    python -m training.latents --preset textir-mini-inpainting --dataset faces.parquet --output-dir runs/faces

encodes with the options of a run. A run encodes what it lacks before it starts, so the command is for another process,
which goes on while a run learns from the first `--latent-limit` images.
"""

import hashlib
import sys
from pathlib import Path

import torch
from datasets import Dataset
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from textir_hf.atomic import replacing
from textir_hf.models.autoencoder import load_taef2
from training.config import TrainingConfig
from training.embeddings import FrozenEncoder
from training.samples import decode

_PART = 128  # images in a file
_AT_ONCE = 8


class Latents:
    """A folder of latents and embeddings, found by the image's bytes and whether it is mirrored.

    Mirrored latents are not those of the mirrored image, so both are encoded.

    Args:
        folder: Holds safetensors files with `keys` `[n, 16]` uint8, `latents` `[n, 32, h, w]` float16 and
            `embeddings` `[n, D]`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.places, self._files = folder, {}, {}
        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(path, framework="pt") as file:
                keys = file.get_tensor("keys")
            self.places |= {bytes(key.tolist()): (path, i) for i, key in enumerate(keys)}

    def __getitem__(self, key: bytes) -> tuple[Tensor, Tensor]:
        """The latents `[32, h, w]` float16 and the embedding `[D]` of an image."""
        path, i = self.places[key]
        if path not in self._files:
            self._files[path] = safe_open(path, framework="pt")
        file = self._files[path]
        return file.get_slice("latents")[i], file.get_slice("embeddings")[i]

    def items(self, keys: list[tuple[bytes, bytes]]) -> list[tuple[int, int]]:
        """Of rows with these keys, plain and mirrored, the pairs (row, mirrored) that are encoded."""
        return [(row, flip) for row, both in enumerate(keys) for flip in (0, 1) if both[flip] in self.places]


class EncodedRows:
    """The latents and embeddings of rows.

    Args:
        latents: Where they are kept.
        keys: Of the rows, as `row_keys`.

    Attributes:
        items: The pairs (row, mirrored) that are encoded.
    """

    def __init__(self, latents: Latents, keys: list[tuple[bytes, bytes]]) -> None:
        self.latents, self.keys = latents, keys
        self.items = latents.items(keys)
        if not self.items:
            raise ValueError(f"{latents.folder} holds no latents of the training images.")

    def __getitem__(self, item: tuple[int, int]) -> tuple[Tensor, Tensor]:
        row, flip = item
        return self.latents[self.keys[row][flip]]


def latent_folder(config: TrainingConfig, encoder: FrozenEncoder) -> Path:
    """Where the latents of a run's images are kept."""
    if config.data.latent_dir:
        return Path(config.data.latent_dir)
    return Path(config.data.cache_dir).expanduser() / "latents" / encoder.fingerprint()[:16]


def row_keys(rows: Dataset, config: TrainingConfig) -> list[tuple[bytes, bytes]]:
    """The keys of every row's image, plain and mirrored."""
    keys = []
    for value in rows.select_columns(config.data.image_column)[:][config.data.image_column]:
        content = value["bytes"] or Path(value["path"]).read_bytes()
        digest = hashlib.sha256(content + f" {config.network.sample_size}".encode()).digest()
        keys.append((digest[:16], digest[16:]))
    return keys


def encode_rows(
    rows: Dataset, keys: list[tuple[bytes, bytes]], folder: Path, config: TrainingConfig, encoder: FrozenEncoder
) -> None:
    """Encodes the rows that the folder lacks, in their order: first all as they are, then mirrored."""
    autoencoder, known = load_taef2("encoder").to(encoder.device), Latents(folder).places
    folder.mkdir(parents=True, exist_ok=True)
    limit = config.data.latent_limit or 2 * len(rows)
    jobs = [(row, flip) for flip in (0, 1) for row in range(len(rows))][:limit]
    jobs = [(row, flip) for row, flip in jobs if keys[row][flip] not in known]
    with tqdm(total=len(jobs), desc="latents", disable=not jobs) as bar:
        for start in range(0, len(jobs), _PART):
            part: dict[str, list] = {"keys": [], "latents": [], "embeddings": []}
            for at in range(start, min(start + _PART, len(jobs)), _AT_ONCE):
                _encode(rows, keys, jobs[at : at + _AT_ONCE], config, encoder, autoencoder, part)
                bar.update(len(jobs[at : at + _AT_ONCE]))
            if part["keys"]:
                tensors = {name: torch.cat(values) for name, values in part.items()}
                with replacing(folder / f"{bytes(tensors['keys'][0].tolist()).hex()}.safetensors") as temporary:
                    save_file(tensors, temporary)


@torch.inference_mode()
def _encode(rows, keys, jobs, config, encoder, autoencoder, part) -> None:
    images, done = [], []
    for row, flip in jobs:
        try:
            image = decode(rows[row][config.data.image_column], config.network.sample_size)
        except ValueError:  # a damaged image: the run names it
            continue
        images.append(image.flip(-1) if flip else image)
        done.append(torch.tensor(list(keys[row][flip]), dtype=torch.uint8))
    if not images:
        return
    batch = torch.stack(images).to(encoder.device).float() / 255
    with torch.autocast(batch.device.type, torch.bfloat16):
        latents = autoencoder(batch.to(memory_format=torch.channels_last))
    part["keys"].append(torch.stack(done))
    part["latents"].append(latents.half().cpu().contiguous())
    part["embeddings"].append(encoder.images(batch).float().cpu())


def encoded_rows(rows: Dataset, config: TrainingConfig, encoder: FrozenEncoder) -> EncodedRows:
    """The latents of a run's rows; those that its options ask for and the folder lacks are encoded first."""
    folder, keys = latent_folder(config, encoder), row_keys(rows, config)
    encode_rows(rows, keys, folder, config, encoder)
    return EncodedRows(Latents(folder), keys)


def main(argv: list[str] | None = None) -> None:
    """Encodes the training rows of a run."""
    from training.arguments import parse
    from training.data import training_and_held_out

    config = parse(argv)
    encoder = FrozenEncoder(config.network.clip, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    rows, _ = training_and_held_out(config)
    encoded_rows(rows, config, encoder)


if __name__ == "__main__":
    main(sys.argv[1:])
