"""Writes the reference pages of commands and training flags, from their parsers.

python -m docs.pages          # or: make pages
python -m docs.pages --check  # fails if a page is stale
"""

import argparse
from dataclasses import asdict
from pathlib import Path

from transformers import HfArgumentParser

from model_cards.make import write
from textir_hf.cli.main import build_parser
from training.config import PRESETS, TrainingConfig

REFERENCE = Path(__file__).parent / "reference"
_HEAD = "<!-- Written by `make pages`. Do not edit. -->"


def command_page() -> str:
    """Every command with its arguments."""
    parts = [_HEAD, "# Command line", "`textir COMMAND --help` prints the same. `python -m textir_hf` equals `textir`."]
    (choices,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    for action in choices._choices_actions:
        summary = f"{action.help[0].upper()}{action.help[1:]}."
        parts += [f"## textir {action.dest}", summary, _argument_table(choices.choices[action.dest])]
    return "\n\n".join(parts) + "\n"


def training_page() -> str:
    """Every flag of the trainer, and the flags that each preset sets."""
    default, presets = asdict(TrainingConfig()), ["| preset | flags |", "|---|---|"]
    for name, preset in PRESETS.items():
        changed = {key: value for key, value in asdict(preset).items() if value != default[key] and key != "preset"}
        flags = " ".join(f"`--{key.replace('_', '-')} {_text(value)}`" for key, value in changed.items())
        presets.append(f"| `{name}` | {flags} |")
    parts = [_HEAD, "# Training", "`accelerate launch -m training.train` takes these flags."]
    flags = _argument_table(HfArgumentParser(TrainingConfig), defaults=True)
    return "\n\n".join([*parts, "## Flags", flags, "## Presets", "\n".join(presets)]) + "\n"


def _argument_table(parser: argparse.ArgumentParser, defaults: bool = False) -> str:
    lines = ["| argument | meaning |", "|---|---|"]
    for action in parser._actions:
        if action.help is argparse.SUPPRESS or isinstance(action, argparse._HelpAction):
            continue
        flags = [f for f in action.option_strings if "_" not in f]
        names = ", ".join(f"`{name}`" for name in flags or [action.metavar or action.dest])
        choices = " or ".join(f"`{c}`" for c in action.choices or ()) if flags and action.nargs != 0 else ""
        required = "required" if action.required and flags else ""
        text = (action.help or "") % (vars(action) | {"prog": parser.prog})
        default = f"default `{_text(action.default)}`" if defaults and action.default not in (None, "", False) else ""
        meaning = "; ".join(part for part in (text, choices, required, default) if part)
        lines.append(f"| {names} | {meaning.replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def _text(value) -> str:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is stale")
    pages = {REFERENCE / "commands.md": command_page(), REFERENCE / "training.md": training_page()}
    write(pages, parser.parse_args().check, "make pages")


if __name__ == "__main__":
    main()
