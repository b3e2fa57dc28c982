"""What callers give, in the many shapes that diffusers takes, as checked lists and numbers."""

import numpy as np
import torch
from torch import Tensor

from textir_hf.checks import boolean, number, numbers, shown
from textir_hf.imaging.raster import ImageInput
from textir_hf.tasks.base import DEFAULT_SEED

Prompts = str | list[str] | list[list[str]]
Images = ImageInput | list[ImageInput]
Box = tuple[int, int, int, int]
Faces = str | int | list[int]
_MOST_SEEDS = 2**53  # JavaScript and JSON hold smaller numbers exactly
OUTPUT_TYPES = ("pil", "np", "pt")
MAX_TEMPLATES, MAX_TEMPLATE = 1000, 1000  # sentences, and characters of one
Prompt = tuple[str, ...]  # sentences whose embeddings are averaged


def check_background(background: Images | str | None) -> Images | str | None:
    """Images as they are, or the word "restored".

    Raises:
        ValueError: It is another word.
    """
    if isinstance(background, str) and background != "restored":
        raise ValueError(f'background must be an image or "restored", got {background[:80]!r}.')
    return background


def image_lists(image, **others) -> dict[str, list]:
    """Lists of images and of masks; tensors and arrays with a leading batch dimension are taken apart, also in a list.

    Args:
        image: The image or images.
        **others: By name: `reference_image`, `background`, `mask_image`, `region`. A tensor or array `[B, H, W]` of the
            last two holds B masks, as in diffusers. 1, 3 or 4 of them could be the channels of one mask: they are masks
            if there are as many images.

    Raises:
        ValueError: None is in a list.
    """
    images = _batches_apart(image)
    lists = {"image": images}
    for name, value in others.items():
        if isinstance(value, (list, tuple)) and any(part is None for part in value):
            raise ValueError(f"{name} must be one image for each of the images, got None among them.")
        masks = name in ("mask_image", "region") and _is_batch_of_masks(value, len(images))
        lists[name] = list(value) if masks else _batches_apart(value)
    return lists


def _batches_apart(images) -> list:
    parts = images if isinstance(images, (list, tuple)) else [images]
    return [image for part in parts for image in (part if getattr(part, "ndim", 0) == 4 else [part])]


def _is_batch_of_masks(masks, images: int) -> bool:
    if not isinstance(masks, (Tensor, np.ndarray)) or masks.ndim != 3 or getattr(masks, "is_nested", False):
        return False
    channels = masks.shape[0] if isinstance(masks, Tensor) else masks.shape[-1]
    return channels not in (1, 3, 4) or masks.shape[0] == images > 1


def broadcast(**lists: list) -> list[dict]:
    """Lists of one element are repeated to the length of the longest; one dict for each position.

    Raises:
        ValueError: A list has another length.
    """
    count = max(len(values) for values in lists.values())
    for name, values in lists.items():
        if len(values) not in (1, count):
            raise ValueError(f"{name} must be one or a list of {count}, got {len(values)}.")
    return [{name: values[i % len(values)] for name, values in lists.items()} for i in range(count)]


def check_prompts(prompt, prompt_embeds: Tensor | None, beta: float, width: int) -> list[Prompt | None]:
    """The prompts as tuples of sentences.

    Args:
        prompt: A sentence, a list of them, or a list of lists whose sentences are averaged.
        prompt_embeds: `[N, D]` in place of prompts, or None.
        beta: Share of the text; without any, no prompt is needed.
        width: D.

    Raises:
        ValueError: Both are given, neither is where the text counts, one is empty, or the shape is another.
    """
    if prompt is not None and prompt_embeds is not None:
        raise ValueError("prompt and prompt_embeds cannot both be given.")
    if prompt_embeds is not None:
        if not isinstance(prompt_embeds, Tensor):
            raise ValueError(f"prompt_embeds must be a tensor [N, {width}], got {type(prompt_embeds).__name__}.")
        if prompt_embeds.ndim != 2 or prompt_embeds.shape[1] != width:
            raise ValueError(f"prompt_embeds must be [N, {width}], got {list(prompt_embeds.shape)}.")
        dense = prompt_embeds.layout == torch.strided and not prompt_embeds.is_meta and len(prompt_embeds) > 0
        if not dense or not prompt_embeds.is_floating_point() or not prompt_embeds.isfinite().all():
            raise ValueError(f"prompt_embeds must be finite numbers in a dense tensor, got {shown(prompt_embeds)}.")
        return [None] * len(prompt_embeds)
    prompts = prompt_list(prompt)
    if beta != 0:
        for sentences in prompts:
            check_sentences(sentences)
    return prompts


