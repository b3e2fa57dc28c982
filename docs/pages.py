"""Writes what the documentation takes from the code: tables of the README, the module tree, commands and flags.

python -m docs.pages          # or: make pages
python -m docs.pages --check  # fails if a page differs from what would be written
"""

import argparse
import ast
import re
from dataclasses import MISSING, asdict, fields
from pathlib import Path

from model_cards.make import REPORTS, write
from model_cards.results import HEADLINES, RIGHT_PROMPT, best_baseline, readme_table
from textir_hf.cli.main import build_parser
from textir_hf.evaluation.tables import read_tables
from textir_hf.tasks import TASKS
from training.config import TrainingConfig, flag
from training.presets import PRESETS, SOURCES

HERE = Path(__file__).parent
ROOT = HERE.parent
COMMANDS = HERE / "reference" / "commands.md"
TRAINING = HERE / "reference" / "training.md"
_INPUTS = {"mask_image": "image and mask, white = repaint", "scale": "small image and a factor", None: "gray image"}
_PACKAGES = ("textir_hf", "training")


def pages() -> dict[Path, str]:
    """The texts of all pages, by their files."""
    readme, architecture = ROOT / "README.md", HERE / "architecture.md"
    parts = {readme: {"tasks": task_table(), "results": readme_table()}, architecture: {"modules": module_tree()}}
    marked = {path: replaced(path.read_text(encoding="utf-8"), texts) for path, texts in parts.items()}
    return marked | {COMMANDS: command_page(), TRAINING: training_page()}


def replaced(page: str, texts: dict[str, str]) -> str:
    """A page with new texts between its markers.

    Raises:
        ValueError: The page lacks a marker.
    """
    for name, text in texts.items():
        pattern = rf"(<!-- {name}: .*? -->\n).*?(<!-- /{name} -->)"
        page, count = re.subn(pattern, lambda match, text=text: f"{match[1]}{text}\n{match[2]}", page, flags=re.S)
        if count != 1:
            raise ValueError(f"The page must have one pair of markers for {name}, got {count}.")
    return page


def task_table() -> str:
    """The tasks with their checkpoints, and LPIPS as the one number of quality."""
    lines = ["| task | checkpoint | input | example | LPIPS (best baseline) |", "|---|---|---|---|---|"]
    for task in TASKS.values():
        title, _ = HEADLINES[task.checkpoint]
        table = next(t for t in read_tables(REPORTS / f"{task.checkpoint}.json") if t.title.startswith(title))
        column, baseline = table.columns.index("LPIPS"), best_baseline(table)
        ours, theirs = (f"{table.rows[name][column].mean:.3f}" for name in (RIGHT_PROMPT, baseline))
        needs = _INPUTS[next(iter(task.requires), None)]
        quality = f"{table.title.split(',')[0]}: **{ours}** ({baseline}: {theirs})"
        lines.append(f"| {task.name} | `{task.checkpoint}` | {needs} | `{task.usage}` | {quality} |")
    return "\n".join(lines)


def module_tree() -> str:
    """Every module with the first line of its docstring."""
    lines = ["```text"]
    for package in _PACKAGES:
        lines += _branch(ROOT / package, 0)
    return "\n".join([*lines, "```"])


def _branch(folder: Path, depth: int) -> list[str]:
    lines = [_leaf(folder / "__init__.py", f"{folder.name}/", depth)] if (folder / "__init__.py").is_file() else []
    for path in sorted(folder.iterdir()):
        if path.is_dir() and (path / "__init__.py").is_file():
            lines += _branch(path, depth + 1)
        elif path.suffix == ".py" and not path.name.startswith("__"):
            lines.append(_leaf(path, path.name, depth + 1))
    return lines


def _leaf(path: Path, name: str, depth: int) -> str:
    summary = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0].replace("\n", " ")
    return f"{'  ' * depth + name:<30} {summary}".rstrip()


def command_page() -> str:
    """Every command with its arguments."""
    parts = ["<!-- Written by `make pages`. Do not edit. -->", "# Command line"]
    parts.append("`textir COMMAND --help` prints the same. `python -m textir_hf` is another name of `textir`.")
    choices = next(a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    summaries = {action.dest: action.help for action in choices._choices_actions}
    for name, parser in choices.choices.items():
        summary = summaries[name]
        parts += [f"## textir {name}", f"{summary[0].upper()}{summary[1:]}.", _argument_table(parser)]
    return "\n\n".join(parts) + "\n"


def _argument_table(parser: argparse.ArgumentParser) -> str:
    lines = ["| argument | meaning |", "|---|---|"]
    for action in parser._actions:
        if action.help is argparse.SUPPRESS or isinstance(action, argparse._HelpAction):
            continue
        names = ", ".join(f"`{name}`" for name in action.option_strings or [action.metavar or action.dest])
        values = ""
        if action.option_strings and action.nargs != 0:
            values = " or ".join(f"`{c}`" for c in action.choices) if action.choices else ""
        required = "required" if action.required and action.option_strings else ""
        text = (action.help or "") % (vars(action) | {"prog": parser.prog})
        meaning = "; ".join(part for part in (text, values, required) if part)
        lines.append(f"| {names} | {meaning.replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def training_page() -> str:
    """Every flag of the trainer, and what each preset sets."""
    parts = ["<!-- Written by `make pages`. Do not edit. -->", "# Training"]
    parts.append(
        "`accelerate launch -m training.train` takes these flags. Defaults are the paper's; a preset changes some."
    )
    lines = ["| flag | default | meaning |", "|---|---|---|"]
    for option in fields(TrainingConfig):
        default = option.default_factory() if option.default is MISSING else option.default
        value = " ".join(map(str, default)) if isinstance(default, list) else default
        shown = "" if value in (None, "") else f"`{value}`"
        lines.append(f"| `{flag(option.name)}` | {shown} | {option.metadata['help']} |")
    parts += ["## Flags", "\n".join(lines)]
    return "\n\n".join([*parts, "## Presets", _preset_table()]) + "\n"


def _preset_table() -> str:
    default, lines = asdict(TrainingConfig()), ["| preset | source | flags |", "|---|---|---|"]
    for name, preset in PRESETS.items():
        changed = {k: v for k, v in asdict(preset).items() if v != default[k] and k != "preset"}
        texts = {k: " ".join(map(str, v)) if isinstance(v, list) else v for k, v in changed.items()}
        flags = " ".join(f"`{flag(key)} {value}`" for key, value in texts.items())
        lines.append(f"| `{name}` | {SOURCES[name][0]} | {flags} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page differs")
    write(pages(), parser.parse_args().check, "make pages")


if __name__ == "__main__":
    main()
