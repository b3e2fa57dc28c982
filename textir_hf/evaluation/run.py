"""Measures a checkpoint by a protocol, on as many processes as there are, and goes on where it was stopped.

textir evaluate --preset textir-mini-inpainting --data DIR --lpips lpips_alexnet.safetensors --output results
accelerate launch -m textir_hf evaluate --preset table-1 --data DATASET --masks MASKS --checkpoint C --output results
"""

import argparse
import base64
import json
import os
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from datasets import Image as ImageFeature
from datasets import disable_progress_bars, load_dataset
from tqdm import tqdm

from textir_hf import TextIRPipeline
from textir_hf.evaluation import report
from textir_hf.evaluation.baselines import diffusers_filler
from textir_hf.evaluation.data import TestSet, decode, load_masks, open_test_set
from textir_hf.evaluation.measures import Measures
from textir_hf.evaluation.protocols import PRESETS, Protocol
from textir_hf.evaluation.tables import markdown, package_versions, sha256, write_report
from textir_hf.imaging import color
from textir_hf.imaging.resample import to_tensor
from textir_hf.metrics.perceptual import LPIPS, fetch
from textir_hf.models.embedding import CHECKPOINTS, ENCODER
from textir_hf.tasks import embedded_checkpoints

CURVE_PICTURES = 48


class Records:
    """Every picture's values, appended line by line, so that a killed run loses at most one picture.

    Args:
        folder: Where they are kept.
        facts: What decides the values; a folder with others is refused.
        rank: Of this process.

    Raises:
        ValueError: Values of another evaluation lie in the folder.
    """

    def __init__(self, folder: Path, facts: dict, rank: int) -> None:
        self.folder, self.rank = folder, rank
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "evaluation.json"
        if path.is_file():
            known = json.loads(path.read_text())
            other = [k for k in facts if known.get(k) != facts[k]]
            if other:
                raise ValueError(
                    f"{folder} holds another evaluation ({', '.join(other)} differ). Give another --output."
                )
        elif rank == 0:
            temporary = path.with_suffix(".tmp")
            temporary.write_text(json.dumps(facts, indent=1))
            temporary.replace(path)

    def read(self) -> list[dict]:
        """What has been measured, each picture once; a torn last line is dropped."""
        found = {}
        for path in sorted(self.folder.glob("values-*.jsonl")):
            for line in path.read_text().splitlines():
                try:
                    record = json.loads(line)
                except json.JSONDecodeError:
                    continue
                found[record["index"]] = record
        return list(found.values())

    def add(self, index: int, values: list, embeddings: dict[str, np.ndarray]) -> None:
        """Keeps a picture's values and embeddings."""
        packed = {k: base64.b64encode(v.astype(np.float32).tobytes()).decode() for k, v in embeddings.items()}
        line = json.dumps({"index": index, "values": values, "embeddings": packed})
        path = self.folder / f"values-{self.rank}.jsonl"
        torn = path.is_file() and not path.read_bytes().endswith(b"\n")
        with path.open("a") as file:
            file.write(("\n" if torn else "") + line + "\n")


def unpack(records: list[dict]) -> dict[str, np.ndarray]:
    """Embeddings of all records by name: `[N, D]`."""
    found: dict[str, list] = {}
    for record in sorted(records, key=lambda r: r["index"]):
        for name, value in record["embeddings"].items():
            found.setdefault(name, []).append(np.frombuffer(base64.b64decode(value), np.float32))
    return {name: np.stack(rows) for name, rows in found.items()}


def _mean_chroma(test_set: TestSet, protocol: Protocol, data: str, most: int = 200) -> torch.Tensor:
    """Mean a and b `[2]` of up to `most` training pictures of each file."""
    means = []
    for name in protocol.files:
        rows = load_dataset("parquet", data_files=str(Path(data) / name), split="train")
        indices = [i for i, split in enumerate(rows["split"]) if split == "train"]
        rows = rows.select_columns([test_set.image_column]).cast_column(
            test_set.image_column, ImageFeature(decode=False)
        )
        for i in np.linspace(0, len(indices) - 1, min(most, len(indices))).astype(int):
            picture = decode(rows[indices[i]][test_set.image_column], 64).movedim(0, -1).numpy()
            means.append(color.chroma(to_tensor(picture)).mean((0, 2, 3)))
    return torch.stack(means).mean(0) if means else torch.zeros(2)


def _files(checkpoint: str) -> list[Path]:
    folder = CHECKPOINTS / checkpoint if checkpoint in embedded_checkpoints() else Path(checkpoint)
    files = sorted(folder.rglob("*.safetensors"))
    return files + ([CHECKPOINTS / ENCODER / "model.safetensors"] if checkpoint in embedded_checkpoints() else [])


def _data_files(args: argparse.Namespace, protocol: Protocol) -> list[Path]:
    names = [*protocol.files, *([protocol.masks] if protocol.masks else [])]
    files = [Path(args.data) / n for n in names] or [Path(args.data), *([args.masks] if args.masks else [])]
    return [f for f in files if f.is_file()]


