"""The one place where a call is checked: what callers give, in the many shapes that diffusers takes, as requests."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from textir_hf.checks import Box, boolean, check_box, four_sides, number, numbers, shown
from textir_hf.imaging.faces import check_choice
from textir_hf.imaging.raster import ImageInput, fill_transparent, to_mask, to_raster
from textir_hf.pipeline.faces import frames_of
from textir_hf.pipeline.regions import pack_mask, unpack_mask
from textir_hf.tasks import Task
from textir_hf.tasks.base import DEFAULT_SEED, Request

Prompts = str | list[str] | list[list[str]]
Images = ImageInput | list[ImageInput]
Faces = str | int | list[int] | tuple[int, ...]
Regions = list[tuple[ImageInput, str] | tuple[ImageInput, str, float]]
Prompt = tuple[str, ...]  # sentences whose embeddings are averaged
OUTPUT_TYPES = ("pil", "np", "pt")
MAX_TEMPLATES, MAX_TEMPLATE = 1000, 1000  # sentences, and characters of one
MAX_REGIONS = 100
_MOST_SEEDS = 2**53  # JavaScript and JSON hold smaller numbers exactly


@dataclass(eq=False)
class Call:
    """The arguments of `TextIRPipeline.__call__`, or of `edit`, as given; `check` makes them plain and valid."""

    prompt: Prompts | None
    image: Images | None
    mask_image: Images | None = None
    reference_image: Images | None = None
    beta: float = 1.0
    skip_strength: Any = None
    scale: float | None = None
    factor: float | None = None
    colors: bool = False
    box: Box | None = None
    faces: Faces | None = None
    face_prompts: Any = None  # prompts; checked, a tuple of sentences for each face
    background: Images | Literal["restored"] | None = None
    feather: float = 0.0
    tile: int | None = None
    regions: Any = None  # as `Regions`; checked, with tuples of sentences
    refiner: Any = None
    templates: list[str] | None = None
    prompt_embeds: Tensor | None = None
    num_images_per_prompt: int = 1
    generator: torch.Generator | list[torch.Generator] | None = None
    batch_size: int | None = None
    output_type: str = "pil"
    return_dict: bool = True
    edit: bool = False

    def check(self, task: Task, config, max_pixels: int) -> list[Request]:
        """Checks everything before any work is done; a request for each image."""
        self.check_values(task)
        levels, given = len(config.channels), self.skip_strength
        if isinstance(given, tuple) and len(given) != levels:
            raise ValueError(f"skip_strength must be a number or {levels}, one for each level, got {len(given)}.")
        embeds, background = self.prompt_embeds, self.background
        refining = [] if self.refiner is None else [self.refiner.restorer.config]
        for network in refining:
            if network.sample_size < config.sample_size:
                sizes = f"{config.sample_size} pixels or more, as this checkpoint, got {network.sample_size}"
                raise ValueError(f"refiner must be trained at {sizes}. Leave it out.")
        for network in [config, *refining] if embeds is not None else []:
            _check_embeds(embeds, network.embedding_dim)
        images = _images_apart("image", self.image)
        lists = {
            "image": images,
            "mask_image": _images_apart("mask_image", self.mask_image, len(images)),
            "reference_image": _images_apart("reference_image", self.reference_image),
            "background": [None] if isinstance(background, str) else _images_apart("background", background),
            "prompt": self._prompts() if embeds is None else [None] * len(embeds),
            "prompt_embeds": [None] if embeds is None else list(embeds),
        }
        count, max_pixels = max(map(len, lists.values())), number("max_pixels", max_pixels)
        for name, values in lists.items():
            if len(values) not in (1, count):
                raise ValueError(f"{name} must be one or a list of {count}, got {len(values)}.")
            lists[name] = values * (count // len(values))  # one goes with all
        rows = zip(*lists.values(), strict=True)
        return [self._request(task, config.face_template, max_pixels, *row) for row in rows]

    def check_values(self, task: Task) -> None:
        """Checks what needs neither a network nor an image's pixels, so that the shell loads neither for nothing."""
        if self.image is None:
            raise ValueError("image must be given: the image to restore.")
        for name in ("beta", "scale", "factor", "feather", "tile", "num_images_per_prompt", "batch_size"):
            setattr(self, name, number(name, getattr(self, name)))
        self.skip_strength = None if self.skip_strength is None else numbers("skip_strength", self.skip_strength)
        self.colors, self.return_dict = boolean("colors", self.colors), boolean("return_dict", self.return_dict)
        self.templates = check_templates(self.templates)
        self.box = None if self.box is None else four_sides(self.box)
        self.faces = None if self.faces is None else check_choice(self.faces)
        if not isinstance(self.output_type, str) or self.output_type not in OUTPUT_TYPES:
            raise ValueError(f'output_type must be "pil", "np" or "pt", got {self.output_type!r}.')
        self._check_task(task)
        if self.prompt is not None and self.prompt_embeds is not None:
            raise ValueError("prompt and prompt_embeds cannot both be given.")
        if isinstance(self.background, str) and self.background != "restored":
            raise ValueError(f'background must be an image or "restored", got {self.background[:80]!r}.')
        if self.background is not None and self.box is None and self.faces is None and not self.edit:
            raise ValueError("background needs faces or box: the part that is restored before it.")
        if self.box is not None and self.faces is not None:
            raise ValueError("box and faces cannot both be given.")
        if self.refiner is not None and getattr(getattr(self.refiner, "task", None), "degradation", None) != "factor":
            raise ValueError(f"refiner must be a pipeline for super-resolution, got {shown(self.refiner)}.")
        if self.regions is not None:
            self.regions = _plain_regions(self.regions)
        if self.face_prompts is not None:
            if self.faces is None:
                raise ValueError('face_prompts needs faces: "all", or the numbers of the faces.')
            self.face_prompts = tuple(check_sentences(sentences) for sentences in prompt_list(self.face_prompts))
        if self.prompt_embeds is None:
            self._prompts()

    def _check_task(self, task: Task) -> None:
        """Checks the arguments of a call or an edit that only some tasks take."""
        requires, accepts = task.requires, task.accepts
        if self.edit:
            requires, accepts = (task.degradation,), task.edit_accepts
        names = ("factor", "colors") if self.edit else ("scale", "tile", "background")
        for name in ("mask_image", "box", "faces", "feather", "refiner", *names):
            value = getattr(self, name)
            given = value is not None and value is not False and (name, value) != ("feather", 0)
            if given and name not in (*requires, *accepts):
                raise ValueError(f"{name} cannot be used with this checkpoint, whose task is {task.name}.")
            if name in requires and not given:
                raise ValueError(f"{name} must be given with this checkpoint, whose task is {task.name}.")

    def _prompts(self) -> list[Prompt | None]:
        """The prompts as tuples of sentences."""
        if self.prompt is None and self.face_prompts:
            return [sum(self.face_prompts, ())]
        prompts = prompt_list(self.prompt)
        for sentences in prompts if self.beta != 0 else ():
            check_sentences(sentences)
        return prompts

    def _request(
        self, task: Task, template, max_pixels, image, mask_image, reference_image, background, prompt, prompt_embeds
    ) -> Request:
        """Decodes one image and what belongs to it, and checks that they fit."""
        source = to_raster(image)
        raster = fill_transparent(source)
        size = result_size(raster.size, self.scale, max_pixels)
        if mask_image is not None:
            mask_image = to_mask(mask_image, raster.size)
        box = None if self.box is None else check_box(self.box, raster.size)
        frames = () if self.faces is None else frames_of(raster.rgb, self.faces, template)
        face_prompts = None if self.faces == "auto" and not frames else self.face_prompts
        if face_prompts is not None and len(face_prompts) != len(frames):
            raise ValueError(f"face_prompts must be one for each of the {len(frames)} faces, got {len(face_prompts)}.")
        if reference_image is not None:
            reference_image = fill_transparent(to_raster(reference_image, "reference_image"))
        if background is not None:
            background = to_raster(background, "background")
        if background is not None and background.size != size:
            (height, width), (own_height, own_width) = size, background.size
            raise ValueError(f"background must have the result's size {width}x{height}, got {own_width}x{own_height}.")
        request = Request(
            image=raster,
            mask=mask_image,
            box=box,
            frames=frames,
            background=self.background if isinstance(self.background, str) else background,
            source=source,
            prompt=prompt,
            prompt_embeds=prompt_embeds,
            face_prompts=face_prompts,
            reference=reference_image,
            **{name: getattr(self, name) for name in ("scale", "factor", "feather", "tile", "beta", "skip_strength")},
        )
        request.settings.update(self._settings(request, task))
        return request if self.regions is None else self._with_regions(request)

    def _with_regions(self, request: Request) -> Request:
        """The request with the parts of its image that have a prompt of their own."""
        regions, stored = [], []
        for region in self.regions:
            mask, prompt, beta = region if len(region) == 3 else (*region, self.beta)
            mask = to_mask(unpack_mask(mask) if isinstance(mask, str) else mask, request.image.size, "a region's mask")
            if request.mask is not None and not (mask & request.mask).any():
                raise ValueError("a region's mask must overlap mask_image: elsewhere, nothing is restored.")
            own = replace(request, prompt=prompt, prompt_embeds=None, face_prompts=None, beta=beta, settings={})
            regions.append((mask, own))
            stored.append([pack_mask(mask), _words(prompt), beta])
        request.settings["regions"] = stored
        return replace(request, regions=tuple(regions))

    def _settings(self, request: Request, task: Task) -> dict:
        """What makes the result again, but for the checkpoint and the seed; images and masks as their hashes."""
        settings: dict = {"prompt": _words(request.prompt)}
        for name in ("beta", "skip_strength", "box", "scale", "factor", "feather", "tile", "templates", "faces"):
            settings[name] = getattr(self, name)
        settings["edit"] = task.degradation if self.edit else None
        settings["background"] = self.background if isinstance(self.background, str) else None
        settings["refiner"] = None if self.refiner is None else Path(str(self.refiner.name_or_path or "")).name
        if self.faces is not None:
            settings["faces_found"] = len(request.frames)
        if request.face_prompts is not None:
            settings["face_prompts"] = [_words(p) for p in request.face_prompts]
        embeds = None if request.prompt_embeds is None else request.prompt_embeds.float().numpy(force=True)
        arrays = {"mask": request.mask, "reference": request.reference, "background": request.background}
        for name, values in (arrays | {"prompt_embeds": embeds}).items():
            values = getattr(values, "rgb", values)
            if isinstance(values, np.ndarray):
                settings[f"{name}_sha256"] = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
        return settings


