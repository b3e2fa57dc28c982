"""Restores a data set into parquet files, on as many processes and nodes as Accelerate starts.

Killed, the same command goes on: rows that are in a finished file are not done again. Each row of the result holds the
image, its number in the data set, and the settings that made it.
"""

import argparse
import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import torch
from tqdm import tqdm

from textir_hf.atomic import keep_facts, replacing
from textir_hf.checks import Number
from textir_hf.cli.arguments import add_flag, number_type
from textir_hf.cli.checkpoints import load_pipeline
from textir_hf.cli.errors import Stopped, explain, say
from textir_hf.cli.jobs import check_folder, restore_each
from textir_hf.hub.data import has_own_paths, open_rows, read_image
from textir_hf.imaging.files import SETTINGS
from textir_hf.pipeline.arguments import Call
from textir_hf.pipeline.faces import check_template
from textir_hf.pipeline.pipeline import TextIRPipeline
from textir_hf.tasks import TASKS, checkpoint_folder

_PASSED = ("scale", "faces", "background", "beta", "batch_size")  # on to the pipeline
_FACTS = ("task", "dataset", "split", "image_column", "mask_column", "prompt", "prompt_column", "dtype", *_PASSED[:-1])


def add_arguments(command: argparse.ArgumentParser, name: str) -> None:
    command.set_defaults(run=bulk)
    command.description = __doc__
    command.add_argument("--task", required=True, choices=TASKS, help="what the checkpoint does")
    command.add_argument("--dataset", required=True, help="folder of images, parquet file, or Hub id")
    command.add_argument("--allow-paths", action="store_true", help="follow paths and URLs in the rows of a file")
    command.add_argument("--split", default="train", help="of the data set (%(default)s)")
    command.add_argument("--image-column", default="image", help="of the data set (%(default)s)")
    command.add_argument("--mask-column", help="column of masks, white = repaint")
    command.add_argument("--prompt", help="one sentence for all images")
    command.add_argument("--prompt-column", help="column of sentences; a list is averaged, or has one for each face")
    for argument in ("checkpoint", "scale", "faces", "background", "beta", "batch_size", "dtype"):
        add_flag(command, argument)
    command.add_argument("-o", "--output", type=Path, required=True, help="folder of the parquet files")
    kind = number_type(Number(1, 10**6, whole=True))
    command.add_argument("--shard-size", type=kind, default=200, help="images in a file (%(default)s)")


def bulk(args: argparse.Namespace) -> int:
    """Restores this process's share of the rows; returns the exit status, 1 if a row of any process failed."""
    if args.beta != 0 and (args.prompt is None) == (args.prompt_column is None):
        raise ValueError("Give either --prompt or --prompt-column, or set --beta 0.")
    passed = {name: getattr(args, name) for name in _PASSED}
    prompt = args.prompt if args.prompt_column is None else "of the row"
    Call(prompt, args.dataset, mask_image=args.mask_column, **passed).check_values(TASKS[args.task])
    check_folder(args.output)
    try:
        rows, allow_paths = _open(args)
        from accelerate import PartialState
        from datasets import disable_progress_bars
    except ModuleNotFoundError as error:
        raise ValueError(f'{error.name} is missing: pip install "textir-hf[bulk]".') from error
    disable_progress_bars()  # of writing files
    state = PartialState(cpu=not torch.accelerator.is_available())
    pipe = load_pipeline(args.checkpoint, TASKS[args.task], "auto", args.dtype).to(state.device)
    pipe.set_progress_bar_config(disable=True)
    if args.faces is not None:
        check_template(pipe.restorer.config.face_template)
    with state.main_process_first():
        restored_before = _restored(args.output)
        if restored_before and not (args.output / "bulk.json").is_file():
            raise ValueError(f"{args.output} holds results of an unknown run. Give another --output.")
        keep_facts(args.output / "bulk.json", _facts(args), state.is_main_process)
        for path in args.output.glob("failed-*.jsonl") if state.is_main_process else ():
            path.unlink()  # those rows are tried again
    state.wait_for_everyone()  # all have seen the same files before any writes another
    broken: list[str] = []
    share = _share(rows, restored_before, state.process_index, state.num_processes, broken)
    _restore_rows(pipe, args, share, allow_paths, state.process_index)
    state.wait_for_everyone()
    for text in broken:
        say(text)
    count = len(_restored(args.output) - restored_before)
    failed = sum(path.read_text(encoding="utf-8").count("\n") for path in args.output.glob("failed-*.jsonl"))
    if state.is_main_process:
        print(f"{count} rows restored to {args.output}, {len(restored_before)} restored before, {failed} failed")
    return 1 if failed or broken else 0