def _check(args: argparse.Namespace, protocol: Protocol) -> str:
    """What can be known wrong before anything is loaded; the checkpoint's name."""
    checkpoint = args.checkpoint or protocol.checkpoint
    if checkpoint is None:
        raise ValueError(f"--checkpoint must be given with --preset {args.preset}: a folder or Hub id.")
    if protocol.task == "inpainting" and not (args.masks or protocol.masks):
        raise ValueError(f"--masks must be given with --preset {args.preset}: a parquet file or folder of holes.")
    if args.baseline and protocol.task != "inpainting":
        raise ValueError(f"--baseline is for inpainting, this protocol is for {protocol.task}.")
    for name in args.baseline:
        if not name.startswith("diffusers:"):
            raise ValueError(f"--baseline must be diffusers:ID, got {name}.")
    if args.limit is not None and args.limit < 2:
        raise ValueError(f"--limit must be at least 2, got {args.limit}.")
    if args.lpips and not args.lpips.is_file():
        raise ValueError(f"--lpips {args.lpips} does not exist. Leave it out to fetch it once.")
    return checkpoint


def evaluate(args: argparse.Namespace) -> str:
    """Runs a protocol and writes `report.json`, `tables.md`, `curves.png` and sheets; returns the tables as Markdown.

    Raises:
        ValueError: An option, the data or the checkpoint does not fit.
        OSError: LPIPS cannot be fetched.
    """
    disable_progress_bars()  # of reading files from the disk
    protocol = PRESETS[args.preset]
    checkpoint, state = _check(args, protocol), PartialState(cpu=not torch.accelerator.is_available())
    pipe = TextIRPipeline.from_pretrained(checkpoint).to(state.device)
    pipe.set_progress_bar_config(disable=True)
    size = protocol.size or pipe.restorer.config.sample_size
    columns = (args.image_column, args.caption_column, args.split)
    test_set = open_test_set(protocol, args.data, size, args.limit, *columns)
    if len(test_set) < 2:
        raise ValueError(f"An evaluation needs at least two pictures, {args.data} has {len(test_set)}.")
    masks = None
    if protocol.task == "inpainting":
        masks = load_masks(args.masks or Path(args.data) / protocol.masks, "test", size)
    with state.main_process_first():
        weights = args.lpips or fetch()
    measures = Measures(pipe, protocol, test_set, masks, LPIPS(weights))
    facts = {
        "preset": args.preset,
        "checkpoint": Path(checkpoint).name,
        "weights": {f"{p.parent.name}/{p.name}": sha256(p) for p in _files(checkpoint)},
        "data": {p.name: sha256(p) for p in _data_files(args, protocol)},
        "pictures": len(test_set),
        "size": size,
        "baselines": args.baseline,
        "versions": package_versions(),
    }
    records = Records(args.output, facts, state.process_index)
    _measure(measures, records, args, state)
    state.wait_for_everyone()
    return _write(measures, records, args, facts, checkpoint) if state.is_main_process else ""


def _measure(measures: Measures, records: Records, args: argparse.Namespace, state: PartialState) -> None:
    quiet, protocol = not state.is_main_process, measures.protocol
    measures.prepare(lambda it: tqdm(it, desc="embeddings", disable=quiet))
    for name in args.baseline:
        said = [sentences[0] for sentences in measures.sentences]
        measures.fillers.update([diffusers_filler(name.removeprefix("diffusers:"), said)])
    if protocol.task == "colorization":
        measures.mean_chroma = _mean_chroma(measures.test_set, protocol, args.data)
    count = len(measures.test_set)
    done = {record["index"] for record in records.read()}
    state.wait_for_everyone()  # none adds before all have read
    curves = set(np.linspace(0, count - 1, min(CURVE_PICTURES, count)).astype(int).tolist())
    left = [i for i in range(count) if i not in done][state.process_index :: state.num_processes]
    for index in tqdm(left, desc="pictures", disable=quiet):
        values, embeddings = measures.measure(index)
        if index in curves:
            values += measures.curves(index)
        records.add(index, values, embeddings)


def _write(measures: Measures, records: Records, args: argparse.Namespace, facts: dict, checkpoint: str) -> str:
    found, folder = records.read(), args.output
    encoder = measures.pipe.config.encoder or "the checkpoint's encoder"
    made = report.tables(measures.protocol, report.group(found), unpack(found), encoder)
    text = "\n\n".join(markdown(table) for table in made) + "\n"
    temporary = folder / "tables.tmp"
    temporary.write_text(text)
    os.replace(temporary, folder / "tables.md")
    command = f"textir evaluate --preset {args.preset} --data DIR --output results"
    config = {key: facts[key] for key in ("preset", "pictures", "size", "baselines")}
    files = _files(checkpoint), _data_files(args, measures.protocol)
    write_report(folder / "report.json", Path(checkpoint).name, made, *files, command, config)
    report.draw_curves(made, folder / "curves.png")
    report.draw_sheets(measures, report.group(found), folder)
    return text