def _plain_regions(regions) -> list[tuple]:
    """Of each region its mask as given, its prompt's sentences, and its beta if it has one."""
    if not isinstance(regions, (list, tuple)) or not 1 <= len(regions) <= MAX_REGIONS:
        raise ValueError(f"regions must be a list of 1 to {MAX_REGIONS} (mask, prompt), got {shown(regions)}.")
    plain = []
    for region in regions:
        if not isinstance(region, (list, tuple)) or len(region) not in (2, 3):
            raise ValueError(f"regions must be (mask, prompt) or (mask, prompt, beta) each, got {shown(region)}.")
        mask, prompt, *beta = region
        plain.append((mask, check_sentences(prompt_list([prompt])[0]), *(number("beta", value) for value in beta)))
    return plain


def result_size(size: tuple[int, int], scale: float | None, max_pixels: int) -> tuple[int, int]:
    """Height and width of the result for an image of `size` (height, width), `max_pixels` at most."""
    height, width = round(size[0] * (scale or 1)), round(size[1] * (scale or 1))
    if height * width > max_pixels:
        limit = f"more than {max_pixels / 1e6:g} million. Use a smaller scale or image, or raise max_pixels"
        raise ValueError(f"The result would have {width}x{height} pixels, {limit}.")
    return height, width


