"""The first step: what the caller gave becomes one validated request for each image."""

import hashlib
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from textir_hf.checks import number
from textir_hf.imaging.faces import check_choice
from textir_hf.imaging.files import MAX_PIXELS
from textir_hf.imaging.geometry import check_box, four_sides
from textir_hf.imaging.raster import Raster, fill_transparent, to_mask, to_raster
from textir_hf.pipeline.arguments import (
    Prompt,
    broadcast,
    check_prompts,
    check_sentences,
    check_strength,
    check_templates,
    image_lists,
    prompt_list,
)
from textir_hf.pipeline.faces import frames_of
from textir_hf.tasks import Task
from textir_hf.tasks.base import Request


@dataclass(frozen=True, eq=False)
class Options:
    """What a call says for all its images.

    Args:
        beta: Share of the text in the condition.
        strength: s of Eq. 4, one, one for each level, or None.
        templates: Sentences with "{}" for the prompt.
        box: (left, top, right, bottom), or None.
        faces: Which faces are restored in their own frame, or None.
        face_prompts: A prompt for each of these faces, or None.
        arguments: `scale`, `factor`, `feather` and `tile`.
        edit: What an edit takes away, or None.
        max_pixels: Larger results are refused.
    """

    beta: float = 1.0
    strength: float | tuple[float, ...] | None = None
    templates: list[str] | None = None
    box: tuple[int, int, int, int] | None = None
    faces: str | int | tuple[int, ...] | None = None
    face_prompts: tuple[Prompt, ...] | None = None
    arguments: dict = field(default_factory=dict)
    edit: str | None = None
    max_pixels: int = MAX_PIXELS


@dataclass(frozen=True, eq=False)
class Prepared:
    """All that was asked of one image.

    Args:
        source: The image as it was given.
        request: What the task needs to know; transparent pixels of its image have their neighbors' color.
        prompt: Its sentences, or None.
        prompt_embeds: `[D]` in place of a prompt, or None.
        face_prompts: A prompt for each face of the request, or None.
        reference: The image that `beta` mixes with the text, if it is not the image itself.
        settings: What makes the result again, but for the checkpoint and the seed.
    """

    source: Raster
    request: Request
    prompt: Prompt | None
    prompt_embeds: Tensor | None
    face_prompts: tuple[Prompt, ...] | None
    reference: Raster | None
    settings: dict


def prepare(
    task: Task,
    template,
    options: Options,
    image,
    prompt: Prompt | None,
    prompt_embeds: Tensor | None,
    mask_image=None,
    region=None,
    reference_image=None,
    background=None,
) -> Prepared:
    """Decodes one image and what belongs to it, and checks what was asked of it.

    Args:
        task: The checkpoint's.
        template: Where its network's faces have their eyes and mouth, or None.
        options: What the call says for all its images.
        image: As the caller gave it.
        prompt: Its sentences, or None.
        prompt_embeds: `[D]` in place of sentences, or None.
        mask_image: Where to repaint, or None.
        region: Where to edit, in its place, or None.
        reference_image: The image to mix with the text, or None.
        background: The image to paste parts into, or None.

    Raises:
        ValueError: Something does not fit the image, or the result would be too large.
    """
    source = to_raster(image)
    raster = fill_transparent(source)
    name, mask = ("mask_image", mask_image) if region is None else ("region", region)
    mask = None if mask is None else to_mask(mask, raster.size, name)
    box = None if options.box is None else check_box(options.box, raster.size)
    frames = () if options.faces is None else frames_of(raster.rgb, options.faces, template)
    face_prompts = None if options.faces == "auto" and not frames else options.face_prompts
    if face_prompts is not None and len(face_prompts) != len(frames):
        raise ValueError(f"Prompts must be one for each of the {len(frames)} faces chosen, got {len(face_prompts)}.")
    background = None if background is None else to_raster(background, "background")
    arguments = {"background": background} | options.arguments
    request = Request(raster, mask, box=box, frames=frames, **arguments)
    size = task.check_result_size(request, options.max_pixels)
    if background is not None and background.size != size:
        (height, width), (given_height, given_width) = size, background.size
        raise ValueError(f"background must have the result's size {width}x{height}, got {given_width}x{given_height}.")
    reference = None if reference_image is None else fill_transparent(to_raster(reference_image, "reference_image"))
    settings: dict = {"prompt": _words(prompt), "beta": options.beta, "strength": options.strength, "box": box}
    settings |= options.arguments | {"templates": options.templates, "edit": options.edit, "faces": options.faces}
    if options.faces is not None:
        settings["faces_found"] = len(frames)
    if face_prompts is not None:
        settings["face_prompts"] = [_words(p) for p in face_prompts]
    arrays = {"mask": mask, "reference": reference and reference.rgb, "background": background and background.rgb}
    arrays["prompt_embeds"] = None if prompt_embeds is None else prompt_embeds.detach().float().cpu().numpy()
    for name, values in arrays.items():
        if values is not None:
            settings[f"{name}_sha256"] = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
    return Prepared(source, request, prompt, prompt_embeds, face_prompts, reference, settings)


def _words(prompt: Prompt | None) -> str | list[str] | None:
    return None if prompt is None else prompt[0] if len(prompt) == 1 else list(prompt)


def to_options(
    config, beta, strength, templates, box, faces, face_prompts, arguments: dict, edit: str | None, max_pixels: int
) -> Options:
    """Checks what a call says for all its images.

    Args:
        config: Of the network.
        beta: As for `Options`, and so are the others.

    Raises:
        ValueError: Two exclude each other, or one is out of range.
    """
    if box is not None and faces is not None:
        raise ValueError("box and faces cannot both be given.")
    if face_prompts is not None and faces is None:
        raise ValueError('face_prompts needs faces: "all", or the numbers of the faces.')
    templates = check_templates(templates)
    beta, max_pixels = number("beta", beta), number("max_pixels", max_pixels)
    strength = check_strength(strength, len(config.channels), config.strength_source)
    box, faces = (None if box is None else four_sides(box)), (None if faces is None else check_choice(faces))
    if face_prompts is not None:
        face_prompts = tuple(check_sentences(sentences) for sentences in prompt_list(face_prompts))
    return Options(beta, strength, templates, box, faces, face_prompts, arguments, edit, max_pixels)


def prepare_all(
    task: Task, config, options: Options, images: dict, prompt, prompt_embeds: Tensor | None
) -> list[Prepared]:
    """Prepares every image of a call, before any work is done.

    Args:
        task: The checkpoint's.
        config: Of its network.
        options: What the call says for all its images.
        images: What the caller gave as `image`, `mask_image`, `region`, `reference_image` and `background`.
        prompt: The prompt or prompts, or None.
        prompt_embeds: `[N, D]` in place of prompts, or None.

    Raises:
        ValueError: Something is missing, or does not fit.
    """
    if prompt is None and prompt_embeds is None and options.face_prompts:
        prompt = [[sentence for sentences in options.face_prompts for sentence in sentences]]
    lists = image_lists(**images)
    lists["prompt"] = check_prompts(prompt, prompt_embeds, options.beta, config.embedding_dim)
    lists["prompt_embeds"] = [None] if prompt_embeds is None else list(prompt_embeds)
    return [prepare(task, config.face_template, options, **row) for row in broadcast(**lists)]
