"""Latents of the training images, encoded once and kept on the disk: the targets of a generator with a decoder.

    python -m training.latents --preset textir-mini-inpainting --dataset photos --output-dir runs/photos

A run encodes the images that it lacks before it starts. This command does so in another process, while a run learns
from the first `--latent-limit` images.
"""

import hashlib
import sys
from pathlib import Path

import torch
from accelerate import PartialState
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

_ENCODED, _PER_FILE = 8, 128  # images encoded at a time, and in one file


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
        self.keys = {}  # of the pairs
        for row, value in enumerate(rows.select_columns(config.image_column)[:][config.image_column]):
            content = value["bytes"] or Path(value["path"]).read_bytes()
            key = hashlib.sha256(content + f" {config.sample_size}".encode()).digest()
            self.keys |= {(row, 0): key[:16], (row, 1): key[16:]}
        first = [(row, flip) for flip in (0, 1) for row in range(len(rows))][: config.latent_limit or None]
        missing = [item for item in first if self.keys[item] not in self.places]
        self._encode(rows, missing, config, encoder)
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
