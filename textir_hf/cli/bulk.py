"""Restores a data set into parquet files, on as many processes and nodes as Accelerate starts.

Killed, the same command goes on: rows that lie in a finished file, or that failed, are not done again. Each row of the
result holds the image, its number in the data set, and the settings that made it.
"""

import argparse
import hashlib
import io
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from textir_hf.checks import Number
from textir_hf.cli.arguments import add_flag, number_type, sentence
from textir_hf.cli.batches import in_batches, restore_each
from textir_hf.cli.checkpoints import DTYPES, choose_checkpoint, find_folder, load_pipeline
from textir_hf.cli.errors import Stopped, explain, say
from textir_hf.cli.shards import Shards
from textir_hf.hub.data import has_own_paths, open_rows, read_image
from textir_hf.imaging.files import SETTINGS
from textir_hf.pipeline.arguments import check_task_arguments
from textir_hf.tasks import TASKS, Task

if TYPE_CHECKING:
    from textir_hf.pipeline.pipeline import TextIRPipeline

_FACTS = [
    "task",
    "dataset",
    "split",
    "image_column",
    "mask_column",
    "prompt",
    "prompt_column",
    "scale",
    "faces",
    "background",
    "beta",
    "dtype",
]
_LAUNCH = "accelerate launch -m textir_hf bulk"


def add_command(commands) -> None:
    """Adds the command."""
    summary = f"restore a data set into parquet files; several processes: {_LAUNCH}"
    command = commands.add_parser("bulk", help=summary, description=__doc__)
    command.set_defaults(run=bulk)
    command.add_argument("--task", required=True, choices=TASKS, help="what the checkpoint does")
    text = "embedded name, folder or Hub id; the task's embedded one if left out"
    command.add_argument("--checkpoint", help=text)
    command.add_argument("--dataset", required=True, help="folder of images, parquet file, or Hub id")
    command.add_argument("--allow-paths", action="store_true", help="follow paths and URLs in the rows of a file")
    command.add_argument("--split", default="train", help="of the data set (%(default)s)")
    command.add_argument("--image-column", default="image", help="of the data set (%(default)s)")
    command.add_argument("--mask-column", help="column of masks, white = repaint")
    command.add_argument("--prompt", type=sentence, help="one sentence for all images")
    command.add_argument("--prompt-column", help="column of sentences; a list is averaged, or has one for each face")
    for argument in ("scale", "faces", "beta", "batch_size"):
        add_flag(command, argument)
    command.add_argument("--background", choices=["restored"], help="restore what lies around the faces, too")
    command.add_argument("--dtype", choices=DTYPES, default="float32", help="of the network (%(default)s)")
    command.add_argument("-o", "--output", type=Path, required=True, help="folder of the parquet files")
    kind = number_type(Number(1, 10**6, whole=True))
    command.add_argument("--shard-size", type=kind, default=200, help="images in a file (%(default)s)")


def bulk(args: argparse.Namespace) -> int:
    """Restores this process's share of the rows; returns the exit status, 1 if a row failed now or before.

    Raises:
        ValueError: Options, data set or checkpoint do not fit, or the output folder holds another run.
        Stopped: The user stopped it; what was done is written.
    """
    task = TASKS[args.task]
    _check_options(args, task)
    checkpoint = choose_checkpoint(args.checkpoint, task)
    try:
        rows, own_paths = _open(args)
        from accelerate import PartialState
        from datasets import disable_progress_bars
    except ModuleNotFoundError as error:
        raise ValueError(f'{error.name} is missing: pip install "textir-hf[bulk]".') from error
    import torch
    from tqdm import tqdm

    from textir_hf.pipeline.faces import check_template

    disable_progress_bars()  # of writing files
    state = PartialState(cpu=not torch.accelerator.is_available())
    pipe = load_pipeline(checkpoint, state.device.type, args.dtype).to(state.device)
    if args.faces is not None:
        check_template(pipe.restorer.config.face_template)
    pipe.set_progress_bar_config(disable=True)
    facts = {name: getattr(args, name) for name in _FACTS} | {"checkpoint": _identity(checkpoint)}
    if Path(args.dataset).exists():
        facts["dataset"] = str(Path(args.dataset).resolve())
    with state.main_process_first():
        shards = Shards(args.output, facts, state.process_index)
        done_before, failed_before = shards.finished(), shards.failed()
    state.wait_for_everyone()  # all have seen the same files before any writes another
    share = _Share(rows, done_before | failed_before, state.process_index, state.num_processes)
    read = partial(read_image, paths=own_paths or args.allow_paths)
    with tqdm(desc=f"process {state.process_index}", unit="image", position=state.process_index, delay=2) as bar:
        _restore_rows(pipe, args, iter(share), shards, read, bar.update)
    state.wait_for_everyone()
    if share.error is not None:
        say(f"The data set {args.dataset} cannot be read beyond row {share.number}: {explain(share.error)}")
    done, failed = shards.finished() - done_before, shards.failed() - failed_before
    if state.is_main_process:
        print(_summary(args.output, len(done), len(done_before), len(failed), len(failed_before)))
    return 1 if failed or failed_before or share.error is not None else 0