def _open(args: argparse.Namespace) -> tuple[Iterator[dict], bool]:
    """A stream of rows with images as their files, and whether to follow paths in them."""
    images = [column for column in (args.image_column, args.mask_column) if column]
    rows = open_rows(args.dataset, args.split, image_columns=images, streaming=True)
    columns = rows.column_names or []
    if args.prompt_column and args.prompt_column not in columns:
        raise ValueError(f"The data set has no prompt_column {args.prompt_column}, only {', '.join(columns)}.")
    iterator = iter(rows)
    first = next(iterator, None)
    if first is None:
        raise ValueError(f"The data set {args.dataset} has no rows.")
    return chain([first], iterator), args.allow_paths or has_own_paths(rows)


def _facts(args: argparse.Namespace) -> dict:
    """What decides the results: options, and the hash of weights that are here."""
    checkpoint = str(args.checkpoint or TASKS[args.task].checkpoint)
    if folder := checkpoint_folder(checkpoint):
        weights = hashlib.sha256()
        for file in sorted((folder / "restorer").glob("*.safetensors")):
            weights.update(file.read_bytes())
        checkpoint = f"{folder.name} {weights.hexdigest()}"
    facts = {name: getattr(args, name) for name in _FACTS} | {"checkpoint": checkpoint}
    return facts | ({"dataset": str(Path(args.dataset).resolve())} if Path(args.dataset).exists() else {})


def _restored(folder: Path) -> set[int]:
    """Numbers of the rows that are in finished files, in whichever process they were made."""
    import pyarrow.parquet as pq

    tables = [pq.read_table(path, columns=["row"]) for path in folder.glob("part-*.parquet")]
    return {number for table in tables for number in table["row"].to_pylist()}


def _share(rows: Iterable[dict], known: set[int], process: int, processes: int, broken: list) -> Iterator[tuple]:
    """This process's rows with their numbers, to the data set's end; or to where it breaks off, noted in `broken`."""
    number = -1
    try:
        for number, row in enumerate(rows):
            if number % processes == process and number not in known:
                yield number, row
    except Exception as error:  # of any library that reads files
        broken.append(f"The data set cannot be read beyond row {number}: {explain(error)}")


def _restore_rows(
    pipe: TextIRPipeline, args: argparse.Namespace, rows: Iterator[tuple], paths: bool, process: int
) -> None:
    """Restores rows and writes them, also where the user stops it."""
    done: list[dict] = []
    count, bar = 0, tqdm(desc=f"process {process}", unit="image", position=process, delay=2)

    def read(item: tuple) -> tuple:
        row = item[1]
        mask = read_image(row[args.mask_column], "The mask", paths) if args.mask_column else None
        prompt = row[args.prompt_column] if args.prompt_column else args.prompt
        return prompt, read_image(row[args.image_column], "The image", paths), mask

    def write(item: tuple, content: tuple, result) -> None:
        buffer, prompt = io.BytesIO(), content[0]
        result.save(buffer, "PNG")
        row = {"row": item[0], "image": {"bytes": buffer.getvalue(), "path": None}}
        row["prompt"] = " / ".join(prompt) if isinstance(prompt, list) else prompt
        done.append(row | {"settings": json.dumps(result.info[SETTINGS], ensure_ascii=False)})

    try:
        size = args.batch_size or (1 if pipe.device.type == "cpu" else 8)
        for (number, _), error in restore_each(rows, size, read, lambda c: _restore(pipe, args, c), write):
            if error is not None:
                say(f"row {number}: {explain(error)}")
                with (args.output / f"failed-{process}.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"row": number, "error": explain(error)}) + "\n")
            count += error is None
            bar.update()
            if len(done) == args.shard_size:
                _write(args.output, done)
                done.clear()
    except KeyboardInterrupt as error:
        raise Stopped(f"stopped, {count} rows done. The same command goes on.") from error
    finally:
        bar.close()
        if done:
            _write(args.output, done)


def _restore(pipe: TextIRPipeline, args: argparse.Namespace, contents: list[tuple]) -> list:
    """The results of a prompt, an image and a mask each."""
    prompts, images, masks = (list(column) for column in zip(*contents, strict=True))
    options = {name: getattr(args, name) for name in _PASSED} | {"mask_image": masks if args.mask_column else None}
    if args.faces is None or not any(isinstance(prompt, list) for prompt in prompts):
        return pipe(prompts, images, **options)[0]
    if len(contents) > 1:  # a call takes one list for the faces of all its images
        return [result for content in contents for result in _restore(pipe, args, [content])]
    return pipe(image=images, face_prompts=prompts[0], **options)[0]


def _write(folder: Path, rows: list[dict]) -> None:
    from datasets import Dataset, Features, Image, Value

    text = Value("string")
    features = Features({"row": Value("int64"), "image": Image(), "prompt": text, "settings": text})
    with replacing(folder / f"part-{rows[0]['row']:09d}.parquet") as temporary:
        Dataset.from_list(rows, features=features).to_parquet(temporary)