def _images_apart(name: str, images, masks_of: int | None = None) -> list:
    """A list of images; tensors and arrays with a leading batch dimension are taken apart, also in a list.

    A tensor or array `[B, H, W]` in place of masks holds B of them, as in diffusers. 1, 3 or 4 could be the channels of
    one mask: they are masks if there are as many images, `masks_of`.
    """
    if masks_of is not None and getattr(images, "ndim", 0) == 3:
        channels = images.shape[0] if isinstance(images, Tensor) else images.shape[-1]
        if channels not in (1, 3, 4) or len(images) == masks_of > 1:
            return list(images)
    several = isinstance(images, (list, tuple))
    apart: list = []
    for part in images if several else [images]:
        if several and part is None:
            raise ValueError(f"{name} must be one image for each of the images, got None among them.")
        apart.extend(part if getattr(part, "ndim", 0) == 4 else [part])  # += would add arrays
    return apart


def _check_embeds(embeds, width: int) -> None:
    fit = isinstance(embeds, Tensor) and embeds.ndim == 2 and embeds.shape[1] == width and len(embeds) > 0
    if not fit or not embeds.is_floating_point() or not embeds.isfinite().all():
        raise ValueError(f"prompt_embeds must be a tensor [N, {width}] of finite numbers, got {shown(embeds)}.")


