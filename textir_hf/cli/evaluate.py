"""`textir evaluate`: the flags of an evaluation. Several processes: `accelerate launch -m textir_hf evaluate ...`."""

import argparse
from pathlib import Path

from textir_hf.cli.arguments import count
from textir_hf.cli.checkpoints import quieten
from textir_hf.evaluation.protocols import PRESETS


def add_command(commands) -> None:
    """Adds the command."""
    command = commands.add_parser("evaluate", help="measure a checkpoint, its baselines, and what the text does")
    command.set_defaults(run=_evaluate)
    command.add_argument("--preset", required=True, choices=PRESETS, help="the protocol")
    text = "folder of the protocol's files; for tables 1 to 3 a data set: parquet file, folder or Hub id"
    command.add_argument("--data", required=True, help=text)
    text = "folder for values, tables, curves and grids"
    command.add_argument("-o", "--output", type=Path, required=True, help=text)
    command.add_argument("--checkpoint", help="embedded name, folder or Hub id; the preset's if left out")
    text = "masks, where the preset has none: parquet file or folder"
    command.add_argument("--masks", type=Path, help=text)
    command.add_argument("--lpips", type=Path, help="LPIPS on AlexNet as safetensors; fetched once if left out")
    command.add_argument("--baseline", action="append", default=[], help="diffusers:ID, an inpainting pipeline")
    command.add_argument("--limit", type=count, help="at most so many images of each file, evenly spread")
    command.add_argument("--image-column", default="image", help="of the data set (%(default)s)")
    command.add_argument("--caption-column", default="text", help="of the data set (%(default)s)")
    command.add_argument("--split", default="test", help="of a data set without a split column (%(default)s)")


def _evaluate(args: argparse.Namespace) -> int:
    try:
        from textir_hf.evaluation.run import evaluate
    except ModuleNotFoundError as error:
        raise ValueError(f'{error.name} is missing: pip install "textir-hf[evaluate]".') from error

    quieten()
    tables = evaluate(args)
    if tables:  # the main process alone has them
        print(tables)
    return 0
