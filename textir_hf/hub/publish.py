"""Checks a checkpoint's folder and pushes it to the Hub."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from huggingface_hub import CommitOperationAdd, HfApi, ModelCard
from PIL import Image

from textir_hf.hub.cards import name_checkpoint
from textir_hf.pipeline.pipeline import TextIRPipeline

_CARDS = Path(__file__).parent.parent.parent / "model_cards"  # in a source checkout
_LINK = re.compile(r"\]\(((?:samples|results)/[\w.-]+)\)")
_PICKLES = (".bin", ".ckpt", ".pkl", ".pickle", ".pt", ".pth")


def check_folder(folder: str | Path) -> dict[str, Path]:
    """Loads a checkpoint, restores one image with it, and reads its card.

    Returns the files to push, by their path in the repository; samples that an embedded one's card links to are taken
    from `model_cards/`.
    """
    folder = Path(folder)
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and ".cache" not in path.parts]
    files = {path.relative_to(folder).as_posix(): path for path in found}
    pickles = [name for name in files if Path(name).suffix in _PICKLES]
    if pickles:
        raise ValueError(f"{folder} holds the pickle {pickles[0]}. Publish safetensors alone: remove it.")
    path = folder / "README.md"
    if not path.is_file():
        raise ValueError(f"{folder} has no README.md. Write a model card: what it does, its data, its limits.")
    card = ModelCard.load(path)
    if "[More Information Needed]" in card.content:
        raise ValueError(f'{path} still says "[More Information Needed]". Fill it.')
    if missing := [key for key in ("library_name", "pipeline_tag", "tags") if not getattr(card.data, key, None)]:
        raise ValueError(f"{path} lacks {', '.join(missing)} in its metadata.")
    pipe = TextIRPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    side = pipe.restorer.config.sample_size
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8))
    pipe("an image", image.resize((side, side), Image.Resampling.BICUBIC), **pipe.task.example(side))
    links = set(_LINK.findall(path.read_text(encoding="utf-8"))) - files.keys()
    return files | {link: _CARDS / link for link in sorted(links) if (_CARDS / link).is_file()}


@contextmanager
def pushing(what: str, repo: str) -> Iterator[None]:
    """Says in one sentence why something could not be pushed."""
    try:
        yield
    except Exception as error:  # connections fail in ways that differ between versions of the client
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        remedy = "Look at the name, your token (hf auth login) and the network"
        raise ValueError(f"{what} could not be pushed to {repo} ({reason}). {remedy}.") from error


def publish(folder: str | Path, repo: str, dry_run: bool = False, private: bool = False) -> str:
    """Checks a checkpoint's folder and pushes it to `repo`, "owner/name", unless `dry_run`; says what was done.

    A new repository is `private` if asked for. Raises a ValueError for an unfit folder, or where the Hub refuses.
    """
    files = check_folder(folder)
    sizes = {name: path.stat().st_size / 1e6 for name, path in files.items()}
    lines = [f"{size:9.2f} MB  {name}" for name, size in sizes.items()]
    lines.append(f"{sum(sizes.values()):9.2f} MB  in all")
    if dry_run:
        return "\n".join([*lines, f"Nothing was pushed to {repo}: this was a dry run."])
    api = HfApi()
    with pushing(str(folder), repo):
        api.create_repo(repo, exist_ok=True, private=private or None)
        operations = [CommitOperationAdd(name, path) for name, path in files.items() if name != "README.md"]
        card = name_checkpoint(files["README.md"].read_text(encoding="utf-8"), repo)
        operations.append(CommitOperationAdd("README.md", card.encode()))
        url = api.create_commit(repo, operations, commit_message="Upload TextIR pipeline").commit_url
    return "\n".join([*lines, f"Pushed: {url}"])
