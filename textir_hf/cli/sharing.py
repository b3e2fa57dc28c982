"""The commands that take checkpoints in and give them out: `convert`, `export`, `publish` and `publish-space`."""

import argparse
import re
from pathlib import Path

from textir_hf.atomic import check_new_folder
from textir_hf.cli.checkpoints import find_folder, quieten
from textir_hf.imaging.faces import FACE_TEMPLATES
from textir_hf.tasks import TASKS


def add_commands(commands) -> None:
    """Adds the four commands."""
    command = commands.add_parser("convert", help="turn a checkpoint of the paper's authors into this format")
    command.set_defaults(run=_convert)
    command.add_argument("source", type=Path, help="net_g_*.pth")
    command.add_argument("-o", "--output", type=Path, required=True, help="the folder to write")
    command.add_argument("--task", choices=TASKS, help="refuse a checkpoint for another task")
    text = "key of the weights: params_ema, averaged (%(default)s), or params"
    command.add_argument("--weights", default="params_ema", help=text)
    text = "for a network of aligned faces: whose alignment, so that it restores faces in photos"
    command.add_argument("--face-template", choices=FACE_TEMPLATES, help=text)
    command = commands.add_parser("export", help="write a checkpoint in a format that runs without PyTorch")
    command.set_defaults(run=_export)
    command.add_argument("checkpoint", help="embedded name, folder or Hub id")
    command.add_argument("--format", choices=("onnx",), default="onnx", help="the format (%(default)s)")
    command.add_argument("-o", "--output", type=Path, required=True, help="the folder to write")
    command = commands.add_parser("publish", help="check a checkpoint's folder and push it to the Hub")
    command.set_defaults(run=_publish)
    command.add_argument("folder", type=Path)
    _add_repository(command, "only check, and list what would be pushed")
    command = commands.add_parser("publish-space", help="push the page (app.py) to the Hub as a Gradio Space")
    command.set_defaults(run=_publish_space)
    command.add_argument("--model", action="append", default=[], help="checkpoint on the Hub to offer besides")
    _add_repository(command, "only assemble, and list what would be pushed")


def _add_repository(command: argparse.ArgumentParser, dry_run: str) -> None:
    command.add_argument("--repo", type=_repository, required=True, help="owner/name")
    command.add_argument("--private", action="store_true", help="make the repository private, if it is new")
    command.add_argument("--dry-run", action="store_true", help=dry_run)


def _repository(text: str) -> str:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"must be owner/name, got {text}")
    return text


def _convert(args: argparse.Namespace) -> int:
    if not args.source.is_file():
        raise ValueError(f"{args.source} is not a file. Give the path of the authors' net_g_*.pth.")
    check_new_folder(args.output)
    from textir_hf.hub.convert import ENCODER, convert

    task, digest = convert(args.source, args.output, args.task, args.weights, args.face_template)
    print(f"{args.source}: SHA-256 {digest}\n{args.output}: for {task.name}, with {ENCODER}; dropped: noises.*")
    return 0


def _export(args: argparse.Namespace) -> int:
    find_folder(args.checkpoint)
    check_new_folder(args.output)
    from textir_hf.hub.export import export_onnx

    quieten()
    for path in export_onnx(args.checkpoint, args.output):
        print(path)
    return 0


def _publish(args: argparse.Namespace) -> int:
    from textir_hf.hub.publish import publish

    print(publish(args.folder, args.repo, args.dry_run, args.private))
    return 0


def _publish_space(args: argparse.Namespace) -> int:
    from textir_hf.space.publish import publish_space

    print(publish_space(args.repo, args.dry_run, args.private, args.model))
    return 0
