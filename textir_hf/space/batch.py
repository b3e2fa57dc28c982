"""Several files restored with one sentence, as a ZIP."""

import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from textir_hf.space import actions, networks, progress, results, storage, texts
from textir_hf.tasks import Task

MAX_FILES = 50


def batch(
    task: Task, paths: Sequence[Path], guidance: actions.Guidance, arguments: dict
) -> tuple[dict | None, list[str]]:
    """Restores several files with the same settings."""
    if not 1 <= len(paths) <= MAX_FILES:
        raise ValueError(texts.FILES.format(MAX_FILES, len(paths)))
    arguments, failed, names = actions.check_arguments(task, arguments), [], set()
    pipe = networks.load(networks.offered()[task.name][0])
    archive = storage.new_path(f"textir-{task.command}.zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for i, path in enumerate(paths):
            progress.current().next_image(i, len(paths))
            try:
                image = actions.read_image(path)
                actions.check_size(image, arguments)
                result = actions.restore_one(
                    partial(pipe, image=image, **arguments), guidance, guidance.beta, guidance.seed
                )
            except ValueError as error:
                failed.append(f"{path.name}: {error}")
                continue
            name = path.stem if path.stem not in names else f"{path.stem}-{i + 1}"
            while name in names:
                name += f"-{i + 1}"
            names.add(name)
            saved = results.save(result, name)
            file.write(saved, saved.name)
            saved.unlink()
    return (results.as_file(archive) if names else None), failed
