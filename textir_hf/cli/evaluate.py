"""`textir evaluate`: the flags of an evaluation. Several processes: `accelerate launch -m textir_hf evaluate ...`."""

import argparse
from pathlib import Path

from textir_hf.checks import Number
from textir_hf.cli.arguments import file_path, number_type
from textir_hf.cli.checkpoints import quieten
from textir_hf.cli.jobs import check_folder
from textir_hf.evaluation.protocols import PRESETS, Protocol
from textir_hf.tasks import get_task


def add_arguments(command: argparse.ArgumentParser, name: str) -> None:
    command.set_defaults(run=_evaluate)
    command.add_argument("--preset", required=True, choices=PRESETS, help="the protocol")
    text = "folder of the protocol's files; for tables 1 to 3 a data set: parquet file, folder or Hub id"
    command.add_argument("--data", required=True, help=text)
    command.add_argument("-o", "--output", type=Path, help="folder for values, tables and grids")
    command.add_argument("--checkpoint", help="embedded name, folder or Hub id; the preset's if left out")
    command.add_argument("--refiner", help="checkpoint that adds detail to large fills, such as textir inpaint takes")
    text = "masks, where the preset has none: parquet file or folder"
    command.add_argument("--masks", type=file_path, help=text)
    command.add_argument("--lpips", type=Path, help="LPIPS on AlexNet as safetensors; fetched once if left out")
    text = "also measure another program's results in FOLDER; repeatable"
    command.add_argument("--against", action="append", default=[], metavar="NAME=FOLDER", help=text)
    text = "write damaged images, masks and prompts for another program to this folder, and stop"
    command.add_argument("--save-inputs", type=Path, metavar="FOLDER", help=text)
    command.add_argument(
        "--limit", type=number_type(Number(2, whole=True)), help="maximum number of images of each file, evenly spread"
    )
    command.add_argument("--image-column", default="image", help="of the data set (%(default)s)")
    command.add_argument("--caption-column", default="text", help="of the data set (%(default)s)")
    command.add_argument("--split", default="test", help="of a data set without a split column (%(default)s)")


def _check(args: argparse.Namespace, protocol: Protocol) -> None:
    """Checks the arguments before anything is loaded, and completes them."""
    args.checkpoint, masks = args.checkpoint or protocol.checkpoint, "mask_image" in get_task(protocol.task).requires
    if args.checkpoint is None:
        raise ValueError(f"--checkpoint must be given with --preset {args.preset}: a folder or Hub id.")
    if masks and not (args.masks or protocol.masks):
        raise ValueError(f"--masks must be given with --preset {args.preset}: a parquet file or folder of masks.")
    if not args.output and not args.save_inputs:
        raise ValueError("--output must be given: a folder for values, tables and grids.")
    for folder in (args.output, args.save_inputs):
        if folder:
            check_folder(folder)
    if args.lpips and not args.lpips.is_file():
        raise ValueError(f"--lpips {args.lpips} does not exist. Leave it out to fetch it once.")
    peers = [word.partition("=") for word in args.against]
    args.against = {name: Path(folder) for name, _, folder in peers if name and folder}
    if len(args.against) < len(peers) or not all(folder.is_dir() for folder in args.against.values()):
        words = ", ".join("".join(peer) for peer in peers)
        raise ValueError(f"--against must be NAME=FOLDER, each name once, and the folder must exist, got {words}.")


def _evaluate(args: argparse.Namespace) -> int:
    _check(args, PRESETS[args.preset])
    try:
        from textir_hf.evaluation.run import evaluate
    except ModuleNotFoundError as error:
        raise ValueError(f'{error.name} is missing: pip install "textir-hf[evaluate]".') from error
    quieten()
    text = evaluate(args)
    if text:  # only the main process has it
        print(text)
    return 0
