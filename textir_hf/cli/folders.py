"""Restoring all images of a folder: whatever happens to one is counted and named, and the others are done."""

import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from textir_hf.cli.batches import in_batches, restore_each
from textir_hf.cli.errors import Stopped, explain, say, speaking
from textir_hf.cli.jobs import Job
from textir_hf.cli.steps import Item, Steps

_DELAY = 2  # seconds of work for which no bar is shown


def restore_folder(steps: Steps, checkpoint: str, jobs: list[Job]) -> int:
    """Restores images, several in a call where the batch size allows; returns the exit status.

    Raises:
        ValueError: The output folder cannot be made, or the checkpoint not be loaded.
        Stopped: The user stopped it.
    """
    args = steps.args
    _check_folder(args.output)
    left = [job for job in jobs if not (args.skip_existing and job.output.exists())]
    failed, done = 0, len(jobs) - len(left)
    try:
        if left:
            device = steps.load(checkpoint, disable=True)
            size = args.batch_size or (1 if device.type == "cpu" else 8)
            with tqdm(total=len(left), desc=args.command, unit="image", delay=_DELAY) as bar:
                for batch in in_batches(left, size):
                    for job, error in _restore_batch(steps, batch, partial(_say, bar)):
                        done, failed = done + (error is None), failed + (error is not None)
                        if error is not None:
                            name_file(job.image, explain(error), partial(_say, bar))
                        bar.update()
    except KeyboardInterrupt as error:
        raise Stopped(f"stopped, {done} of {len(jobs)} done. Go on with --skip-existing.") from error
    before = f", {len(jobs) - len(left)} of them before" if len(left) < len(jobs) else ""
    print(f"{done} of {len(jobs)} images restored to {args.output}{before}")
    return 1 if failed else 0


def _restore_batch(
    steps: Steps, jobs: list[Job], write: Callable[[str], None]
) -> Iterator[tuple[Job, Exception | None]]:
    """Reads, restores and writes images; gives each with what went wrong, if anything did."""
    items = []
    for job in jobs:
        try:
            job.output.parent.mkdir(parents=True, exist_ok=True)
            with speaking(partial(name_file, job.image, write=write)):
                items.append(steps.read(job))
        except Exception as error:
            yield job, error
    for item, result in restore_each(steps.restore, items) if items else ():
        yield item.job, result if isinstance(result, Exception) else _try_to_write(steps, item, result)


def _try_to_write(steps: Steps, item: Item, result: Image.Image) -> Exception | None:
    try:
        steps.write(item, result)
    except Exception as error:
        return error
    return None


def name_file(path: Path, text: str, write: Callable[[str], None] = say) -> None:
    """Prints a line about a file, whose path stands in it once."""
    write(text if str(path) in text else f"{path}: {text}")


def _say(bar: tqdm, text: str) -> None:
    """Prints a line above a bar; `tqdm.write` would show it before its time."""
    if bar.format_dict["elapsed"] < _DELAY:
        say(text)
    else:
        tqdm.write(f"textir: {text}", file=sys.stderr)


def _check_folder(folder: Path) -> None:
    """Checks that results can be written to a folder, or that it can be made."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ValueError(f"The output folder {folder} cannot be made, since {there} is a file. Choose another.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"No permission to write into {there}. Choose another output folder.")
