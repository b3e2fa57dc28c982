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
_ARGUMENTS = {  # annotation, default, meaning; in place of an argument of the pipeline's call
    "image": (FileData, _REQUIRED, "The image, an uploaded file."),
    "mask_image": (FileData, _REQUIRED, "An uploaded file of the image's size: white is repainted."),
    "prompt": (str, _REQUIRED, "What the result should show, a sentence."),
    "scale": (float, 4.0, "How many times larger the result is, 2 to 64."),
    "faces": (Literal[settings.FACES], "auto", "Faces to restore, each in a frame of its own."),
    "background": (Literal[settings.BACKGROUNDS], "restored", "What lies around the faces."),
    "feather": (float, 0.0, "Pixels inside the mask over which old content turns into new."),
    "beta": (float, 1.0, "Text strength: 1 follows the sentence alone, 0 the image alone, more exaggerates."),
    "skip_strength": (float | None, None, "Generated against given features, 0 to 1; left out, the network decides."),
    "seed": (int, 0, "Of the fine noise: the same seed gives the same result."),
    "variants": (int, 1, "Number of results, 1 to 4."),
}
_GUIDANCE = ("beta", "skip_strength", "seed", "variants")


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


def _files(outcome: actions.Outcome) -> list[dict]:
    return [result["after"] for result in outcome.results]


def _given(image, mask=None, faces="none") -> actions.Given:
    path = storage.given_file(image, texts.NO_IMAGE)
    return actions.Given(path, None if mask is None else storage.given_file(mask, texts.NO_IMAGE), None, faces)


def for_task(task: Task) -> Callable:
    """The endpoint of a task, with the arguments that the task takes."""
    own = [n for n in (*task.requires, *task.accepts) if n in _ARGUMENTS]
    numbers = [n for n in own if n != "mask_image"]
    names = ["image", *(["mask_image"] if "mask_image" in own else []), "prompt", *numbers, *_GUIDANCE]
    checkpoints = tuple(networks.offered()[task.name])
    rows = {name: _ARGUMENTS[name] for name in names}
    kind = Literal[checkpoints] if len(checkpoints) > 1 else str  # Gradio prints a choice of one without its quotes
    rows["checkpoint"] = (kind, checkpoints[0], "The network's checkpoint.")

    def function(*args, **kwargs):
        given = {n: row[1] for n, row in rows.items()} | dict(zip(rows, args, strict=False)) | kwargs
        guidance = actions.Guidance(given["prompt"], *(given[n] for n in _GUIDANCE))
        arguments = {n: given[n] for n in numbers}
        image = _given(given["image"], given.get("mask_image"))
        return _files(actions.restore(task, image, guidance, given["checkpoint"], arguments))

    return _typed(one_sentence(function), task.command, f"TextIR can {task.summary} as a sentence says.", rows)


def for_edit() -> Callable:
    """The endpoint that takes something away from a good image and restores it."""
    rows = {"image": _ARGUMENTS["image"], "prompt": _ARGUMENTS["prompt"]} | _degrading()
    rows |= {name: _ARGUMENTS[name] for name in _GUIDANCE}

    def function(image, prompt, degradation=DEGRADATIONS[1], mask=None, factor=8.0, faces="auto", *guidance, **more):
        guidance = actions.Guidance(prompt, *guidance, **more)
        return _files(actions.edit(degradation, _given(image, mask, faces), guidance, factor))

    return _typed(one_sentence(function), "edit", "Takes something away from a good image and restores it.", rows)


def for_compare() -> Callable:
    """The endpoint that edits an image under several sentences and text strengths."""
    rows = {
        "image": _ARGUMENTS["image"],
        "prompts": (list[str], _REQUIRED, "Sentences, a row of the grid for each."),
        "betas": (list[float], [0.0, 0.5, 1.0], "Text strengths, a column for each."),
    }
    rows |= _degrading() | {"seed": _ARGUMENTS["seed"]}

    def function(image, prompts, betas=None, degradation="factor", mask=None, factor=8.0, faces="auto", seed=0):
        betas = [0.0, 0.5, 1.0] if betas is None else betas
        for name, values in (("prompts", prompts), ("betas", betas)):
            if not isinstance(values, list):
                raise ValueError(f"{name} must be a list, got {type(values).__name__}.")
        return actions.compare(degradation, _given(image, mask, faces), prompts, betas, seed, factor).grid

    text = "Draws a labeled grid of edits of one image, over sentences and text strengths."
    return _typed(one_sentence(function), "compare", text, rows, FileData)


def _degrading() -> dict:
    return {
        "degradation": (Literal[DEGRADATIONS], DEGRADATIONS[1], "What is taken away."),
        "mask": (FileData | None, None, "Nothing outside its white changes; needed for a region."),
        "factor": (float, 8.0, "How many times to lose resolution, 2 to 64."),
        "faces": _ARGUMENTS["faces"],
    }


def _typed(function: Callable, name: str, summary: str, rows: dict, returned=list[FileData]) -> Callable:
    """Gives a function the name, signature and docstring that Gradio shows."""

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(n, kind, default=d, annotation=a) for n, (a, d, _) in rows.items()]
    function.__signature__ = inspect.Signature(parameters, return_annotation=returned)
    function.__annotations__ = {n: a for n, (a, *_) in rows.items()} | {"return": returned}
    function.__name__ = function.__qualname__ = name
    lines = [f"    {n}: {meaning}" for n, (_, _, meaning) in rows.items()]
    function.__doc__ = f"{summary}\n\nArgs:\n" + "\n".join(lines) + "\n\nReturns:\n    PNG files with their settings."
    return function


def _sent(name: str) -> dict:
    """A file as Gradio's generated programs upload it."""
    return {"path": name, "url": name, "meta": {"_type": "gradio.FileData"}}


_SENTENCE = "a smiling woman"
_PRINTED = {  # in generated programs, for arguments without a default
    "image": _sent("image.png"),
    "mask_image": _sent("mask.png"),
    "prompt": _SENTENCE,
    "prompts": [_SENTENCE],
}


async def _refuse(request: Request, error: TypeError) -> JSONResponse:
    """Answers a call that lacks an argument."""
    if "/call/v2/" not in request.url.path:
        raise error
    return JSONResponse({"error": f"{error}. An image is an uploaded file; see the page's API."}, 422)


REFUSALS = {"exception_handlers": {TypeError: _refuse}}  # of the server


def register(page: gr.Blocks, concurrency: dict) -> None:
    """Adds the endpoints to the page that is being built."""
    tasks = [task for task in TASKS.values() if task.name in networks.offered()]
    functions = {task.command: for_task(task) for task in tasks} | {"edit": for_edit(), "compare": for_compare()}
    for name, function in functions.items():
        gr.api(networks.gpu(function), api_name=name, **concurrency)
        inputs = list(page.fns.values())[-1].inputs
        for block, argument in zip(inputs, inspect.signature(function).parameters, strict=True):
            if argument in _PRINTED:
                block.example_payload = partial(_PRINTED.get, argument)