class _Share:
    """This process's rows with their numbers, to the data set's end, or to where it cannot be read.

    Attributes:
        number: Of the last row that was read, by any process.
        error: What ended the rows too early, or None.
    """

    def __init__(self, rows: Iterator[dict], known: set[int], process: int, processes: int) -> None:
        self.rows, self.known, self.process, self.processes = rows, known, process, processes
        self.number, self.error = -1, None

    def __iter__(self) -> Iterator[tuple[int, dict]]:
        try:
            for row in self.rows:
                self.number += 1
                if self.number % self.processes == self.process and self.number not in self.known:
                    yield self.number, row
        except Exception as error:  # of any library that reads files
            self.error = error


def _summary(folder: Path, done: int, before: int, failed: int, failed_before: int) -> str:
    text = f"{done} rows restored to {folder}, {before} restored before, {failed} failed"
    if failed_before:
        text += f"; {failed_before} failed before and were left out: delete failed-*.jsonl there to try them again"
    return text


def _restore_rows(
    pipe: "TextIRPipeline", args: argparse.Namespace, rows: Iterator, shards: Shards, read: Callable, tick: Callable
) -> None:
    """Restores rows and writes them, also where the user stops it."""
    done, size, count_done = [], args.batch_size or (1 if pipe.device.type == "cpu" else 8), 0
    try:
        for batch in in_batches(rows, size):
            for number, result in _restore_batch(pipe, args, batch, read):
                if isinstance(result, Exception):
                    text = explain(result)
                    shards.add_failure(number, text)
                    print(f"textir: row {number}: {text}", file=sys.stderr)
                else:
                    done.append(result)
                    count_done += 1
                tick()
                if len(done) == args.shard_size:
                    shards.write(done)
                    done = []
    except KeyboardInterrupt as error:
        raise Stopped(f"stopped, {count_done} rows done. The same command goes on.") from error
    finally:
        if done:
            shards.write(done)


def _restore_batch(
    pipe: "TextIRPipeline", args: argparse.Namespace, batch: list, read: Callable
) -> Iterator[tuple[int, Any]]:
    """Numbers of rows, each with its row of the result or with what went wrong."""
    items = []
    for number, row in batch:
        try:
            mask = read(row[args.mask_column], "The mask") if args.mask_column else None
            prompt = row[args.prompt_column] if args.prompt_column else args.prompt
            items.append((number, prompt, read(row[args.image_column]), mask))
        except Exception as error:
            yield number, error

    def restore(items: list) -> list[Image.Image]:
        _, prompts, images, masks = (list(column) for column in zip(*items, strict=True))
        options = {name: getattr(args, name) for name in ("scale", "faces", "background", "beta", "batch_size")}
        options["mask_image"] = masks if args.mask_column else None
        if args.faces is None or not any(isinstance(prompt, list) for prompt in prompts):
            return pipe(prompts, images, **options)[0]
        if len(items) > 1:  # a call takes one list for the faces of all its images
            return [result for item in items for result in restore([item])]
        return pipe(image=images, face_prompts=prompts[0], **options)[0]

    for (number, prompt, *_), result in restore_each(restore, items) if items else ():
        yield number, result if isinstance(result, Exception) else _result_row(number, prompt, result)


def _result_row(number: int, prompt, result: Image.Image) -> dict:
    content = io.BytesIO()
    result.save(content, "PNG")
    text = " / ".join(prompt) if isinstance(prompt, list) else prompt
    settings = json.dumps(result.info[SETTINGS], ensure_ascii=False)
    return {"row": number, "image": {"bytes": content.getvalue(), "path": None}, "prompt": text, "settings": settings}


def _open(args: argparse.Namespace) -> tuple[Iterator[dict], bool]:
    """A stream of rows with images as their files, and whether paths in them are safe.

    Raises:
        ValueError: There is no such data set, split or column, or no row.
    """
    images = [column for column in (args.image_column, args.mask_column) if column]
    rows = open_rows(args.dataset, args.split, image_columns=images, streaming=True)
    columns = rows.column_names or []
    if args.prompt_column and args.prompt_column not in columns:
        raise ValueError(f"--prompt-column {args.prompt_column} is not there, the data has {', '.join(columns)}.")
    iterator = iter(rows)
    first = next(iterator, None)
    if first is None:
        raise ValueError(f"The data set {args.dataset} has no rows.")
    return chain([first], iterator), has_own_paths(rows)


def _check_options(args: argparse.Namespace, task: Task) -> None:
    if args.beta != 0 and (not args.prompt or not args.prompt.strip()) == (not args.prompt_column):
        raise ValueError("Give either --prompt or --prompt-column, or set --beta 0.")
    own = {name: getattr(args, name) for name in ("scale", "faces", "background")}
    check_task_arguments(task, {"mask_image": args.mask_column} | own)
    if args.output.exists() and not args.output.is_dir():
        raise ValueError(f"The output {args.output} must be a folder, but it is a file.")


def _identity(checkpoint: str) -> str:
    """What tells a checkpoint from others: its name, and the hash of its network's weights where they are here."""
    folder = find_folder(checkpoint)
    if folder is None:
        return checkpoint
    weights = hashlib.sha256()
    for path in sorted((folder / "restorer").glob("*.safetensors")):
        weights.update(path.read_bytes())
    return f"{folder.name} {weights.hexdigest()}"
