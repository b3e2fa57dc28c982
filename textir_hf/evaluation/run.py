"""Evaluates a checkpoint by a protocol, on any number of processes; a stopped run continues.

Every image's values become tables, and grids of images for people to look at.
"""

import argparse
import hashlib
import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from datasets import disable_progress_bars
from PIL import Image
from tqdm import tqdm

from textir_hf import TextIRPipeline
from textir_hf.atomic import keep_facts, replacing
from textir_hf.evaluation.damages import damage_of
from textir_hf.evaluation.data import TestSet
from textir_hf.evaluation.measures import Measures, color_words, file_of, text_effect
from textir_hf.evaluation.protocols import PRESETS, Protocol
from textir_hf.evaluation.tables import Cell, Table, cell, markdown, package_versions, sha256, write_report
from textir_hf.hub.data import load_masks
from textir_hf.imaging.files import save_image
from textir_hf.imaging.grid import draw_grid
from textir_hf.metrics.functional import frechet_distance
from textir_hf.metrics.perceptual import LPIPS, fetch
from textir_hf.models.embedding import CHECKPOINTS, ENCODER
from textir_hf.pipeline.loading import locate
from textir_hf.tasks import embedded_checkpoints

FRECHET = "Fréchet distance (100, {})"  # of the embeddings of this encoder
_PUBLISHED = ("PSNR (dB)", "SSIM", "LPIPS")
Rows = dict[str, dict[str, list[float]]]  # row, column, values in the images' order


def evaluate(args: argparse.Namespace) -> str:
    """Runs a protocol and writes `report.json`, `tables.md` and grids; or only the damaged inputs.

    Takes the options of `textir evaluate`, checked and complete. Returns the tables as Markdown in the main process.
    """
    disable_progress_bars()  # of reading files from the disk
    state = PartialState(cpu=not torch.accelerator.is_available())
    protocol = PRESETS[args.preset]
    pipe = TextIRPipeline.from_pretrained(args.checkpoint).to(state.device)
    pipe.set_progress_bar_config(disable=True)
    size = protocol.size or pipe.restorer.config.sample_size
    test_set = TestSet(protocol, args.data, size, args.limit, args.image_column, args.caption_column, args.split)
    if len(test_set) < 2:
        raise ValueError(f"An evaluation needs at least two images, {args.data} has {len(test_set)}.")
    kind = damage_of(protocol.task)
    path = args.masks or Path(args.data) / str(protocol.masks)
    masks = load_masks(path, "test", size) if kind.uses_masks else None
    with state.main_process_first():
        lpips = LPIPS(args.lpips or fetch()).to(state.device)
    measures = Measures(pipe, kind(protocol, test_set, masks), lpips, args.against)
    if args.refiner:
        measures.options["refiner"] = TextIRPipeline.from_pretrained(args.refiner).to(state.device)
        measures.options["refiner"].set_progress_bar_config(disable=True)
    measures.prepare(lambda indices: tqdm(indices, desc="embeddings", disable=not state.is_main_process))
    if args.save_inputs:
        return _save_inputs(measures, args.save_inputs) if state.is_main_process else ""
    facts = {  # everything that decides the values
        "preset": args.preset,
        "images": len(test_set),
        "size": test_set.size,
        "against": {name: [sha256(f) for f in measures.files_of(folder)] for name, folder in args.against.items()},
        "checkpoint": [args.checkpoint, *map(sha256, _weights(args.checkpoint))],
        "data": test_set.digest(),
        "masks": None if masks is None else hashlib.sha256(masks.numpy().tobytes()).hexdigest(),
        "lpips": sha256(Path(args.lpips or fetch())),
        "refiner": [args.refiner, *map(sha256, _weights(args.refiner))] if args.refiner else None,
        "versions": package_versions(),
    }
    keep_facts(args.output / "evaluation.json", facts, state.is_main_process)
    _measure(measures, args.output, state)
    state.wait_for_everyone()
    return _write(measures, args) if state.is_main_process else ""


