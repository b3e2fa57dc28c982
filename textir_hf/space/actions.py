"""What the page's buttons do: plain functions from what a visitor gave to what is shown, for `app.py` to wire up."""

import json
import os
import random
import threading
from functools import lru_cache, wraps

import gradio as gr
import numpy as np
import torch
from huggingface_hub import ModelCard
from PIL import Image

from textir_hf import TextIRPipeline, sweep
from textir_hf.imaging.files import SETTINGS, open_image, read_settings
from textir_hf.models.embedding import CHECKPOINTS
from textir_hf.space import examples, masks, texts
from textir_hf.tasks import embedded_checkpoints

try:
    from spaces import GPU  # ZeroGPU
except ImportError:

    def GPU(function):
        return function


MAX_PIXELS, MAX_RESULT, MAX_PROMPT, MAX_CELLS, KEPT = 24e6, 16e6, 500, 24, 12
LEAST_NOISE = 0.05  # below, variants cannot be told apart
LOCK = threading.Lock()


@lru_cache(maxsize=8)
def _loaded(name: str) -> TextIRPipeline:
    pipe = TextIRPipeline.from_pretrained(name)
    return pipe.to("cuda") if torch.cuda.is_available() else pipe


def load(name: str) -> TextIRPipeline:
    """A checkpoint that is offered, loaded once for all visitors."""
    if name not in [n for names in offered().values() for n in names]:
        raise ValueError(f"The checkpoint must be one of those on offer, got {name}.")
    with LOCK:
        return _loaded(name)


@lru_cache
def offered() -> dict[str, list[str]]:
    """Names of the checkpoints by task: the embedded ones, and the operator's TEXTIR_CHECKPOINTS (ids or folders)."""
    names = {name.removeprefix("textir-mini-"): [name] for name in embedded_checkpoints()}
    for name in os.environ.get("TEXTIR_CHECKPOINTS", "").replace(",", " ").split():
        names[_loaded(name).restorer.config.task].append(name)
    return names