def check_running(variants, batch_size, output_type, return_dict) -> tuple[int, int | None]:
    """Checks the arguments that say how results are made and returned; the first two as plain numbers.

    Raises:
        ValueError: A number is out of range, `output_type` is none of `OUTPUT_TYPES`, or `return_dict` is not a bool.
    """
    boolean("return_dict", return_dict)
    variants, batch_size = number("num_images_per_prompt", variants), number("batch_size", batch_size)
    if not isinstance(output_type, str) or output_type not in OUTPUT_TYPES:
        raise ValueError(f'output_type must be "pil", "np" or "pt", got {output_type!r}.')
    return variants, batch_size


def prompt_list(prompt) -> list[Prompt | None]:
    """Prompts as tuples of sentences.

    Raises:
        ValueError: It is neither a sentence, nor a list of them, nor a list of lists of them.
    """
    prompts = prompt if isinstance(prompt, (list, tuple)) else [prompt]
    if not prompts or not all(single is None or isinstance(single, (str, list, tuple)) for single in prompts):
        raise ValueError(f"prompt must be a sentence, a list of them, or a list of lists of them, got {shown(prompt)}.")
    return [(p,) if isinstance(p, str) else None if p is None else tuple(p) for p in prompts]


def check_sentences(sentences: Prompt | None) -> Prompt:
    """The sentences, if there are any and none is empty.

    Raises:
        ValueError: There is none, or one is empty or not Unicode.
    """
    if not sentences or not all(isinstance(s, str) and s.strip() for s in sentences):
        raise ValueError("prompt must not be empty: say what the result should show, or set beta to 0.")
    if not all(_is_unicode(sentence) for sentence in sentences):
        raise ValueError(f"prompt must be Unicode text, got a half of a surrogate pair: {ascii(sentences)[:80]}.")
    return sentences


def check_templates(templates, name: str = "templates") -> list[str] | None:
    """Sentences with "{}" for the prompt, one or a list of them, as a list; or None.

    Raises:
        ValueError: It is something else, or there are more than `MAX_TEMPLATES`, or one is longer than `MAX_TEMPLATE`.
    """
    if templates is None:
        return None
    templates = [templates] if isinstance(templates, str) else templates
    several = isinstance(templates, (list, tuple)) and 0 < len(templates) <= MAX_TEMPLATES
    if not several or not all(_is_template(template) for template in templates):
        raise ValueError(
            f'{name} must be a list of 1 to {MAX_TEMPLATES} sentences with "{{}}" for the prompt, each of at most '
            f"{MAX_TEMPLATE} characters, got {shown(templates)}."
        )
    return list(templates)


def _is_template(value) -> bool:
    return isinstance(value, str) and "{}" in value and len(value) <= MAX_TEMPLATE and _is_unicode(value)


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def check_strength(strength, levels: int, source: str) -> float | tuple[float, ...] | None:
    """s of Eq. 4 as the caller gives it: one number, or one for each of the network's levels.

    Raises:
        ValueError: It has another length, lies outside 0..1, or the network takes none.
    """
    if strength is None:
        return None
    if source == "embedding":
        raise ValueError("This checkpoint weighs its skips by the condition and takes no strength. Leave it out.")
    strength = numbers("strength", strength)
    if isinstance(strength, tuple) and len(strength) != levels:
        raise ValueError(f"strength must be a number or a list of {levels}, one a level, got {len(strength)}.")
    return strength


def result_seeds(generator, count: int, variants: int) -> list[int]:
    """A seed for the noise of each result, all variants of an image before the next image's.

    A call with `torch.Generator().manual_seed(seed)` makes that result again. All images get the same seeds, so a
    result does not depend on what else is restored beside it.

    Args:
        generator: One for all, a list with one a result, or None for seed 0: a network that learned with noise restores
            worse without.
        count: Images.
        variants: Results for each image.

    Raises:
        ValueError: It is no generator, or a list has another length.
    """
    if generator is None:
        generator = torch.Generator().manual_seed(DEFAULT_SEED)
    for single in generator if isinstance(generator, (list, tuple)) else [generator]:
        if not isinstance(single, torch.Generator):
            raise ValueError(f"generator must be a torch.Generator or a list of them, got {single!r}.")
    if not isinstance(generator, (list, tuple)):
        return [_draw_seed(generator) for _ in range(variants)] * count
    if len(generator) != count * variants:
        raise ValueError(f"generator must be one or a list of {count * variants}, one a result, got {len(generator)}.")
    return [_draw_seed(single) for single in generator]


def _draw_seed(source: torch.Generator) -> int:
    """An unused generator's own seed, so that this seed makes the result again; else the next number that it draws."""
    seed = source.initial_seed()
    unused = torch.equal(source.get_state(), torch.Generator(source.device).manual_seed(seed).get_state())
    drawn = int(torch.randint(_MOST_SEEDS, (), generator=source, device=source.device))
    return seed if unused else drawn
