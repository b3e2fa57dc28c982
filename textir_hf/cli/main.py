"""The parser of the `textir` command, and its entry point."""

import argparse
from pathlib import Path

from textir_hf.cli import bulk, evaluate, faces, restore, sharing
from textir_hf.cli.arguments import Parser
from textir_hf.cli.errors import run_safely
from textir_hf.tasks import TASKS


def build_parser() -> Parser:
    """The parser of all commands; each sets `run`, which takes what was parsed and returns the exit status."""
    parser = Parser(prog="textir", description="Restores damaged images towards what a sentence says.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for task in TASKS.values():
        restore.add_task_command(commands, task)
    restore.add_edit_commands(commands)
    faces.add_command(commands)
    bulk.add_command(commands)
    sharing.add_commands(commands)
    evaluate.add_command(commands)
    demo = commands.add_parser("demo", help="restore sample images with the embedded checkpoints")
    demo.set_defaults(run=_demo)
    text = "folder for the grid (%(default)s)"
    demo.add_argument("-o", "--output", type=Path, default=Path("textir_demo"), help=text)
    return parser


def _demo(args: argparse.Namespace) -> int:
    from textir_hf.cli.demo import demo

    print(f"Grid: {demo(args.output)}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: Its arguments; those of the process if left out.

    Returns:
        0, 1 (some images failed), 2 (bad input), 70 (an error of ours), 130 (stopped) or 141 (nobody reads the output).
    """

    def run() -> int:
        args = build_parser().parse_args(argv)
        return args.run(args)

    return run_safely(run)
