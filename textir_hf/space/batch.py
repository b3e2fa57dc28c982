"""Several files restored with one sentence, as a ZIP."""

import base64
import io
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import gradio as gr

from textir_hf.space import actions, networks, progress, results, settings, storage, tabs, texts
from textir_hf.space.components import custom, read, status
from textir_hf.tasks import TASKS, Task

MAX_FILES = 50
_RECIPE = {"beta": 1.0, "skip_strength": None, "seed": 0}  # what a batch takes from a step, or else these
_AROUND = {"faces": "auto", "background": "restored"}


def batch(
    task: Task, paths: Sequence[Path], guidance: actions.Guidance, arguments: dict, checkpoint: str | None = None
) -> tuple[dict | None, list[str], list[str]]:
    """A ZIP of several files restored alike, if there are any; a line for each that failed; thumbnails as addresses."""
    if not 1 <= len(paths) <= MAX_FILES:
        raise ValueError(texts.FILES.format(MAX_FILES, len(paths)))
    arguments, failed, names, thumbnails = actions.check_arguments(task, arguments), [], set(), []
    pipe = networks.load(checkpoint or networks.offered()[task.name][0], task.name)
    archive = storage.new_path(f"textir-{task.command}.zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for i, path in enumerate(paths):
            progress.current().next_image(i, len(paths))
            try:
                image = actions.read_image(path)
                actions.check_size(image, arguments)
                call = partial(pipe, image=image, **arguments)
                result = actions.restore_one(call, guidance, guidance.beta, guidance.seed)
            except ValueError as error:
                failed.append(f"{path.name}: {error}")
                continue
            name = path.stem
            while name in names:
                name += f"-{i + 1}"
            names.add(name)
            saved, small, buffer = results.save(result, name), result.convert("RGB"), io.BytesIO()
            file.write(saved, saved.name)
            saved.unlink()
            small.thumbnail((160, 160))
            small.save(buffer, "JPEG")
            thumbnails.append("data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode())
    return (results.as_file(archive) if names else None), failed, thumbnails


class BatchTab(tabs.Tab):
    def __init__(self, canvas: gr.HTML, chosen: gr.Tabs) -> None:
        able = [t for t in TASKS.values() if t.checkpoint and "mask_image" not in t.requires]
        with gr.Tab("Batch", id="batch"):
            super().__init__("batch", None)
            files = gr.File(file_count="multiple", label=texts.BATCH_FILES, elem_id="batch-files", height=160)
            kinds = [(t.command.capitalize(), t.name) for t in able]
            task = gr.Radio(kinds, value=able[0].name, label=texts.BATCH_TASK, elem_id="batch-task")
            scale = tabs.argument("scale", "batch")
            self.add_prompt("Run")
            recipe = gr.State({})
            ready = custom({}, html_template=read("batch.html"), elem_id="batch-zip")

        takes_scale = {t.name: "scale" in t.requires for t in able}
        task.change(lambda name: gr.Slider(visible=takes_scale[name]), task, scale, **tabs.QUIET)

        def take(event: gr.EventData):
            known = settings.read(event.settings)
            name = next(t.name for t in able if t.command == known["tab"])
            said = status(texts.RECIPE.format(known["tab"]))
            return gr.Tabs(selected="batch"), name, known.get("scale", gr.skip()), known["prompt"], known, said

        canvas.select(take, None, [chosen, task, scale, self.prompt, recipe, self.status], **tabs.QUIET)

        def act(paths, name, scale, prompt, recipe):
            if not isinstance(paths, list) or name not in [t.name for t in able]:
                raise ValueError(texts.NO_IMAGE)
            given = [storage.given_file(path, texts.NO_IMAGE) for path in paths]
            recipe = recipe if TASKS[name].command == recipe.get("tab") else {}
            guidance = actions.Guidance(prompt, *(recipe.get(n, v) for n, v in _RECIPE.items()))
            given_arguments = {"scale": scale} | {n: recipe.get(n, v) for n, v in _AROUND.items()}
            known = (*TASKS[name].requires, *TASKS[name].accepts)
            arguments = {n: value for n, value in given_arguments.items() if n in known}
            return len(given), *batch(TASKS[name], given, guidance, arguments, recipe.get("checkpoint"))

        def finish(outcome, paths):
            total, archive, failed, images = outcome
            said = " ".join([texts.BATCH_DONE.format(total - len(failed), total), *failed])
            return {"archive": archive, "images": images}, said

        self.run(act, [files, task, scale, self.prompt, recipe], finish, ready)
