"""`textir evaluate`: the flags of an evaluation. Several processes: `accelerate launch -m textir_hf evaluate ...`."""

import argparse
from pathlib import Path

from textir_hf.checks import Number
from textir_hf.cli.arguments import file_path, number_type
from textir_hf.cli.checkpoints import find_folder, quieten
from textir_hf.evaluation.protocols import PRESETS, Protocol
from textir_hf.tasks import get_task


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
    command.add_argument("--masks", type=file_path, help=text)
    command.add_argument("--lpips", type=Path, help="LPIPS on AlexNet as safetensors; fetched once if left out")
    command.add_argument("--baseline", action="append", default=[], help="diffusers:ID, an inpainting pipeline")
    kind = number_type(Number(2, whole=True))
    command.add_argument("--limit", type=kind, help="at most so many images of each file, evenly spread")
    command.add_argument("--image-column", default="image", help="of the data set (%(default)s)")
    command.add_argument("--caption-column", default="text", help="of the data set (%(default)s)")
    command.add_argument("--split", default="test", help="of a data set without a split column (%(default)s)")


def _check(args: argparse.Namespace, protocol: Protocol) -> None:
    """Checks what can be known wrong before anything is loaded, and names the checkpoint."""
    args.checkpoint, masks = args.checkpoint or protocol.checkpoint, "mask_image" in get_task(protocol.task).requires
    if args.checkpoint is None:
        raise ValueError(f"--checkpoint must be given with --preset {args.preset}: a folder or Hub id.")
    find_folder(args.checkpoint)
    if masks and not (args.masks or protocol.masks):
        raise ValueError(f"--masks must be given with --preset {args.preset}: a parquet file or folder of masks.")
    if args.baseline and not masks:
        raise ValueError(f"--baseline is for tasks that repaint masks, this protocol is for {protocol.task}.")
    for name in args.baseline:
        if not name.startswith("diffusers:"):
            raise ValueError(f"--baseline must be diffusers:ID, got {name}.")
    if args.lpips and not args.lpips.is_file():
        raise ValueError(f"--lpips {args.lpips} does not exist. Leave it out to fetch it once.")
    if args.output.exists() and not args.output.is_dir():
        raise ValueError(f"The output {args.output} must be a folder, but it is a file.")


def _evaluate(args: argparse.Namespace) -> int:
    _check(args, PRESETS[args.preset])
    try:
        from textir_hf.evaluation.run import evaluate
    except ModuleNotFoundError as error:
        raise ValueError(f'{error.name} is missing: pip install "textir-hf[evaluate]".') from error

    quieten()
    tables = evaluate(args)
    if tables:  # the main process alone has them
        print(tables)
    return 0
