"""Restores a whole data set into parquet files, on as many processes and nodes as Accelerate starts.

    accelerate launch -m textir_hf.bulk --task colorization --dataset FOLDER_OR_ID --prompt "a flower" --output DIR

Killed, the same command goes on: pictures that lie in a finished file are not done again. Each row of the result holds
the picture, its number in the data set, and the settings that made it.
"""

import argparse
import io
import json
import sys
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from textir_hf.imaging.files import SETTINGS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", required=True, choices=("inpainting", "super-resolution", "colorization"))
    parser.add_argument("--checkpoint", help="embedded name, folder or Hub id; the task's embedded one if left out")
    parser.add_argument("--dataset", required=True, help="folder of pictures, parquet file, or Hub id")
    parser.add_argument("--split", default="train")
    parser.add_argument("--image_column", default="image")
    parser.add_argument("--mask_column", help="column of masks, white = repaint; for inpainting")
    parser.add_argument("--prompt", help="one sentence for all pictures")
    parser.add_argument("--prompt_column", help="column of sentences; a list of them is averaged")
    parser.add_argument("--scale", type=float, help="for super-resolution")
    parser.add_argument("--beta", type=float, default=1.0)
    parser.add_argument("--output", type=Path, required=True, help="folder of the parquet files")
    parser.add_argument("--shard_size", type=int, default=200, help="pictures in a file (%(default)s)")
    return parser


def open_rows(name: str, split: str):
    """A stream of rows from a folder, a parquet file or the Hub.

    Raises:
        ValueError: There is no such data set or split.
    """
    from datasets import load_dataset

    try:
        if Path(name).is_dir():
            return load_dataset("imagefolder", data_dir=name, split=split, streaming=True)
        if name.endswith(".parquet"):
            return load_dataset("parquet", data_files={split: name}, split=split, streaming=True)
        return load_dataset(name, split=split, streaming=True)
    except (FileNotFoundError, ValueError, ConnectionError) as error:
        raise ValueError(f'The data set {name} cannot be opened, or has no split "{split}": {error}') from error


def finished_rows(output: Path) -> set[int]:
    """Numbers of the rows that lie in finished files, whoever wrote them."""
    import pyarrow.parquet as pq

    return {
        n for path in output.glob("part-*.parquet") for n in pq.read_table(path, columns=["row"])["row"].to_pylist()
    }


def write_shard(rows: list[dict], output: Path) -> None:
    """Writes a parquet file under a temporary name and renames it."""
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageFeature

    features = Features(
        {"row": Value("int64"), "image": ImageFeature(), "prompt": Value("string"), "settings": Value("string")}
    )
    final = output / f"part-{rows[0]['row']:09d}.parquet"
    temporary = final.with_name(f".{final.name}.writing")
    Dataset.from_list(rows, features=features).to_parquet(temporary)
    temporary.replace(final)


def restore_row(pipe, row: dict, number: int, args: argparse.Namespace) -> dict:
    """One row of the result.

    Raises:
        ValueError: The picture, its mask or its sentence does not fit.
    """
    prompt = row[args.prompt_column] if args.prompt_column else args.prompt
    mask = _decode(row[args.mask_column]) if args.mask_column else None
    prompts = None if prompt is None else [prompt]
    result = pipe(prompts, _decode(row[args.image_column]), mask_image=mask, scale=args.scale, beta=args.beta).images[0]
    buffer = io.BytesIO()
    result.save(buffer, "PNG")
    text = " / ".join(prompt) if isinstance(prompt, list) else prompt
    settings = json.dumps(result.info[SETTINGS], ensure_ascii=False)
    return {"row": number, "image": {"bytes": buffer.getvalue(), "path": None}, "prompt": text, "settings": settings}


def _decode(value: dict) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(value["bytes"]) if value.get("bytes") else value["path"])
        image.load()
    except (OSError, SyntaxError) as error:
        raise ValueError(f"The picture cannot be decoded ({error}).") from error
    return image


def _check(args: argparse.Namespace, columns: list[str]) -> None:
    for option in ("image_column", "mask_column", "prompt_column"):
        name = getattr(args, option)
        if name is not None and name not in columns:
            raise ValueError(f"--{option} {name} is not there, the data has {', '.join(columns)}.")
    if args.beta != 0 and bool(args.prompt) == bool(args.prompt_column):
        raise ValueError("Give either --prompt or --prompt_column, or set --beta 0.")
    if (args.mask_column is None) == (args.task == "inpainting"):
        raise ValueError("--mask_column is needed for inpainting, and for nothing else.")
    if (args.scale is None) == (args.task == "super-resolution"):
        raise ValueError("--scale is needed for super-resolution, and for nothing else.")


def run(args: argparse.Namespace) -> int:
    """Restores this process's share of the rows; returns how many pictures failed."""
    from accelerate import PartialState
    from datasets import Image as ImageFeature

    from textir_hf.pipeline.pipeline import TextIRPipeline

    state = PartialState(cpu=not torch.accelerator.is_available())
    rows = open_rows(args.dataset, args.split)
    _check(args, rows.column_names or [])
    for column in (args.image_column, args.mask_column):
        rows = rows.cast_column(column, ImageFeature(decode=False)) if column else rows
    args.output.mkdir(parents=True, exist_ok=True)
    done = finished_rows(args.output)
    if state.is_main_process:
        for rest in args.output.glob(".part-*.writing"):
            rest.unlink()
    state.wait_for_everyone()  # all have seen the same files before any writes another
    pipe = TextIRPipeline.from_pretrained(args.checkpoint or f"textir-mini-{args.task}").to(state.device)
    pipe.set_progress_bar_config(disable=True)
    shard, failed = [], 0
    bar = tqdm(desc=f"process {state.process_index}", unit=" pictures", position=state.process_index)
    for number, row in enumerate(rows):
        if number % state.num_processes != state.process_index or number in done:
            continue
        try:
            shard.append(restore_row(pipe, row, number, args))
        except ValueError as error:
            failed += 1
            tqdm.write(f"row {number}: {error}", file=sys.stderr)
        bar.update()
        if len(shard) == args.shard_size:
            write_shard(shard, args.output)
            shard = []
    if shard:
        write_shard(shard, args.output)
    bar.close()
    state.wait_for_everyone()
    return failed


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns 0, 1 (some pictures failed) or 2 (bad input)."""
    try:
        return 1 if run(_parser().parse_args(argv)) else 0
    except ValueError as error:
        print(f"textir_hf.bulk: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
