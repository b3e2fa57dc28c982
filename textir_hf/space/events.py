"""From what the page's components hold to actions and back."""

import time
from collections.abc import Callable, Iterator
from functools import partial

import gradio as gr

from textir_hf.imaging.files import read_settings
from textir_hf.space import actions, masks, networks, progress, results, settings, storage, texts
from textir_hf.space.components import numbered, status, status_line

QUEUED = {"concurrency_id": "networks", "concurrency_limit": 2}
PRIVATE = {"api_visibility": "private"}


def given(canvas: object, faces: object = "none") -> actions.Given:
    """What an editor holds; faces that were clicked in it go before those of the field."""
    canvas = canvas if isinstance(canvas, dict) else {}
    path = storage.given_file(canvas.get("image"), texts.NO_IMAGE)
    return actions.Given(path, canvas.get("mask"), canvas.get("regions"), canvas.get("faces") or faces)


def streamed(function: Callable, finish: Callable) -> Callable:
    """An event that shows how far it is, can be cancelled, and says what is wrong in a sentence."""

    def stream(*inputs) -> Iterator[tuple]:
        begun, idle = time.monotonic(), gr.Button(visible=False)
        work = progress.watched(partial(function, *inputs))
        try:
            while True:
                try:
                    at = next(work)
                except StopIteration as end:
                    value, sentence = finish(end.value, inputs[0])
                    done = texts.DONE.format(progress.duration(time.monotonic() - begun))
                    yield value, status(f"{done} {sentence}".strip()), idle
                    return
                text = at.message() if networks.READY.is_set() else texts.LOADING
                yield gr.skip(), status(text, at.share()), gr.skip()
        except ValueError as error:
            yield gr.skip(), status(str(error), alert=True), idle
        except Exception as error:
            yield gr.skip(), status(texts.FAILED, alert=True), idle
            raise gr.Error(texts.FAILED) from error
        finally:
            work.close()

    return networks.gpu(stream)


def settled(shown: str) -> str | dict:
    """The status again, where the last word of the cancelled run has taken its place."""
    return status(texts.CANCELLED) if "<progress" in (shown or "") else gr.skip()


def readiness() -> Iterator[str]:
    if not networks.READY.is_set():
        yield status(texts.LOADING)
        networks.READY.wait()
    yield ""


def shown(outcome: actions.Outcome, canvas: dict) -> tuple[dict, str]:
    """The value of the canvas with the results of its run on it, and what the visitor should know."""
    return numbered(vars(outcome) | {"run": canvas.get("run")}), " ".join(outcome.notes)


def look(given: list) -> dict:
    """What the server sees in an uploaded file, for the canvas."""
    try:
        path, unreadable = given
        image = actions.read_image(storage.given_file(path, texts.NO_IMAGE))
        if unreadable:
            return {"path": str(results.save(image, "image"))}
        return {"faces": masks.faces_with_parts(image)}
    except ValueError as error:
        return {"error": str(error)}


def restore_settings(page: gr.Blocks, tabs: gr.Tabs, made: dict, canvas: gr.HTML) -> None:
    """Lets a dropped PNG, or a link, fill the fields of its tab; a link's regions are in its fragment."""
    fields = {f"{name}.{field}": box for name, tab in made.items() for field, box in tab.fields.items()}

    def values(known: dict) -> list:
        selected = gr.Tabs(selected=known["tab"]) if known.get("tab") in made else gr.skip()
        found = {f"{known.get('tab')}.{name}": value for name, value in known.items() if name != "tab"}
        return [selected, *(found.get(name, gr.skip()) for name in fields)]

    def from_file(path) -> list:
        try:
            stored = read_settings(actions.read_image(storage.given_file(path, texts.NO_IMAGE)))
            regions = numbered({"regions": results.regions(stored)}) if "regions" in stored else gr.skip()
            known = settings.read(stored)
            other = "" if "checkpoint" in known or "edit" in stored else texts.OTHER_MODEL.format(stored.get("model"))
            return [*values(known), status(f"{texts.SETTINGS_BACK}{other}"), regions]
        except (TypeError, ValueError) as error:  # the first for regions that the pipeline did not write
            said = texts.NO_SETTINGS if isinstance(error, TypeError) else str(error)
            return [*values({}), status(said, alert=True), gr.skip()]

    def from_link(request: gr.Request) -> list:
        try:
            return values(settings.from_query(dict(request.query_params)))
        except ValueError as error:
            gr.Warning(str(error))
            return values({})

    with gr.Accordion(texts.RESTORE, open=False, elem_classes="ti-settings"):
        dropped = gr.File(file_types=[".png"], type="filepath", label="PNG", elem_id="settings-file", height=120)
        said = status_line("settings-status")
    dropped.upload(from_file, dropped, [tabs, *fields.values(), said, canvas], show_progress="hidden", **PRIVATE)
    page.load(from_link, None, [tabs, *fields.values()], show_progress="hidden", queue=False, **PRIVATE)
