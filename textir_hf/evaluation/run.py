"""Measures a checkpoint by a protocol, on as many processes as there are, and goes on where it was stopped.

textir evaluate --preset textir-mini-inpainting --data DIR --lpips lpips_alexnet.safetensors --output results
accelerate launch -m textir_hf evaluate --preset table-1 --data DATASET --masks MASKS --checkpoint C --output results
"""

import argparse
from pathlib import Path

import torch
from accelerate import PartialState
from datasets import disable_progress_bars
from tqdm import tqdm

from textir_hf import TextIRPipeline
from textir_hf.atomic import replacing
from textir_hf.evaluation import effects, report
from textir_hf.evaluation.baselines import diffusers_filler
from textir_hf.evaluation.damages import Damage, damage_of
from textir_hf.evaluation.data import TestSet, load_masks, open_test_set, spread
from textir_hf.evaluation.drawings import draw_curves, draw_grids
from textir_hf.evaluation.measures import Measures
from textir_hf.evaluation.protocols import PRESETS, Protocol
from textir_hf.evaluation.records import Records, unpack
from textir_hf.evaluation.tables import markdown, package_versions, sha256, write_report
from textir_hf.metrics.perceptual import LPIPS, fetch
from textir_hf.models.embedding import CHECKPOINTS, ENCODER
from textir_hf.tasks import embedded_checkpoints

CURVE_IMAGES = 48


def evaluate(args: argparse.Namespace) -> str:
    """Runs a protocol and writes `report.json`, `tables.md`, `curves.png` and grids; returns the tables as Markdown.

    Args:
        args: The options of `textir evaluate`, checked and complete.

    Raises:
        ValueError: The data or the checkpoint does not fit.
        OSError: LPIPS cannot be fetched.
    """
    disable_progress_bars()  # of reading files from the disk
    protocol = PRESETS[args.preset]
    checkpoint: str = args.checkpoint
    state = PartialState(cpu=not torch.accelerator.is_available())
    pipe = TextIRPipeline.from_pretrained(checkpoint).to(state.device)
    pipe.set_progress_bar_config(disable=True)
    size = protocol.size or pipe.restorer.config.sample_size
    columns = (args.image_column, args.caption_column, args.split)
    test_set = open_test_set(protocol, args.data, size, args.limit, *columns)
    if len(test_set) < 2:
        raise ValueError(f"An evaluation needs at least two images, {args.data} has {len(test_set)}.")
    damage = _open_damage(args, protocol, test_set)
    with state.main_process_first():
        weights = args.lpips or fetch()
    measures = Measures(pipe, protocol, test_set, damage, LPIPS(weights).to(state.device))
    facts = _facts(args, protocol, checkpoint, test_set)
    records = Records(args.output, facts, state.process_index)
    _measure(measures, records, args.baseline, state)
    state.wait_for_everyone()
    return _write(measures, records, args, facts, checkpoint) if state.is_main_process else ""


def _open_damage(args: argparse.Namespace, protocol: Protocol, test_set: TestSet) -> Damage:
    kind = damage_of(protocol.task)
    if not kind.uses_masks:
        return kind(protocol, test_set)
    path = args.masks or Path(args.data) / str(protocol.masks)
    return kind(protocol, test_set, load_masks(path, "test", test_set.size))


def _facts(args: argparse.Namespace, protocol: Protocol, checkpoint: str, test_set: TestSet) -> dict:
    """What decides the values."""
    return {
        "preset": args.preset,
        "checkpoint": Path(checkpoint).name,
        "weights": {f"{p.parent.name}/{p.name}": sha256(p) for p in _weights(checkpoint)},
        "data": {p.name: sha256(p) for p in _data_files(args, protocol)},
        "images": len(test_set),
        "size": test_set.size,
        "baselines": args.baseline,
        "versions": package_versions(),
    }


def _weights(checkpoint: str) -> list[Path]:
    embedded = checkpoint in embedded_checkpoints()
    folder = CHECKPOINTS / checkpoint if embedded else Path(checkpoint)
    return sorted(folder.rglob("*.safetensors")) + embedded * [CHECKPOINTS / ENCODER / "model.safetensors"]


def _data_files(args: argparse.Namespace, protocol: Protocol) -> list[Path]:
    names = [*protocol.files, *([protocol.masks] if protocol.masks else [])]
    files = [Path(args.data) / n for n in names] or [Path(args.data), *([args.masks] if args.masks else [])]
    return [f for f in files if f.is_file()]


def _measure(measures: Measures, records: Records, baselines: list[str], state: PartialState) -> None:
    """Measures what has not been measured; each process takes its share of the images."""
    quiet = not state.is_main_process
    measures.prepare(lambda indices: tqdm(indices, desc="embeddings", disable=quiet))
    prompts = [sentences[0] for sentences in measures.conditions.sentences]
    fillers = [diffusers_filler(name.removeprefix("diffusers:"), prompts) for name in baselines]
    measures.damage.fillers.update(fillers)
    count = len(measures.test_set)
    done = {record["index"] for record in records.read()}
    state.wait_for_everyone()  # none adds before all have read
    curve_images = set(spread(list(range(count)), CURVE_IMAGES))
    left = [i for i in range(count) if i not in done][state.process_index :: state.num_processes]
    for index in tqdm(left, desc="images", disable=quiet):
        values, embeddings = measures.measure(index)
        values += effects.text_effect(measures, index) + effects.color_words(measures, index)
        if index in curve_images:
            values += effects.curves(measures, index)
        records.add(index, values, embeddings)


def _write(measures: Measures, records: Records, args: argparse.Namespace, facts: dict, checkpoint: str) -> str:
    found, folder = records.read(), args.output
    encoder = measures.pipe.config.encoder or "the checkpoint's encoder"
    grouped = report.group(found)
    tables = report.tables(measures.protocol, grouped, unpack(found), encoder)
    text = "\n\n".join(markdown(table) for table in tables) + "\n"
    with replacing(folder / "tables.md") as temporary:
        temporary.write_text(text)
    limit = "" if args.limit is None else f" --limit {args.limit}"
    command = f"textir evaluate --preset {args.preset} --data DIR{limit} --output results"
    config = {key: facts[key] for key in ("preset", "images", "size", "baselines")}
    files = _weights(checkpoint), _data_files(args, measures.protocol)
    write_report(folder / "report.json", Path(checkpoint).name, tables, *files, command, config)
    draw_curves(tables, folder / "curves.png")
    draw_grids(measures, grouped, folder)
    return text
