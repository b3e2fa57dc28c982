"""The `textir` command."""

from textir_hf.cli.main import main as main
