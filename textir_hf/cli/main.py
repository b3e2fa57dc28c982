"""The commands of `textir`, and its entry point. Only the module of the chosen command is imported."""

import sys
from collections.abc import Iterable
from importlib import import_module

from textir_hf.cli.arguments import Parser
from textir_hf.cli.errors import run_safely

COMMANDS = {  # name: module of `textir_hf.cli`, help
    "inpaint": ("restore", "repaint masked regions"),
    "upscale": ("restore", "upscale images 2 to 64 times"),
    "colorize": ("restore", "colorize gray images"),
    "edit": ("restore", "change good images by degrading and restoring them"),
    "sweep": ("restore", "draw a labeled grid of edits over prompts, beta, skip_strength and factor"),
    "faces": ("restore", "draw a numbered box around each face of a photo, to choose from with --faces"),
    "bulk": ("bulk", "restore a data set into parquet files; on several processes with accelerate launch -m textir_hf"),
    "convert": ("sharing", "turn a checkpoint of the paper's authors into this format"),
    "export": ("sharing", "write a checkpoint as ONNX, which runs without PyTorch"),
    "publish": ("sharing", "check a checkpoint's folder and push it to the Hub"),
    "publish-space": ("sharing", "push the page (app.py) to the Hub as a Gradio Space"),
    "evaluate": ("evaluate", "measure a checkpoint, its baselines, and the effect of the text"),
    "demo": ("demo", "restore sample images with the embedded checkpoints"),
}


def build_parser(chosen: Iterable[str] = COMMANDS) -> Parser:
    """The parser of all commands, with the flags of those chosen; each sets `run`, which returns the exit status."""
    parser = Parser(prog="textir", description="Restores damaged images to match a text prompt.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        if name in chosen:
            import_module(f"textir_hf.cli.{module}").add_arguments(command, name)
    return parser


def main(words: list[str] | None = None) -> int:
    words = sys.argv[1:] if words is None else words

    def run() -> int:
        args = build_parser(words[:1]).parse_args(words)
        return args.run(args)

    return run_safely(run)
