"""The command line of a training run: a preset, and the fields of `TrainingConfig` over it."""

import argparse

from transformers import HfArgumentParser

from training.config import GROUPS, TrainingConfig
from training.presets import PRESETS


class _Parser(HfArgumentParser):
    """Spells options with hyphens alone, where its base takes underscores too."""

    def add_argument_group(self, *args, **kwargs):
        group = super().add_argument_group(*args, **kwargs)
        add = group.add_argument
        group.add_argument = lambda *names, **options: add(*(n for n in names if "_" not in n), **options)
        return group


def parse(argv: list[str] | None = None) -> TrainingConfig:
    """The command line: a preset, and any field over it.

    Raises:
        ValueError: The preset is unknown, or a value does not fit.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--preset", help=f"one of {', '.join(PRESETS)}; with --help, its values are shown")
    known, rest = first.parse_known_args(argv)
    if known.preset is not None and known.preset not in PRESETS:
        raise ValueError(f"--preset must be one of {', '.join(PRESETS)}, got {known.preset}.")
    parser = _Parser(
        GROUPS.values(),
        description="Trains a TextIR generator for one task.",
        usage="accelerate launch -m training.train --preset PRESET --dataset DATASET --output-dir DIR [OPTION ...]",
        parents=[first],
        allow_abbrev=False,
    )
    base = PRESETS[known.preset] if known.preset else TrainingConfig()
    parser.set_defaults(**base.flat())
    values = vars(parser.parse_args(rest))
    return base.replace(**{name: values[name] for name in base.flat()})