def said_plainly(function):
    """What a visitor can put right is shown as one sentence."""

    @wraps(function)
    def wrapped(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from error

    return wrapped


def check_prompt(prompt: str | None, beta: float, pipe: TextIRPipeline) -> str | None:
    """The sentence, if it can be read."""
    prompt = " ".join((prompt or "").split())
    if not prompt and beta != 0:
        raise ValueError(texts.NO_PROMPT)
    if len(prompt) > MAX_PROMPT:
        raise ValueError(texts.LONG_PROMPT.format(len(prompt), MAX_PROMPT))
    limit = pipe.tokenizer.model_max_length
    if len(pipe.tokenizer(prompt, verbose=False)["input_ids"]) > limit:
        gr.Warning(texts.CUT_PROMPT.format(limit * 2 // 3))
    return prompt or None


def read_image(path: str | None) -> Image.Image:
    """An uploaded file as a picture."""
    if path is None:
        raise ValueError(texts.NO_IMAGE)
    try:
        return open_image(path, int(MAX_PIXELS))
    except ValueError as error:  # without the server's own path
        raise ValueError(str(error).replace(str(path), "The file")) from error


def read_editor(editor: dict | None, mask_file: str | None, invert: bool, grow: float):
    """ImageInput and mask of an editor, a mask file and the mask's settings."""
    if not editor or editor["background"] is None or editor["background"].getbbox() is None:
        raise ValueError(texts.NO_IMAGE)
    image = editor["background"]
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(texts.LARGE.format(image.width * image.height / 1e6, MAX_PIXELS / 1e6))
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
        image = image.convert("RGB")
    file = None if mask_file is None else read_image(mask_file)
    if file is not None and file.size != image.size:
        raise ValueError(texts.MASK_SIZE.format(*image.size, *file.size))
    return image, masks.combine(masks.painted(editor["layers"], image.size), file, invert, grow)


def check_mask(mask: np.ndarray) -> Image.Image:
    """A mask with something to fill and something to go by."""
    if not mask.any():
        raise ValueError(texts.NO_MASK)
    if mask.all():
        raise ValueError(texts.ALL_MASKED)
    return Image.fromarray(mask)


def restore(call, pipe: TextIRPipeline, before: Image.Image, seed: float, variants: int):
    """Runs `call(generator=)` for every variant; returns the slider's pair and the gallery."""
    noise = (abs(v.item()) for n, v in pipe.restorer.named_parameters() if n.endswith("noise_strength"))
    learnt = max(noise) >= LEAST_NOISE
    if variants > 1 and not learnt:
        gr.Info(texts.SAME)
    results = []
    for i in range(int(variants) if learnt else 1):
        image = call(generator=torch.Generator().manual_seed(int(seed) + i)).images[0]
        image.info[SETTINGS] = json.dumps(image.info[SETTINGS], ensure_ascii=False)
        results.append((image, f"seed {int(seed) + i}"))
    shown = results[0][0].convert("RGB")
    return (before.convert("RGB").resize(shown.size, Image.BICUBIC), shown), results


def options_of(prompt, beta, own, strength, pipe) -> dict:
    """What all tasks take."""
    return {"prompt": check_prompt(prompt, beta, pipe), "beta": beta, "strength": None if own else strength}


@GPU
@said_plainly
def fill(
    editor, prompt, beta=1, own=True, strength=0.5, seed=0, variants=1, checkpoint=embedded_checkpoints()[0],
    mask_file=None, invert=False, grow=0, feather=0, face=False, progress=gr.Progress(track_tqdm=True),
):  # fmt: skip
    """Fills what is masked."""
    image, mask = read_editor(editor, mask_file, invert, grow)
    mask, pipe = check_mask(mask), load(checkpoint)
    options = options_of(prompt, beta, own, strength, pipe) | {"feather": feather, "box": "face" if face else None}
    return restore(
        lambda generator: pipe(image=image, mask_image=mask, generator=generator, **options),
        pipe,
        image,
        seed,
        variants,
    )


@GPU
@said_plainly
def enlarge(
    image, prompt, scale=4, beta=1, own=True, strength=0.5, seed=0, variants=1, checkpoint=embedded_checkpoints()[1],
    face=False, progress=gr.Progress(track_tqdm=True),
):  # fmt: skip
    """Enlarges a picture."""
    image, pipe = read_image(image), load(checkpoint)
    if image.width * image.height * scale**2 > MAX_RESULT:
        raise ValueError(texts.LARGE.format(image.width * image.height * scale**2 / 1e6, MAX_RESULT / 1e6))
    options = options_of(prompt, beta, own, strength, pipe) | {"scale": scale, "box": "face" if face else None}
    return restore(lambda generator: pipe(image=image, generator=generator, **options), pipe, image, seed, variants)


@GPU
@said_plainly
def color(
    image, prompt, beta=1, own=True, strength=0.5, seed=0, variants=1, checkpoint=embedded_checkpoints()[2],
    progress=gr.Progress(track_tqdm=True),
):  # fmt: skip
    """Gives color; the colors that a picture has are taken away first."""
    image, pipe = read_image(image), load(checkpoint)
    options = options_of(prompt, beta, own, strength, pipe)
    before = image.convert("L")
    return restore(lambda generator: pipe(image=image, generator=generator, **options), pipe, before, seed, variants)


@GPU
@said_plainly
def edit(
    editor, prompt, degradation=texts.DEGRADATIONS[0], factor=8, beta=1, own=True, strength=0.5, seed=0, variants=1,
    progress=gr.Progress(track_tqdm=True),
):  # fmt: skip
    """Takes something away from a good picture and restores it; outside a painted region it stays as it was."""
    image, mask = read_editor(editor, None, False, 0)
    number = texts.DEGRADATIONS.index(degradation)
    pipe = load(embedded_checkpoints()[number])
    options = options_of(prompt, beta, own, strength, pipe)
    if number == 0 or mask.any():
        options["region"] = check_mask(mask)
    options |= {"factor": factor} if number == 1 else {"colors": number == 2}
    return restore(
        lambda generator: pipe.edit(image=image, generator=generator, **options), pipe, image, seed, variants
    )


@GPU
@said_plainly
def draw_sweep(image, prompts, betas, degradation, factor, progress=gr.Progress(track_tqdm=True)):
    """A grid over sentences and betas."""
    image, lines = read_image(image), [" ".join(line.split()) for line in (prompts or "").splitlines() if line.strip()]
    number = texts.DEGRADATIONS.index(degradation)
    pipe = load(embedded_checkpoints()[number])
    try:
        values = [float(v) for v in betas.replace(",", " ").split()]
    except ValueError as error:
        raise ValueError(texts.NOT_NUMBERS.format(betas)) from error
    lines = [check_prompt(line, 1, pipe) for line in lines or [""]]
    if len(lines) * len(values) > MAX_CELLS:
        raise ValueError(texts.MANY.format(MAX_CELLS, len(lines) * len(values)))
    image.thumbnail((512, 512))
    return sweep(pipe, image, lines, values, factors=(factor if number == 1 else None,))


def dice() -> int:
    """Another seed."""
    return random.randrange(2**31)


def _editor(image: Image.Image, mask: np.ndarray) -> dict:
    layer = masks.as_layer(mask)
    composite = Image.alpha_composite(image.convert("RGBA"), layer)
    return {"background": image, "layers": [layer], "composite": composite}


@said_plainly
def mask_part(editor, part: str) -> dict:
    """Adds a box over a part of the face to what is painted."""
    image, mask = read_editor(editor, None, False, 0)
    return _editor(image, mask | masks.face_part(image, part))


@said_plainly
def show_mask(editor, mask_file=None, invert=False, grow=0) -> Image.Image:
    """The mask as it will be used."""
    return check_mask(read_editor(editor, mask_file, invert, grow)[1])


def fill_example(label: str) -> tuple[dict, str]:
    """Editor and sentence of an example."""
    image, mask, prompt = examples.fill_example(label)
    return _editor(image, mask), prompt


def enlarge_example(label: str) -> tuple[Image.Image, str, int]:
    """ImageInput, sentence and scale of an example."""
    side, scale, prompt = examples.ENLARGE[label]
    return examples.portrait(side), prompt, scale


def color_example(label: str) -> tuple[Image.Image, str]:
    """ImageInput and sentence of an example."""
    name, prompt = examples.COLOR[label]
    return examples.gray(name), prompt


def remember(gallery, history) -> tuple[str, list, int]:
    """After a restoration: the file to download, the visit's results, and which is chosen."""
    return gallery[0][0], [*gallery, *(history or [])][:KEPT], 0


@said_plainly
def chosen_path(gallery, index: int) -> str:
    """The file of the chosen result."""
    if not gallery:
        raise ValueError(texts.NO_RESULT)
    return gallery[min(index, len(gallery) - 1)][0]


def as_editor(gallery, index: int) -> dict:
    """The chosen result as an editor's picture, nothing painted."""
    image = Image.open(chosen_path(gallery, index))
    return {"background": image, "layers": [], "composite": image}


@said_plainly
def settings_of(path: str | None) -> dict:
    """The settings that made a downloaded PNG."""
    settings = read_settings(read_image(path)) if path else {}
    if path and not settings:
        raise ValueError(texts.NO_SETTINGS)
    return settings


def about() -> str:
    """The cards of the embedded checkpoints, without their metadata and pictures."""
    cards = [ModelCard.load(CHECKPOINTS / name / "README.md").text.strip() for name in embedded_checkpoints()]
    lines = "\n\n".join([texts.ABOUT, *cards]).splitlines()
    return "\n".join(line for line in lines if not line.startswith("!["))
