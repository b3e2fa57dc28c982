"""The commands that take checkpoints in and give them out: `convert`, `export`, `publish` and `publish-space`."""

import argparse
import re
from pathlib import Path

from textir_hf.cli.checkpoints import quieten
from textir_hf.hub.convert import ENCODER, convert
from textir_hf.hub.export import export_onnx
from textir_hf.hub.publish import publish
from textir_hf.imaging.faces import FACE_TEMPLATES
from textir_hf.space.publish import publish_space


def add_arguments(command: argparse.ArgumentParser, name: str) -> None:
    if name == "convert":
        command.set_defaults(run=_convert)
        command.add_argument("source", type=Path, help="net_g_*.pth")
        command.add_argument("-o", "--output", type=Path, required=True, help="the folder to write")
        text = "for a network of aligned faces: whose alignment, so that it restores faces in photos"
        command.add_argument("--face-template", choices=FACE_TEMPLATES, help=text)
    elif name == "export":
        command.set_defaults(run=_export)
        command.add_argument("checkpoint", help="embedded name, folder or Hub id")
        command.add_argument("-o", "--output", type=Path, required=True, help="the folder to write")
    else:
        command.set_defaults(run=_publish)
        if name == "publish":
            command.add_argument("folder", type=Path)
        else:
            text = "checkpoint on the Hub to offer besides"
            command.add_argument("--model", type=_repository, action="append", default=[], help=text)
        command.add_argument("--repo", type=_repository, required=True, help="owner/name")
        command.add_argument("--private", action="store_true", help="make the repository private, if it is new")
        command.add_argument("--dry-run", action="store_true", help="only check, and list what would be pushed")


def _repository(text: str) -> str:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"must be owner/name, got {text}")
    return text


def _convert(args: argparse.Namespace) -> int:
    task, digest = convert(args.source, args.output, args.face_template)
    print(f"{args.source}: SHA-256 {digest}\n{args.output}: for {task.name}, with {ENCODER}; dropped: noises.*")
    return 0


def _export(args: argparse.Namespace) -> int:
    quieten()
    for path in export_onnx(args.checkpoint, args.output):
        print(path)
    return 0


def _publish(args: argparse.Namespace) -> int:
    options = args.repo, args.dry_run, args.private
    print(publish(args.folder, *options) if args.command == "publish" else publish_space(*options, args.model))
    return 0
