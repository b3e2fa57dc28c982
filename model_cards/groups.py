"""Measures the face checkpoints on real faces by group, and adds the tables to their reports in `results/`.

python -m model_cards.groups faces_utk_144.parquet --lpips lpips_alexnet.safetensors
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from model_cards.make import GROUPS, REPORTS
from textir_hf import TextIRPipeline
from textir_hf.atomic import replacing
from textir_hf.evaluation.tables import Table, cell, sha256
from textir_hf.hub.data import open_rows, read_image
from textir_hf.imaging.resample import to_tensor
from textir_hf.metrics.functional import AMONG, detail, is_recognized, seam
from textir_hf.metrics.perceptual import LPIPS
from textir_hf.models.embedding import embed_images, embed_texts

FACE_BOX = (0.205, 0.185, 0.775, 0.765)  # eyes, nose and mouth of UTKFace's crop, in shares of the side
FACTOR = 8
SEXES, AGES = ("a man", "a woman"), ("an old person", "a young person")
_OLD, _YOUNG = 52, 32  # years
_GROUPS = {  # group: whether a row belongs to it
    "all": lambda row: True,
    "men": lambda row: row["male"],
    "women": lambda row: not row["male"],
    f"up to {_YOUNG} years": lambda row: row["age"] <= _YOUNG,
    f"from {_OLD} years on": lambda row: row["age"] >= _OLD,
} | {name: lambda row, name=name: row["group"] == name for name in ("white", "black", "asian", "indian", "other")}


def sentence(row: dict) -> str:
    who = "man" if row["male"] else "woman"
    return f"an old {who}" if row["age"] >= _OLD else f"a young {who}" if row["age"] <= _YOUNG else f"a {who}"


class FaceJudge:
    """Measures results of a checkpoint for inpainting or super-resolution, on RGB faces at the trained size."""

    def __init__(self, pipe: TextIRPipeline, lpips: LPIPS, faces: list[Image.Image]) -> None:
        self.pipe, self.lpips, self.faces = pipe, lpips, faces
        side, self.mask = pipe.restorer.config.sample_size, None
        if pipe.task.name == "inpainting":
            left, top, right, bottom = (round(share * side) for share in FACE_BOX)
            self.mask = np.zeros((side, side), bool)
            self.mask[top:bottom, left:right] = True
        self.descriptors = torch.cat([lpips.descriptor(to_tensor(np.asarray(face))) for face in faces])
        man, woman, old, young = embed_texts(pipe.clip, pipe.tokenizer, [*SEXES, *AGES])
        self.axes = {SEXES: man - woman, AGES: old - young}

    def restore(self, prompt: str, index: int) -> np.ndarray:
        """The damaged face under a sentence, `[H, W, 3]` uint8."""
        face = self.faces[index]
        if self.mask is not None:
            return np.asarray(self.pipe(prompt, face, mask_image=Image.fromarray(self.mask)).images[0])
        small = face.resize((face.width // FACTOR, face.height // FACTOR), Image.Resampling.BICUBIC)
        return np.asarray(self.pipe(prompt, small, scale=FACTOR).images[0])

    @torch.no_grad()
    def measure(self, prompt: str, index: int) -> dict[str, float]:
        sides = {}  # how much nearer the face under each of two sentences is to the first one than to the second
        for pair, axis in self.axes.items():
            results = torch.cat([to_tensor(self.restore(text, index)) for text in pair])
            sides[pair] = (embed_images(self.pipe.clip, self.pipe.image_processor, results) @ axis).tolist()
        (man, woman), (old, young) = sides[SEXES], sides[AGES]
        result, target = self.restore(prompt, index), np.asarray(self.faces[index])
        area = None if self.mask is None else torch.from_numpy(self.mask)[None, None].float()
        values = {
            "LPIPS": self.lpips(to_tensor(result), to_tensor(target), area).item(),
            "detail": detail(result, target, self.mask),
        }
        if self.mask is not None:
            values["seam"] = seam(result, target, self.mask)
        else:
            found = is_recognized(self.lpips.descriptor(to_tensor(result))[0], self.descriptors, index)
            values[f"recognized among {AMONG} (%)"] = 100.0 * found
        return values | {
            "man / woman as asked (%)": 50.0 * ((man > 0) + (woman < 0)),
            "older as asked (%)": 100.0 * (old > young),
        }


def measure(judge: FaceJudge, rows: list[dict]) -> Table:
    """The table of all groups that have a face; each row has `age`, `male` and `group`, labeled by people."""
    values = [judge.measure(sentence(row), i) for i, row in enumerate(tqdm(rows, desc="faces"))]
    cells = {}
    for name, belongs in _GROUPS.items():
        members = [value for value, row in zip(values, rows, strict=True) if belongs(row)]
        if members:
            cells[f"{name} ({len(members)})"] = [cell([value[column] for value in members]) for column in values[0]]
    damage = "a box over the face" if judge.mask is not None else f"{FACTOR}x"
    return Table(f"{GROUPS}, {damage}, {len(rows)} images", list(values[0]), cells)


def add(report: Path, table: Table, data: Path) -> None:
    """Puts a table into a report; it replaces an earlier one by group."""
    content = json.loads(report.read_text())
    kept = [old for old in content["tables"] if not old["title"].startswith(GROUPS)]
    content["tables"], content["data"][data.name] = [*kept, asdict(table)], sha256(data)
    with replacing(report) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path, help="parquet file with image, split, age, male and group")
    parser.add_argument("--lpips", type=Path, required=True, help="LPIPS on AlexNet as safetensors")
    parser.add_argument("--limit", type=int, help="maximum number of faces, evenly spread")
    args = parser.parse_args()
    rows = list(open_rows(args.faces, "test", split_column="split"))
    rows = [rows[i] for i in np.linspace(0, len(rows) - 1, min(args.limit or len(rows), len(rows))).astype(int)]
    for name in ("textir-mini-inpainting", "textir-mini-super-resolution"):
        pipe = TextIRPipeline.from_pretrained(name)
        pipe.set_progress_bar_config(disable=True)
        size = (pipe.restorer.config.sample_size,) * 2
        images = [read_image(row["image"], "A face").convert("RGB") for row in rows]
        faces = [image.resize(size, Image.Resampling.BICUBIC) for image in images]
        add(REPORTS / f"{name}.json", measure(FaceJudge(pipe, LPIPS(args.lpips), faces), rows), args.faces)


if __name__ == "__main__":
    main()
