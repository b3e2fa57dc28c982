"""Checks a checkpoint's folder and pushes it to the Hub."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from huggingface_hub import HfApi, ModelCard
from PIL import Image

from textir_hf.pipeline.pipeline import TextIRPipeline

_PICKLES = (".bin", ".ckpt", ".pkl", ".pickle", ".pt", ".pth")


def check_folder(folder: str | Path) -> list[Path]:
    """Loads a checkpoint, restores one picture with it, and reads its card.

    Args:
        folder: As `save_pretrained`, `training.train` or `textir convert` wrote it, with a README.md.

    Returns:
        The files that would be pushed.

    Raises:
        ValueError: The folder is no checkpoint, does not work, holds a pickle, or its card is missing or unfinished.
    """
    folder = Path(folder)
    if not (folder / "model_index.json").is_file():
        raise ValueError(f"{folder} is no checkpoint: it has no model_index.json.")
    files = sorted(p for p in folder.rglob("*") if p.is_file() and ".cache" not in p.parts)
    pickles = [p.relative_to(folder) for p in files if p.suffix in _PICKLES]
    if pickles:
        raise ValueError(f"{folder} holds the pickle {pickles[0]}. Publish safetensors alone: remove it.")
    _check_card(folder / "README.md")
    pipe = TextIRPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    side = pipe.restorer.config.sample_size
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8))
    image = image.resize((side, side), Image.BICUBIC)
    mask = Image.new("L", image.size)
    mask.paste(255, (side // 4, side // 4, side // 2, side // 2))
    task = pipe.restorer.config.task
    options = {"inpainting": {"mask_image": mask}, "super-resolution": {"scale": 2}}.get(task, {})
    result = pipe("a picture", image, output_type="np", **options).images
    if not np.isfinite(result).all():
        raise ValueError(f"{folder} restores a picture to values that are no numbers.")
    return files


def _check_card(path: Path) -> None:
    if not path.is_file():
        raise ValueError(f"{path.parent} has no README.md. Write a model card: what it does, its data, its limits.")
    card = ModelCard.load(path)
    if "[More Information Needed]" in card.content:
        raise ValueError(f'{path} still says "[More Information Needed]". Fill it.')
    missing = [key for key in ("library_name", "pipeline_tag", "tags") if not getattr(card.data, key, None)]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)} in its metadata.")


@contextmanager
def pushing(what: str, repo: str) -> Iterator[None]:
    """Says in one sentence why something could not be pushed.

    Raises:
        ValueError: The Hub refused, or could not be reached.
    """
    try:
        yield
    except Exception as error:  # connections fail in ways that differ between versions of the client
        raise ValueError(
            f"{what} could not be pushed to {repo} ({str(error).strip().splitlines()[0]}). Look at the name, your "
            "token (hf auth login) and the network; nothing here was changed."
        ) from error


def publish(folder: str | Path, repo: str, dry_run: bool = False, private: bool = False) -> str:
    """Checks a checkpoint's folder and pushes it.

    Args:
        folder: As for `check_folder`.
        repo: "owner/name".
        dry_run: Only check.
        private: Make the repository private, if it is new.

    Returns:
        What was done, or would be.

    Raises:
        ValueError: The folder is not fit to be published, or the Hub refuses.
    """
    folder, files = Path(folder), check_folder(folder)
    lines = [f"{p.stat().st_size / 1e6:9.2f} MB  {p.relative_to(folder)}" for p in files]
    lines.append(f"{sum(p.stat().st_size for p in files) / 1e6:9.2f} MB  in all")
    if dry_run:
        return "\n".join([*lines, f"Nothing was pushed to {repo}: this was a dry run."])
    api = HfApi()
    with pushing(str(folder), repo):
        api.create_repo(repo, exist_ok=True, private=private or None)
        url = api.upload_folder(
            repo_id=repo, folder_path=folder, ignore_patterns=[".cache/**"], commit_message="Upload TextIR pipeline"
        ).commit_url
    return "\n".join([*lines, f"Pushed: {url}"])
