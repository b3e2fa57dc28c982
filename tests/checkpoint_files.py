"""Checkpoints of the tests, changed on the disk, and how they are refused."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from textir_hf import TextIRPipeline


def edit(path: Path, **changes) -> None:
    """Changes keys of a JSON file; "a.b" is in an object, None removes."""
    content = json.loads(path.read_text())
    for key, value in changes.items():
        *outer, last = key.split(".")
        place = content
        for name in outer:
            place = place[name]
        place[last] = value
    path.write_text(json.dumps(content))


def weights(path: Path, change) -> None:
    state = load_file(path)
    change(state)
    save_file(state, path, metadata={"format": "pt"})


def refused(folder: Path, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^The checkpoint .* cannot be loaded: .*({message})"):
        TextIRPipeline.from_pretrained(folder)