def _save_inputs(measures: Measures, folder: Path) -> str:
    """Writes the damaged images to `images/`, masks to `masks/`, and the right prompts to `prompts.json`."""
    test_set, damage, prompts = measures.test_set, measures.damage, {}
    for index in range(len(test_set)):
        image, name = test_set.image(index), test_set.name(index)
        prompts[name] = measures.conditions.sentences[index]
        for table in damage.tables:
            extent = damage.extent(index, table)
            files = {"images": damage.damaged(image, extent)}
            if damage.uses_masks:
                files["masks"] = np.uint8(255) * np.asarray(extent)
            for kind, array in files.items():
                path = file_of(folder / kind, table, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                save_image(Image.fromarray(array), path)
    with replacing(folder / "prompts.json") as temporary:
        temporary.write_text(json.dumps(prompts, indent=1))
    return f"{len(test_set)} damaged images for each of {', '.join(damage.tables)}: {folder}"


def _weights(checkpoint: str) -> list[Path]:
    own = sorted(locate(checkpoint, {}).rglob("*.safetensors"))
    return own if checkpoint not in embedded_checkpoints() else [*own, CHECKPOINTS / ENCODER / "model.safetensors"]


def _measure(measures: Measures, folder: Path, state: PartialState) -> None:
    """Measures the images that have no values yet; each process takes its share of them.

    Every image's values are appended to a file of the process, so that a killed run loses at most one image.
    """
    count, done = len(measures.test_set), {record["index"] for record in _records(folder)}
    state.wait_for_everyone()  # none adds before all have read
    left = [i for i in range(count) if i not in done][state.process_index :: state.num_processes]
    path = folder / f"values-{state.process_index}.jsonl"
    torn = path.is_file() and not path.read_bytes().endswith(b"\n")
    with path.open("a") as file:
        file.write("\n" * torn)
        for index in tqdm(left, desc="images", disable=not state.is_main_process):
            values, embeddings = measures.measure(index)
            values += text_effect(measures, index) + color_words(measures, index)
            rounded = {name: [round(x, 7) for x in row.tolist()] for name, row in embeddings.items()}
            file.write(json.dumps({"index": index, "values": values, "embeddings": rounded}) + "\n")
            file.flush()


def _records(folder: Path) -> list[dict]:
    """The values of every image that has been measured, in the images' order; a torn last line is dropped."""
    found = {}
    for path in folder.glob("values-*.jsonl"):
        for line in path.read_text().splitlines():
            with suppress(json.JSONDecodeError):
                record = json.loads(line)
                found[record["index"]] = record
    return [found[index] for index in sorted(found)]


def _write(measures: Measures, args: argparse.Namespace) -> str:
    records, folder, protocol = _records(args.output), args.output, measures.protocol
    grouped: dict[str, Rows] = {}  # by table
    for record in records:
        for table, row, column, value in record["values"]:
            grouped.setdefault(table, {}).setdefault(row, {}).setdefault(column, []).append(value)
    tables = _tables(protocol, grouped, records, measures.pipe.config.encoder or "the checkpoint's encoder")
    text = "\n\n".join(markdown(table) for table in tables) + "\n"
    limit = "" if args.limit is None else f" --limit {args.limit}"
    against = "".join(f" --against {name}=DIR" for name in args.against)
    refiner = f" --refiner {args.refiner}" if args.refiner else ""
    command = f"textir evaluate --preset {args.preset} --data DIR{limit}{refiner}{against} --output results"
    config = {"preset": args.preset, "images": len(records), "size": measures.test_set.size, "against": [*args.against]}
    named = [Path(args.data) / name for name in (*protocol.files, protocol.masks) if name]
    data = [file for file in named or (Path(args.data), args.masks) if file and file.is_file()]
    weights = _weights(args.checkpoint)
    write_report(folder / "report.json", Path(args.checkpoint).name, tables, weights, data, command, config)
    _draw_grids(measures, grouped, folder)
    with replacing(folder / "tables.md") as temporary:
        temporary.write_text(text)
    return text


def _tables(protocol: Protocol, grouped: dict[str, Rows], records: list[dict], encoder: str) -> list[Table]:
    """All tables of an evaluation, from the records of the images and their values, grouped."""
    result = []
    for title, rows in grouped.items():
        quality = protocol.ours[0] in rows
        count = max(len(values) for columns in rows.values() for values in columns.values())
        columns = list(dict.fromkeys(column for values in rows.values() for column in values))
        cells = {row: [cell(values.get(column, [])) for column in columns] for row, values in rows.items()}
        table = Table(f"{title}, {count} images", columns, cells, 3 if quality else 1)
        result.append(table)
        if not quality:  # text effect, color words
            continue
        table.columns.append(FRECHET.format(encoder))
        for name, row in table.rows.items():
            ours, targets = ([r["embeddings"][f"{title}|{kind}"] for r in records] for kind in (name, "target"))
            row.append(Cell(100 * frechet_distance(np.array(ours), np.array(targets))))
        for name, values in protocol.published.items():
            known = dict(zip(_PUBLISHED, values, strict=True))
            table.rows[name] = [Cell(known.get(column)) for column in table.columns]
        own, differences = rows[protocol.ours[0]], {}
        compared = [column for column in own if column.endswith(_PUBLISHED)]
        for name in [row for row in rows if row not in protocol.ours]:  # intervals are narrower than the means' own
            full = [cell(np.subtract(own[column], rows[name][column]).tolist()) for column in compared]
            differences[name] = [Cell(c.mean, c.half) for c in full]
        of = f"{title}, {protocol.ours[0]} minus each other method, paired by image"
        result.append(Table(of, compared, differences))
    return result


def _draw_grids(measures: Measures, grouped: dict[str, Rows], folder: Path) -> None:
    """Writes for each table the best, median and worst image by LPIPS under the first prompt, by every method."""
    for table in measures.damage.tables:
        columns = grouped[table][measures.protocol.ours[0]]
        values = columns.get("masked LPIPS", columns["LPIPS"])
        order = np.argsort(values).tolist()
        chosen = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
        rows = []
        for name, index in chosen.items():
            image, sentences = measures.test_set.image(index), measures.conditions.sentences[index]
            damaged = Image.fromarray(measures.damage.damaged(image, measures.damage.extent(index, table)))
            damaged = damaged.resize(image.shape[1::-1], Image.Resampling.NEAREST)
            rows.append([(f"{name}: LPIPS {values[index]:.3f}", damaged)])
            for method, result in measures.restored(index, table).items():
                right = sentences and method == measures.protocol.ours[0]
                shown_as = f"right prompt: “{'; '.join(sentences)}”" if right else method
                rows[-1].append((shown_as, Image.fromarray(result)))
            rows[-1].append(("original", Image.fromarray(image)))
        save_image(draw_grid(rows, cell=128), folder / f"{table.split(' ')[0]}.png")
