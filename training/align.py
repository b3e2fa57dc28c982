"""Makes a data set of aligned faces: the largest face of each photo, all at one place and size.

python -m training.align photos -o aligned.parquet
python -m training.align train-0.parquet train-1.parquet -o aligned.parquet --size 512 --template ffhq
"""

import io
import os
import secrets
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from datasets import Features, List, Value
from datasets import Image as ImageFeature
from PIL import Image
from transformers import HfArgumentParser

from textir_hf.atomic import replacing
from textir_hf.checks import check_range
from textir_hf.hub.data import open_rows, read_image
from textir_hf.imaging.faces import FACE_TEMPLATES, Frame, align, warp_to_frame
from textir_hf.imaging.files import OPTIONS
from textir_hf.imaging.raster import to_raster
from textir_hf.imaging.resample import resize
from textir_hf.pipeline.faces import find_largest_face
from training.config import flag, option, run_command

CELL = 8  # pixels, side of a cell of the valid mask
SPREAD = 3  # by how much JPEG changes the values of a black or white border
REASONS = ("damaged", "no face", "too small", "turned away", "outside the photo", "blurred")
COLUMNS = {
    "image": ImageFeature(),
    "valid": ImageFeature(),
    "source": Value("string"),
    "landmarks": List(List(Value("float32"))),
    **dict.fromkeys(("sharpness", "frontal", "frame_side", "visible"), Value("float32")),
}


@dataclass
class Rules:
    """How faces are aligned, and which ones are left out."""

    size: int = option(256, f"side of the aligned faces, pixels, a multiple of {CELL}")
    template: Literal["portrait", "ffhq"] = option("portrait", "where the eyes and the mouth go")
    png: bool = option(False, "write PNGs, not JPEGs of quality 95 with full color resolution")
    min_side: float = option(0.5, "least side of a face's frame in its photo, as a share of --size")
    min_frontal: float = option(0.45, "1: the nose is in the middle between the eyes; 0: it is below an eye")
    max_invisible: float = option(0.2, "largest share of the frame outside the photo")
    border: Literal["black", "white", "none"] = option("black", "color of borders that count as outside the photo")
    min_sharpness: float = option(40.0, "least variance of the Laplacian of luma from eyes to mouth, at --size")


def align_face(value: dict, rules: Rules) -> dict | str:
    """Aligns the largest face of a photo that `read_image` reads; gives the values of `COLUMNS` or one of `REASONS`."""
    try:
        rgb = to_raster(read_image(value)).rgb
    except ValueError:
        return "damaged"
    face, size = find_largest_face(rgb), rules.size
    if face is None:
        return "no face"
    frame, frontal = align(face.landmarks, FACE_TEMPLATES[rules.template]), frontal_share(face.landmarks)
    if frame.side < rules.min_side * size:
        return "too small"
    if frontal < rules.min_frontal:
        return "turned away"
    visible = visible_pixels(rgb, frame, size, rules.border)
    if 1 - visible.mean() > rules.max_invisible:
        return "outside the photo"
    finer = size * max(1, int(np.ceil(frame.side / size)))  # no detail of the photo is skipped, and none aliased
    aligned = resize(warp_to_frame(torch.from_numpy(rgb).movedim(-1, 0), frame, finer)[None], (size, size))[0]
    aligned = aligned.clamp(0, 255).round().byte().movedim(0, -1).numpy()
    sharp = sharpness(aligned, rules.template)
    if sharp < rules.min_sharpness:
        return "blurred"
    cells = visible.reshape(size // CELL, CELL, size // CELL, CELL).all((1, 3)).astype(np.uint8) * 255
    images = {"image": _encode(aligned, ".png" if rules.png else ".jpg"), "valid": _encode(cells, ".png")}
    measures = {"sharpness": sharp, "frontal": frontal, "frame_side": frame.side, "visible": float(visible.mean())}
    return images | measures | {"landmarks": face.landmarks.tolist()}


def frontal_share(landmarks: np.ndarray) -> float:
    """Where the nose of `Face.landmarks` is along the line between the eyes: 1 in the middle, 0 below an eye."""
    left, right, nose = landmarks[:3].astype(float) @ [1, 1j]
    return float(max(0.0, 1 - 2 * abs(((nose - left) / (right - left)).real - 0.5)))


def sharpness(rgb: np.ndarray, template: str) -> float:
    """Variance of the Laplacian of luma (4 neighbors, luma in 0..255) around the eyes and mouth of an aligned face."""
    points = np.asarray(FACE_TEMPLATES[template])
    (left, top), (right, bottom) = (np.array([points.min(0) - 0.1, points.max(0) + 0.1]) * len(rgb)).astype(int)
    luma = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[top:bottom, left:right]
    return float(cv2.Laplacian(luma, cv2.CV_64F).var())


def visible_pixels(rgb: np.ndarray, frame: Frame, size: int, border: str) -> np.ndarray:
    """The pixels `[size, size]` of a frame, bool, that show the photo: not its reflection, not its uniform border."""
    levels = {"black": rgb.max(-1), "white": 255 - rgb.min(-1), "none": np.full(rgb.shape[:2], 255)}[border]
    _, regions = cv2.connectedComponents((levels <= SPREAD).astype(np.uint8), connectivity=4)
    edges = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    outside = np.isin(regions, edges[edges > 0]).astype(np.uint8)
    photo = cv2.dilate(outside, np.ones((5, 5), np.uint8)) == 0  # JPEG blurs the border's edge
    steps = (np.arange(size) + 0.5) / size
    places = frame.offset + frame.scale * (steps + 1j * steps[:, None])
    x, y = np.floor(places.real).astype(int), np.floor(places.imag).astype(int)
    visible = (x >= 0) & (y >= 0) & (x < photo.shape[1]) & (y < photo.shape[0])
    visible[visible] = photo[y[visible], x[visible]]
    return visible


def _encode(pixels: np.ndarray, suffix: str) -> dict:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, Image.registered_extensions()[suffix], **OPTIONS.get(suffix, {}))
    return {"bytes": content.getvalue(), "path": None}


