"""Makes a data set of aligned faces: the largest face of each photo, all at one place and size.

python -m training.align photos -o aligned.parquet
python -m training.align train-0.parquet train-1.parquet -o aligned.parquet --size 512 --template ffhq
"""

import io
import os
import signal
import sys
from collections import Counter
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from datasets import Features, List, Value
from datasets import Image as ImageFeature
from PIL import Image
from tqdm import tqdm
from transformers import HfArgumentParser

from textir_hf.atomic import replacing
from textir_hf.checks import check_range
from textir_hf.hub.data import open_rows, read_image
from textir_hf.imaging.faces import FACE_TEMPLATES, Frame, align, warp_to_frame
from textir_hf.imaging.files import FORMATS
from textir_hf.imaging.raster import to_raster
from textir_hf.imaging.resample import resize
from textir_hf.pipeline.faces import find_largest_face

CELL = 8  # pixels, side of a cell of the valid mask
SPREAD = 3  # by how much JPEG changes the values of a black or white border
ROWS = 256  # photos that are read at a time
REASONS = ("damaged", "no face", "too small", "turned away", "outside the photo", "blurred")
COLUMNS = {
    "image": ImageFeature(),
    "valid": ImageFeature(),
    "source": Value("string"),
    "landmarks": List(List(Value("float32"))),
    **dict.fromkeys(("sharpness", "frontal", "frame_side", "visible"), Value("float32")),
}


def _help(text: str, default):
    return field(default=default, metadata={"help": text})


@dataclass
class Rules:
    """How faces are aligned, and which ones are left out."""

    size: int = _help(f"side of the aligned faces, pixels, a multiple of {CELL}", 256)
    template: Literal["portrait", "ffhq"] = _help("where the eyes and the mouth go", "portrait")
    png: bool = _help("write PNGs, not JPEGs of quality 95 with full color resolution", False)
    min_side: float = _help("least side of a face's frame in its photo, as a share of --size", 0.5)
    min_frontal: float = _help("1: the nose is in the middle between the eyes; 0: it is below an eye", 0.45)
    max_invisible: float = _help("largest share of the frame outside the photo", 0.2)
    border: Literal["black", "white", "none"] = _help(
        "color of borders that count as outside the photo; white ones cannot be told from a white backdrop", "black"
    )
    min_sharpness: float = _help("least variance of the Laplacian of luma from eyes to mouth, at --size", 40.0)

    def __post_init__(self) -> None:
        check_range("--size", self.size, CELL)
        if self.size % CELL:
            raise ValueError(f"--size must be a multiple of {CELL}, got {self.size}.")
        for name, most in (("min_side", np.inf), ("min_frontal", 1), ("max_invisible", 1), ("min_sharpness", np.inf)):
            check_range(f"--{name.replace('_', '-')}", getattr(self, name), 0, most)


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
    measures = {"sharpness": sharp, "frontal": frontal, "frame_side": frame.side, "visible": float(visible.mean())}
    images = {"image": _encode(aligned, ".png" if rules.png else ".jpg"), "valid": _encode(cells, ".png")}
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
    Image.fromarray(pixels).save(content, Image.registered_extensions()[suffix], **FORMATS[suffix].options)
    return {"bytes": content.getvalue(), "path": None}


def align_faces(
    sources: list[str], output: Path, rules: Rules, split: str = "train", column: str = "image", workers: int = 1
) -> Counter:
    """Aligns the faces of a data set and writes them to one parquet file, whole or not at all.

    Other columns come along; one with a name of `COLUMNS` is called `source_NAME`. `sources`, `split` and `column` are
    as for `open_rows`.

    Returns:
        How many photos were "aligned", and how many were left out for which of `REASONS`.

    Raises:
        ValueError: There is no such data set, the output is part of it or in no folder, or no face is left.
    """
    if not output.absolute().parent.is_dir():
        raise ValueError(f"The output folder {output.parent} does not exist. Create it first.")
    if output.resolve() in [Path(source).resolve() for source in sources]:
        raise ValueError(f"The output {output} is the input itself. Choose another name.")
    rows = open_rows(sources[0] if len(sources) == 1 else sources, split, image_columns=[column])
    others = {f"source_{name}" if name in COLUMNS else name: name for name in rows.column_names if name != column}
    schema = Features(COLUMNS | {new: rows.features[old] for new, old in others.items()}).arrow_schema
    rows, counts = rows.with_format("arrow"), Counter()
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin) if workers > 1 else nullcontext()
    with (
        replacing(output) as temporary,
        pq.ParquetWriter(temporary, schema) as writer,
        pool as processes,
        tqdm(total=len(rows), unit="photo", mininterval=1) as bar,
    ):
        each = partial(processes.map, chunksize=8) if processes else map
        for start in range(0, len(rows), ROWS):
            table, faces, kept = rows[start : start + ROWS], [], []
            photos = table[column].to_pylist()
            for i, result in enumerate(each(partial(align_face, rules=rules), photos)):
                bar.update()
                counts["aligned" if isinstance(result, dict) else result] += 1
                if isinstance(result, dict):
                    faces.append(result | {"source": _name(photos[i]["path"], start + i, sources[0])})
                    kept.append(i)
            arrays = [pa.array([face[name] for face in faces], schema.field(name).type) for name in COLUMNS]
            arrays += [table[old].take(pa.array(kept, pa.int64())) for old in others.values()]
            writer.write_table(pa.table(arrays, schema.names).cast(schema))
        if not counts["aligned"]:
            raise ValueError(f"No face is left of these: {summary(counts)}. Loosen the rules, or look at the photos.")
    return counts


def _name(path: str | None, row: int, source: str) -> str:
    """A photo's file, in the folder if the source is one, or else its row."""
    return os.path.relpath(path, source) if path and Path(source).is_dir() else path or f"row {row}"


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that writes
    torch.set_num_threads(1)


def summary(counts: Counter) -> str:
    """The counts in one line."""
    left_out = ", ".join(f"{counts[reason]} {reason}" for reason in REASONS if counts[reason])
    return f"{counts['aligned']} of {counts.total()} photos aligned; left out: {left_out or 'none'}"


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns 0, 1 (something does not fit or cannot be written) or 130."""
    parser = HfArgumentParser(Rules, description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("source", nargs="+", help="a folder of images, parquet files, tar shards or a data set's name")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the parquet file to write")
    parser.add_argument("--split", default="train", help="of a data set")
    parser.add_argument("--image-column", default="image", help="column of the photos")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    try:
        rules, args = parser.parse_args_into_dataclasses(argv)
        check_range("--workers", args.workers, 1)
        print(summary(align_faces(args.source, args.output, rules, args.split, args.image_column, args.workers)))
    except (ValueError, OSError, BrokenExecutor) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; nothing was written.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
