"""Latents of the training images, encoded once and kept on the disk: the targets of a generator with a decoder.

    python -m training.latents --preset textir-mini-inpainting --dataset photos --output-dir runs/photos

A run encodes the images that the cache lacks before it starts. This command does so in another process, while a run
learns from the first `--latent-limit` images.
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
from training.config import TrainingConfig, parse, run_command
from training.data import decode, training_and_held_out
from training.encoder import FrozenEncoder

_PER_FILE = 128  # images
_BATCH = 8


class Latents:
    """Latents and embeddings of rows, found in a folder by the image's bytes and whether it is mirrored.

    The latents of a mirrored image are not the mirrored latents, so both are encoded. `items` are the pairs (row,
    mirrored) that are, `missing` the others. The folder holds safetensors files with `keys` `[n, 16]` uint8, `latents`
    `[n, 32, h, w]` float16 and `embeddings` `[n, D]`.
    """

    def __init__(self, folder: Path, keys: list[tuple[bytes, bytes]]) -> None:
        self.keys, self.places, self._files = keys, {}, {}
        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(path, framework="pt") as file:
                for i, key in enumerate(file.get_tensor("keys")):
                    self.places[bytes(key.tolist())] = path, i
        self.items, self.missing = [], []
        for flip in (0, 1):
            for row, both in enumerate(keys):
                (self.items if both[flip] in self.places else self.missing).append((row, flip))
        self.items.sort()

    def __getitem__(self, item: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The latents `[32, h, w]` float16 and the embedding `[D]` of a row, plain (0) or mirrored (1)."""
        row, flip = item
        path, i = self.places[self.keys[row][flip]]
        if path not in self._files:
            self._files[path] = safe_open(path, framework="pt")
        file = self._files[path]
        return file.get_slice("latents")[i], file.get_slice("embeddings")[i]


def encoded_rows(rows: Dataset, config: TrainingConfig, encoder: FrozenEncoder) -> Latents:
    """The latents of a run's rows; those that the cache lacks are encoded first."""
    folder = Path(config.cache_dir).expanduser() / "latents" / encoder.fingerprint()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    keys = []
    for value in rows.select_columns(config.image_column)[:][config.image_column]:
        content = value["bytes"] or Path(value["path"]).read_bytes()
        digest = hashlib.sha256(content + f" {config.sample_size}".encode()).digest()
        keys.append((digest[:16], digest[16:]))
    latents = Latents(folder, keys)
    first = [(row, flip) for flip in (0, 1) for row in range(len(rows))][: config.latent_limit or None]
    missing = set(latents.missing)
    if missing := [item for item in first if item in missing]:
        _encode(rows, missing, keys, folder, config, encoder)
        latents = Latents(folder, keys)
    images = len({row for row, _ in latents.items})
    if images < 2:  # each image is also judged under another one's condition
        raise ValueError(f"At least 2 images are needed, {images} of {len(rows)} have latents. Raise --latent-limit.")
    return latents


@torch.inference_mode()
def _encode(rows, missing, keys, folder: Path, config: TrainingConfig, encoder: FrozenEncoder) -> None:
    autoencoder, found = load_taef2("encoder").to(encoder.device), []
    for at in tqdm(range(0, len(missing), _BATCH), desc="latents"):
        batch, images = [], []
        for row, flip in missing[at : at + _BATCH]:
            image = decode(rows[row][config.image_column], config.sample_size)
            if image is not None:  # the run names damaged ones
                images.append(image.flip(-1) if flip else image)
                batch.append(torch.tensor(list(keys[row][flip]), dtype=torch.uint8))
        if images:
            pixels = torch.stack(images).to(encoder.device, memory_format=torch.channels_last).float() / 255
            with torch.autocast(pixels.device.type, torch.bfloat16):
                latents = autoencoder(pixels).half().cpu().contiguous()
            embeddings = encoder.images(pixels).float().cpu()
            found.append({"keys": torch.stack(batch), "latents": latents, "embeddings": embeddings})
        last = at + _BATCH >= len(missing)
        if found and (last or len(found) * _BATCH >= _PER_FILE):
            tensors = {name: torch.cat([part[name] for part in found]) for name in found[0]}
            with replacing(folder / f"{bytes(tensors['keys'][0].tolist()).hex()}.safetensors") as temporary:
                save_file(tensors, temporary)
            found = []


def main(argv: list[str] | None = None) -> int:
    """Encodes the training rows of a run; returns the exit status."""
    config = parse(argv)

    def encode() -> str:
        config.check()
        device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
        rows, _ = training_and_held_out(config)
        return (
            f"{len(encoded_rows(rows, config, FrozenEncoder(config.clip, device)).items)} latents in {config.cache_dir}"
        )

    return run_command(encode, "The latents encoded before are kept.")


if __name__ == "__main__":
    sys.exit(main())