def align_faces(sources: list[str], output: Path, rules: Rules, split: str, column: str, workers: int) -> str:
    """Aligns the faces of a data set, opened as by `open_rows`, into one parquet file, whole or not at all.

    Other columns come along, unless they have a name of `COLUMNS`.
    """
    if output.resolve() in [Path(source).resolve() for source in sources]:
        raise ValueError(f"The output {output} is the input itself. Choose another name.")
    rows = open_rows(sources[0] if len(sources) == 1 else sources, split, image_columns=[column])
    others = {n: feature for n, feature in rows.features.items() if n not in (column, "reason", *COLUMNS)}

    def aligned(row: dict, number: int) -> dict:
        torch.set_num_threads(1)  # the processes share the cores
        result = align_face(row[column], rules)
        if isinstance(result, str):
            return dict.fromkeys(COLUMNS) | {"reason": result}
        path = row[column]["path"]  # in the folder if the source is one
        name = os.path.relpath(path, sources[0]) if path and Path(sources[0]).is_dir() else path or f"row {number}"
        return result | {"source": name, "reason": "aligned"}

    with replacing(output) as temporary:
        faces = rows.map(
            aligned,
            with_indices=True,
            remove_columns=[name for name in rows.column_names if name not in others],
            features=Features(COLUMNS | others | {"reason": Value("string")}),
            num_proc=workers if workers > 1 else None,
            cache_file_name=str(temporary.parent / "faces.arrow"),
            new_fingerprint=secrets.token_hex(8),  # nothing is cached, and hashing would swallow a Ctrl-C
            desc="photos",
        )
        counts = Counter(faces["reason"])
        left_out = ", ".join(f"{counts[reason]} {reason}" for reason in REASONS if counts[reason])
        summary = f"{counts['aligned']} of {counts.total()} photos aligned; left out: {left_out or 'none'}"
        if not counts["aligned"]:
            raise ValueError(f"No face is left: {summary}. Loosen the rules, or look at the photos.")
        kept = faces.select([i for i, reason in enumerate(faces["reason"]) if reason == "aligned"])
        kept.remove_columns("reason").to_parquet(temporary)
    return summary


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = HfArgumentParser(Rules, description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("source", nargs="+", help="a folder of images, parquet files, tar shards or a data set's name")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the parquet file to write")
    parser.add_argument("--split", default="train", help="of a data set")
    parser.add_argument("--image-column", default="image", help="column of the photos")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    rules, args = parser.parse_args_into_dataclasses(argv)

    def work() -> str:
        if rules.size < CELL or rules.size % CELL:
            raise ValueError(f"--size must be a multiple of {CELL}, got {rules.size}.")
        for name, most in (("min_side", np.inf), ("min_frontal", 1), ("max_invisible", 1), ("min_sharpness", np.inf)):
            check_range(flag(name), getattr(rules, name), 0, most)
        check_range("--workers", args.workers, 1)
        return align_faces(args.source, args.output, rules, args.split, args.image_column, args.workers)

    return run_command(work, "Nothing was written.")


if __name__ == "__main__":
    sys.exit(main())
