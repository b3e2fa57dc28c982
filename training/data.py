"""Pictures for training: parquet files of an `image` and a `split` column, held in memory at the trained size."""

import random
from pathlib import Path

import numpy as np
import torch
from datasets import load_dataset
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from textir_hf.clip import embed_images
from textir_hf.degradations import FACTORS, box_mask, free_form_mask


def load_pictures(files: list[str], split: str, size: int) -> Tensor:
    """All pictures of one split, their middle square resized with an antialiased filter.

    Args:
        files: Parquet files.
        split: "train" or "test".
        size: Side of the result, pixels.

    Returns:
        `[N, 3, size, size]` uint8.

    Raises:
        ValueError: No row has this split.
    """
    pictures = []
    for file in files:
        rows = load_dataset("parquet", data_files=str(file), split="train")
        keep = [i for i, s in enumerate(rows["split"]) if s == split]
        for row in tqdm(rows.select(keep).select_columns("image"), desc=f"{Path(file).stem} {split}"):
            pictures.append(_square(row["image"].convert("RGB"), size))
    if not pictures:
        raise ValueError(f'No row of {files} has split "{split}". The column must hold "train" and "test".')
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def _square(image: Image.Image, size: int) -> np.ndarray:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return np.asarray(image.resize((size, size), Image.LANCZOS, box=(left, top, left + side, top + side)))


def load_masks(file: str, split: str, size: int) -> Tensor:
    """Irregular hole masks of one split: `[N, 1, size, size]`, 1 = hole, shrunk with NEAREST to stay binary."""
    rows = load_dataset("parquet", data_files=str(file), split="train")
    keep = [i for i, s in enumerate(rows["split"]) if s == split]
    masks = [np.asarray(rows[i]["image"].convert("L").resize((size, size), Image.NEAREST)) > 127 for i in keep]
    return torch.from_numpy(np.stack(masks))[:, None].float()


@torch.inference_mode()
def embed_pictures(clip, image_processor, pictures: Tensor, batch: int = 64) -> Tensor:
    """Embeddings of uint8 pictures and of their mirror images: `[2, N, D]` at unit length."""
    out = torch.empty(2, len(pictures), clip.config.projection_dim)
    for start in tqdm(range(0, len(pictures), batch), desc="embeddings"):
        images = pictures[start : start + batch].float() / 255
        with torch.autocast("cpu", torch.bfloat16):
            for flip in (0, 1):
                out[flip, start : start + batch] = embed_images(
                    clip, image_processor, images.flip(-1) if flip else images
                )
    return out.clone()


class HoleSampler:
    """Holes for training: half are boxes, a quarter brush strokes, a quarter irregular masks, turned and mirrored."""

    def __init__(self, size: int, irregular: Tensor | None) -> None:
        self.size, self.irregular = size, irregular

    def __call__(self, count: int, rng: random.Random) -> Tensor:  # -> [count, 1, S, S], 1 = hole
        return torch.stack([self._one(rng) for _ in range(count)])

    def _one(self, rng: random.Random) -> Tensor:
        kind = rng.choice(("irregular", "strokes", "box", "box"))
        if kind == "box":
            return box_mask(self.size, self.size, rng)
        if kind == "strokes" or self.irregular is None:
            return free_form_mask(self.size, self.size, rng)
        mask = self.irregular[rng.randrange(len(self.irregular))]
        mask = torch.rot90(mask, rng.randrange(4), (1, 2))
        return mask.flip(-1) if rng.random() < 0.5 else mask


def draw_factor(rng: random.Random) -> int:
    """A downscaling factor, uniform over 4, 8, 16, 32, 64 (TextIR, Sec. 3.3)."""
    return rng.choice(FACTORS)
