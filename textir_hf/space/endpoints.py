"""The page's functions for programs: a typed, documented endpoint for each task, and for edits and comparisons.

Gradio reads signature and docstring for its API page and for MCP tools. Files come as uploads; addresses are refused.
"""

import inspect
from collections.abc import Callable
from functools import partial, wraps
from typing import Literal

import gradio as gr
from fastapi import Request
from fastapi.responses import JSONResponse
from gradio import FileData

from textir_hf.space import actions, networks, settings, storage, texts
from textir_hf.tasks import TASKS, Task
from textir_hf.tasks.base import DEGRADATIONS

_REQUIRED = inspect.Parameter.empty
_ARGUMENTS = {  # annotation, default, meaning
    "image": (FileData, _REQUIRED, "The image, an uploaded file."),
    "mask_image": (FileData, _REQUIRED, "An uploaded file of the image's size: white is repainted."),
    "prompt": (str, _REQUIRED, "What the result should show, a sentence."),
    "prompts": (list[str], _REQUIRED, "Sentences, a row of the grid for each."),
    "betas": (list[float], [0.0, 0.5, 1.0], "Text strengths, a column for each."),
    "scale": (float, 4.0, "How many times larger the result is, 2 to 64."),
    "degradation": (Literal[DEGRADATIONS], DEGRADATIONS[1], "What is taken away."),
    "mask": (FileData | None, None, "Nothing outside its white changes; needed for a region."),
    "factor": (float, 8.0, "How many times to lose resolution, 2 to 64."),
    "faces": (Literal[settings.FACES], "auto", "Faces to restore, each in a frame of its own."),
    "background": (Literal[settings.BACKGROUNDS], "restored", "What lies around the faces."),
    "feather": (float, 0.0, "Pixels inside the mask over which old content turns into new."),
    "beta": (float, 1.0, "Text strength: 1 follows the sentence alone, 0 the image alone, more exaggerates."),
    "skip_strength": (float | None, None, "Generated against given features, 0 to 1; left out, the network decides."),
    "seed": (int, 0, "Of the fine noise: the same seed gives the same result."),
    "variants": (int, 1, "Number of results, 1 to 4."),
}
_GUIDANCE = ("beta", "skip_strength", "seed", "variants")
_DEGRADING = ("degradation", "mask", "factor", "faces")


def one_sentence(function: Callable) -> Callable:
    """What the caller can put right is answered in a sentence, and what nobody foresaw as well."""

    @wraps(function)
    def wrapped(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from error
        except Exception as error:
            raise gr.Error(texts.FAILED) from error

    return wrapped


def for_task(task: Task) -> Callable:
    """The endpoint of a task, with the arguments that the task takes."""
    own = [name for name in (*task.requires, *task.accepts) if name in _ARGUMENTS and name != "mask_image"]
    mask = ["mask_image"] if "mask_image" in task.requires else []
    rows = {name: _ARGUMENTS[name] for name in ("image", *mask, "prompt", *own, *_GUIDANCE)}
    checkpoints = tuple(networks.offered()[task.name])
    kind = Literal[checkpoints] if len(checkpoints) > 1 else str  # Gradio prints a choice of one without its quotes
    rows["checkpoint"] = (kind, checkpoints[0], "The network's checkpoint.")

    def act(given: actions.Given, values: dict) -> list[dict]:
        arguments = {name: values[name] for name in own}
        return _files(actions.restore(task, given, _guidance(values), values["checkpoint"], arguments))

    return _endpoint(act, task.command, f"TextIR can {task.summary} as a sentence says.", rows)


def for_edit() -> Callable:
    def act(given: actions.Given, values: dict) -> list[dict]:
        return _files(actions.edit(values["degradation"], given, _guidance(values), values["factor"]))

    rows = {name: _ARGUMENTS[name] for name in ("image", "prompt", *_DEGRADING, *_GUIDANCE)}
    return _endpoint(act, "edit", "Takes something away from a good image and restores it.", rows)


def for_compare() -> Callable:
    def act(given: actions.Given, values: dict) -> dict | None:
        for name in ("prompts", "betas"):
            if not isinstance(values[name], list):
                raise ValueError(f"{name} must be a list, got {type(values[name]).__name__}.")
        axes = values["prompts"], values["betas"], values["seed"], values["factor"]
        return actions.compare(values["degradation"], given, *axes).grid

    rows = {name: _ARGUMENTS[name] for name in ("image", "prompts", "betas", *_DEGRADING, "seed")}
    text = "Draws a labeled grid of edits of one image, over sentences and text strengths."
    return _endpoint(act, "compare", text, rows, FileData)


def _guidance(values: dict) -> actions.Guidance:
    return actions.Guidance(values["prompt"], *(values[name] for name in _GUIDANCE))


def _files(outcome: actions.Outcome) -> list[dict]:
    return [result["after"] for result in outcome.results]


def _endpoint(act: Callable, name: str, summary: str, rows: dict, returned=list[FileData]) -> Callable:
    """A function of the arguments in `rows`, with the name, signature and docstring that Gradio shows."""

    def function(*args, **kwargs):
        values = {n: default for n, (_, default, _) in rows.items()} | dict(zip(rows, args, strict=False)) | kwargs
        path, mask = storage.given_file(values["image"], texts.NO_IMAGE), values.get("mask_image", values.get("mask"))
        mask = None if mask is None else storage.given_file(mask, texts.NO_IMAGE)
        return act(actions.Given(path, mask, faces=values.get("faces", "none")), values)

    function = one_sentence(function)
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(n, kind, default=d, annotation=a) for n, (a, d, _) in rows.items()]
    function.__signature__ = inspect.Signature(parameters, return_annotation=returned)
    function.__annotations__ = {n: a for n, (a, *_) in rows.items()} | {"return": returned}
    function.__name__ = function.__qualname__ = name
    lines = [f"    {n}: {meaning}" for n, (_, _, meaning) in rows.items()]
    function.__doc__ = f"{summary}\n\nArgs:\n" + "\n".join(lines) + "\n\nReturns:\n    PNG files with their settings."
    return function


_FILE = {"meta": {"_type": "gradio.FileData"}}
_PRINTED = {  # in generated programs, for arguments without a default
    "image": _FILE | {"path": "image.png", "url": "image.png"},
    "mask_image": _FILE | {"path": "mask.png", "url": "mask.png"},
    "prompt": "a smiling woman",
    "prompts": ["a smiling woman"],
}


async def _refuse(request: Request, error: TypeError) -> JSONResponse:
    if "/call/v2/" not in request.url.path:
        raise error
    return JSONResponse({"error": f"{error}. An image is an uploaded file; see the page's API."}, 422)


REFUSALS = {"exception_handlers": {TypeError: _refuse}}  # of the server


def register(page: gr.Blocks, concurrency: dict) -> None:
    tasks = [task for task in TASKS.values() if task.name in networks.offered()]
    for function in (*map(for_task, tasks), for_edit(), for_compare()):
        gr.api(networks.gpu(function), api_name=function.__name__, **concurrency)
        inputs = list(page.fns.values())[-1].inputs
        for block, argument in zip(inputs, inspect.signature(function).parameters, strict=True):
            if argument in _PRINTED:
                block.example_payload = partial(_PRINTED.get, argument)