def _words(prompt: Prompt | None) -> str | list[str] | None:
    return None if prompt is None else prompt[0] if len(prompt) == 1 else list(prompt)


def prompt_list(prompt) -> list[Prompt | None]:
    """Prompts as tuples of sentences."""
    prompts = []
    for single in prompt if isinstance(prompt, (list, tuple)) else [prompt]:
        if not isinstance(single, (str, list, tuple, type(None))):
            raise ValueError(f"prompt must be a sentence, or a list of sentences or of lists, got {shown(prompt)}.")
        prompts.append((single,) if isinstance(single, str) else None if single is None else tuple(single))
    if not prompts:
        raise ValueError("prompt must be a sentence, or a list of sentences or of lists, got an empty list.")
    return prompts


def check_sentences(sentences: Prompt | None) -> Prompt:
    """The sentences, if there are any and none is empty."""
    sentences = sentences or ("",)
    for sentence in sentences:
        if not isinstance(sentence, str) or not sentence.strip():
            raise ValueError("prompt must not be empty: say what the result should show, or set beta to 0.")
        if not is_unicode(sentence):
            raise ValueError(f"prompt must be Unicode text, got a half of a surrogate pair: {ascii(sentence)[:80]}.")
    return sentences


def check_templates(templates, name: str = "templates") -> list[str] | None:
    """Sentences with "{}" for the prompt, one or a list of them, as a list; or None."""
    if templates is None:
        return None
    templates = [templates] if isinstance(templates, str) else templates
    fit = isinstance(templates, (list, tuple)) and 0 < len(templates) <= MAX_TEMPLATES
    for text in templates if fit else ():
        fit = fit and isinstance(text, str) and "{}" in text and len(text) <= MAX_TEMPLATE and is_unicode(text)
    if not fit:
        limits = f"1 to {MAX_TEMPLATES} sentences of at most {MAX_TEMPLATE} characters"
        raise ValueError(f'{name} must be {limits}, with "{{}}" for the prompt, got {shown(templates)}.')
    return list(templates)


def is_unicode(text: str) -> bool:
    """Whether a text has no lone halves of surrogate pairs, which no tokenizer reads."""
    return text.encode("utf-8", "ignore").decode() == text


def result_seeds(generator, count: int, variants: int) -> list[int]:
    """A seed for the noise of each result, all variants of an image before the next image's.

    A call with `torch.Generator().manual_seed(seed)` makes that result again. All images get the same seeds, so a
    result does not depend on what else is restored beside it. None is seed 0: a network that learned with noise
    restores worse without.
    """
    if generator is None:
        generator = torch.Generator().manual_seed(DEFAULT_SEED)
    several = isinstance(generator, (list, tuple))
    sources = generator if several else [generator] * variants
    if several and len(sources) != count * variants:
        raise ValueError(f"generator must be one or a list of {count * variants}, one a result, got {len(sources)}.")
    seeds = []
    for source in sources:
        if not isinstance(source, torch.Generator):
            raise ValueError(f"generator must be a torch.Generator or a list of them, got {source!r}.")
        # An unused generator's own seed, so that this seed makes the result again; else the next number that it draws.
        seed = source.initial_seed()
        unused = torch.equal(source.get_state(), torch.Generator(source.device).manual_seed(seed).get_state())
        drawn = int(torch.randint(_MOST_SEEDS, (), generator=source, device=source.device))
        seeds.append(seed if unused else drawn)
    return seeds if several else seeds * count
