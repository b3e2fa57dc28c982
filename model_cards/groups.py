"""Measures the face checkpoints on real faces by group, and adds the tables to their reports in `results/`.

python -m model_cards.groups faces_utk_144.parquet --lpips lpips_alexnet.safetensors
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from model_cards.make import REPORTS
from textir_hf import TextIRPipeline
from textir_hf.atomic import replacing
from textir_hf.evaluation.judges import AMONG, detail, is_recognized, seam
from textir_hf.evaluation.tables import Table, cell, sha256
from textir_hf.hub.data import open_rows, read_image
from textir_hf.imaging.resample import to_tensor
from textir_hf.metrics.perceptual import LPIPS
from textir_hf.models.embedding import embed_images, embed_texts

# UTKFace, aligned: eyes and corners of the mouth, shares of the side
TIGHT = ((0.305, 0.285), (0.675, 0.285), (0.33, 0.665), (0.65, 0.665))
TITLE = "real faces by group"
FACTOR = 8
SEXES = ("a man", "a woman")
AGES = ("an old person", "a young person")
_OLD, _YOUNG = 52, 32  # years
_AGE_WORDS = (("old", lambda age: age >= _OLD), ("young", lambda age: age <= _YOUNG))
# group: whether a row belongs to it
GROUPS: dict[str, Callable[[dict], bool]] = {
    "all": lambda row: True,
    "men": lambda row: row["male"],
    "women": lambda row: not row["male"],
    f"up to {_YOUNG} years": lambda row: row["age"] <= _YOUNG,
    f"from {_OLD} years on": lambda row: row["age"] >= _OLD,
} | {name: lambda row, name=name: row["group"] == name for name in ("white", "black", "asian", "indian", "other")}


def face_box(side: int) -> np.ndarray:
    """A box over eyes, nose and mouth of a tightly cut face, `[side, side]` bool."""
    points = np.array(TIGHT)
    (left, top), (right, bottom) = points.min(0) - 0.1, points.max(0) + 0.1
    mask = np.zeros((side, side), bool)
    mask[round(top * side) : round(bottom * side), round(left * side) : round(right * side)] = True
    return mask


def sentence(row: dict) -> str:
    """What people labeled, as a sentence."""
    words = [word for word, fits in _AGE_WORDS if fits(row["age"])] + ["man" if row["male"] else "woman"]
    return f"{'an' if words[0] == 'old' else 'a'} {' '.join(words)}"


class FaceJudge:
    """Measures single results of a checkpoint.

    Args:
        pipe: For inpainting or super-resolution.
        lpips: The file of its weights.
        faces: RGB originals at the trained size.
    """

    def __init__(self, pipe: TextIRPipeline, lpips: Path, faces: list[Image.Image]) -> None:
        self.pipe, self.lpips, self.faces = pipe, LPIPS(lpips), faces
        self.side = pipe.restorer.config.sample_size
        self.mask = face_box(self.side) if pipe.task.name == "inpainting" else None
        self.descriptors = torch.cat([self.lpips.descriptor(to_tensor(np.asarray(face))) for face in faces])
        man, woman, old, young = embed_texts(pipe.clip, pipe.tokenizer, [*SEXES, *AGES])
        self.axes = {SEXES: man - woman, AGES: old - young}

    def restore(self, prompt: str, index: int) -> np.ndarray:
        """The damaged face under a sentence, `[H, W, 3]` uint8."""
        face = self.faces[index]
        if self.mask is not None:
            return np.asarray(self.pipe(prompt, face, mask_image=Image.fromarray(self.mask)).images[0])
        small = face.resize((self.side // FACTOR,) * 2, Image.Resampling.BICUBIC)
        return np.asarray(self.pipe(prompt, small, scale=FACTOR).images[0])

    @torch.no_grad()
    def measure(self, prompt: str, index: int) -> dict[str, float]:
        """Figures of one face by column."""
        man, woman = self._sides(SEXES, index)
        old, young = self._sides(AGES, index)
        obeyed = {
            "man / woman as asked (%)": 50.0 * ((man > 0) + (woman < 0)),
            "older as asked (%)": 100.0 * (old > young),
        }
        return self.compare(self.restore(prompt, index), index) | obeyed

    @torch.no_grad()
    def compare(self, result: np.ndarray, index: int) -> dict[str, float]:
        """Figures of a result, `[H, W, 3]` uint8, against the original."""
        target = np.asarray(self.faces[index])
        ours, original = to_tensor(result), to_tensor(target)
        area = None if self.mask is None else torch.from_numpy(self.mask)[None, None].float()
        values = {
            "LPIPS": self.lpips(ours, original, area).item(),
            "detail": detail(result, target, self.mask),
        }
        if self.mask is not None:
            values["seam"] = seam(result, target, self.mask)
        else:
            found = is_recognized(self.lpips.descriptor(ours)[0], self.descriptors, index)
            values[f"recognized among {AMONG} (%)"] = 100.0 * found
        return values

    def _sides(self, pair: tuple[str, str], index: int) -> list[float]:
        """How far a face restored under each of two contrary sentences looks like the first more than like the second."""
        results = torch.cat([to_tensor(self.restore(prompt, index)) for prompt in pair])
        seen = embed_images(self.pipe.clip, self.pipe.image_processor, results)
        return (seen @ self.axes[pair]).tolist()


def measure(judge: FaceJudge, rows: list[dict]) -> list[Table]:
    """Tables of all groups that have a face; the first column counts them.

    Args:
        judge: Of the rows' faces.
        rows: With `age`, `male` and `group`, labeled by people.
    """
    values = [judge.measure(sentence(row), i) for i, row in enumerate(tqdm(rows, desc="faces"))]
    cells = {}
    for name, belongs in GROUPS.items():
        members = [v for v, row in zip(values, rows, strict=True) if belongs(row)]
        if members:
            cells[f"{name} ({len(members)})"] = [cell([v[column] for v in members]) for column in values[0]]
    what = "a box over the face" if judge.mask is not None else f"{FACTOR}x"
    return [Table(f"{TITLE}, {what}, {len(rows)} images", list(values[0]), cells)]


def add(report: Path, tables: list[Table], data: Path) -> None:
    """Puts tables into a report, in place of earlier ones by group."""
    content = json.loads(report.read_text())
    kept = [table for table in content["tables"] if not table["title"].startswith(TITLE)]
    content["tables"] = kept + [asdict(table) for table in tables]
    content["data"][data.name] = sha256(data)
    with replacing(report) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path, help="parquet file with image, split, age, male and group")
    parser.add_argument("--lpips", type=Path, required=True, help="file of its weights")
    parser.add_argument("--checkpoint", nargs="+", default=["textir-mini-inpainting", "textir-mini-super-resolution"])
    args = parser.parse_args()
    rows = list(open_rows(args.faces, "test", split_column="split"))
    for name in args.checkpoint:
        pipe = TextIRPipeline.from_pretrained(name)
        pipe.set_progress_bar_config(disable=True)
        side = pipe.restorer.config.sample_size
        faces = [
            read_image(row["image"], "A face").convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
            for row in rows
        ]
        add(REPORTS / f"{name}.json", measure(FaceJudge(pipe, args.lpips, faces), rows), args.faces)


if __name__ == "__main__":
    main()
