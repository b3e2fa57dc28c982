"""TextIRPipeline: pictures and sentences in, restored pictures out."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from textir_hf import degradations
from textir_hf._version import __version__
from textir_hf.clip import CHECKPOINTS, TextRecentering, embed_images, embed_texts, load_encoder
from textir_hf.download import download
from textir_hf.generator import TextIRGenerator
from textir_hf.images import Picture, Raster, to_array, to_mask, to_output, to_raster, to_tensor
from textir_hf.regions import Box, hole_crops, resolve_box
from textir_hf.restoration import colorize, enlarge, enlarge_box, fill_holes, resize

_DOWNLOADING = {"cache_dir", "force_download", "local_files_only", "revision", "token"}
EMBEDDED = ("textir-mini-inpainting", "textir-mini-super-resolution", "textir-mini-colorization")


class CheckpointError(OSError, ValueError):
    """A checkpoint cannot be loaded. Both kinds of error, since diffusers raises either."""


class TextIRPipeline(DiffusionPipeline):
    """Restores damaged pictures towards what a sentence says (TextIR, Bai et al., 2023).

    The task is the checkpoint's: filling holes, enlarging 2 to 64 times, or giving colour.

    Args:
        restorer: The network.
        clip: A dual encoder: `transformers.CLIPModel`, or the embedded `MiniCLIPModel`.
        tokenizer: The encoder's tokenizer.
        image_processor: The encoder's image processor.
        recentering: Moves text embeddings to where the network's image embeddings lie; None leaves them.
        encoder: Where the dual encoder comes from when the checkpoint's folder holds none: "textir-mini-clip", or a
            CLIP model's name on the Hub. Many checkpoints can share one so.
        prompt_templates: Sentences with "{}" for the prompt, over which every prompt's embedding is averaged unless the
            call gives others.
    """

    model_cpu_offload_seq = "clip->recentering->restorer"
    _optional_components = ["recentering"]

    def __init__(
        self,
        restorer: TextIRGenerator,
        clip: PreTrainedModel | None,
        tokenizer: PreTrainedTokenizerBase | None,
        image_processor: BaseImageProcessor | None,
        recentering: TextRecentering | None = None,
        encoder: str | None = None,
        prompt_templates: list[str] | None = None,
    ) -> None:
        super().__init__()
        if clip is not None:
            _align(clip)
        self.register_to_config(encoder=encoder, prompt_templates=prompt_templates)
        self.register_modules(
            restorer=restorer, clip=clip, tokenizer=tokenizer, image_processor=image_processor, recentering=recentering
        )

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs) -> "TextIRPipeline":
        """Loads an embedded checkpoint, a local folder, or a repository of the Hub.

        Args:
            pretrained_model_name_or_path: "textir-mini-inpainting", "textir-mini-super-resolution" or
                "textir-mini-colorization", which come with the package and need no network; a folder that
                `save_pretrained` wrote; or "owner/name" on the Hub.
            **kwargs: As in `DiffusionPipeline.from_pretrained`; `dtype` is float32 unless given.

        Raises:
            ValueError: It is none of these.
            CheckpointError: A component is missing, damaged, a pickle, or of a newer version; or the Hub cannot be
                reached or refuses.
        """
        name = given = str(pretrained_model_name_or_path)
        if "torch_dtype" not in kwargs:  # the older name of `dtype`
            kwargs.setdefault("dtype", torch.float32)
        if name in EMBEDDED:
            name = str(CHECKPOINTS / name)
        elif not Path(name).is_dir() and name.count("/") != 1:
            raise ValueError(
                f"{name} is no checkpoint: expected one of {', '.join(EMBEDDED)}, a folder, or owner/name on the Hub."
            )
        kwargs.setdefault("use_safetensors", True)
        try:
            if not Path(name).is_dir():
                options = {k: kwargs.pop(k) for k in _DOWNLOADING & kwargs.keys()}
                name = download(name, kwargs.get("variant"), **options)
            index = cls.load_config(name)
            if index["_class_name"] != cls.__name__:
                raise ValueError(f"it is a {index['_class_name']}")
            parts = ("clip", "tokenizer", "image_processor")
            if index.get("encoder") and not any((index.get(part) or [None])[0] or kwargs.get(part) for part in parts):
                dtype = kwargs.get("dtype", kwargs.get("torch_dtype"))
                kwargs |= zip(parts, load_encoder(index["encoder"], dtype), strict=True)
            pipe = super().from_pretrained(name, **kwargs)
        except (OSError, ValueError, AttributeError, ImportError, SafetensorError, HfHubHTTPError) as error:
            raise CheckpointError(f"The checkpoint {given} cannot be loaded: {_reason(error)}") from error
        pipe.register_to_config(_name_or_path=given)
        return pipe

    def save_pretrained(self, save_directory: str | os.PathLike, safe_serialization: bool = True, **kwargs) -> None:
        """Writes the pipeline's folder, always as safetensors.

        Args:
            save_directory: The folder.
            safe_serialization: As in diffusers, without effect: no pickle is ever written.
            **kwargs: As in `DiffusionPipeline.save_pretrained`: `variant`, `max_shard_size`, `push_to_hub`.
        """
        super().save_pretrained(save_directory, safe_serialization=True, **kwargs)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str] | list[list[str]] | None = None,
        image: Picture | list[Picture] | None = None,
        mask_image: Picture | list[Picture] | None = None,
        reference_image: Picture | list[Picture] | None = None,
        beta: float = 1.0,
        strength: float | list[float] | None = None,
        scale: float | None = None,
        box: str | tuple[int, int, int, int] | None = None,
        feather: float = 0.0,
        tile: int | None = None,
        templates: list[str] | None = None,
        prompt_embeds: Tensor | None = None,
        num_images_per_prompt: int = 1,
        generator: torch.Generator | list[torch.Generator] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[[DiffusionPipeline, int, int, dict], dict | None] | None = None,
    ) -> ImagePipelineOutput | tuple:
        """Restores pictures. One prompt goes with every picture, and one picture with every prompt.

        Pictures have any size and shape. Inpainting looks at each hole with its surroundings, at the trained size, and
        pastes what it made at full size. Super-resolution works in overlapping tiles. Colorization makes the colours at
        the trained size and joins them with the picture's own full-size lightness.

        Args:
            prompt: What the result should show; several sentences for a picture, as a list in the list, are averaged.
                May be left out when `beta` is 0.
            image: The picture or pictures: PIL, array `[H, W, 3]` or tensor `[3, H, W]`.
            mask_image: For inpainting, of the image's size: white is repainted, and every other pixel comes back bit
                for bit.
            reference_image: A picture whose embedding is mixed with the text's; the image itself where it is left
                out and `beta` is not 1.
            beta: Share of the text in the condition (Sec. 4.6), `c = beta E_T(text) + (1 - beta) E_I(reference)` at
                unit length. Beyond 0..1 it leads away from the reference, or from the text.
            strength: s of Eq. 4 in 0..1, how much the generated features count against the degraded image's, in place
                of what the network derives; a list has one for each level, full size first.
            scale: For super-resolution: how many times larger the result is than the image, 2 to 64.
            box: (left, top, right, bottom) of the part to look at, in pixels, or "face" for the largest face. Networks
                trained on aligned faces need it in photos. Inpainting then looks at this box instead of the
                surroundings of each hole; super-resolution restores the box and enlarges the rest bicubically.
            feather: For inpainting: pixels inside the mask over which the old content turns into the new one.
            tile: For super-resolution: side of the tiles in the result's pixels; twice the trained size if left out.
            templates: Sentences with "{}" for the prompt, over which its embedding is averaged.
            prompt_embeds: `[N, D]` from `encode_prompt`, in place of prompts.
            num_images_per_prompt: Results for each picture; they differ by the generator's noise.
            generator: Source of fine noise; the same seed gives the same picture, alone or among others. A list has
                one for each result. Without it, nothing is random.
            output_type: "pil", "np" (`[N, H, W, 3]` in [0, 1]) or "pt" (`[N, 3, H, W]` in [0, 1]). PIL images keep the
                source's alpha and say in `info["textir"]` how they were made.
            return_dict: Return an `ImagePipelineOutput` instead of a tuple.
            callback_on_step_end: Called as `callback(pipe, step, step, {})` after each run of the network.

        Returns:
            The restored pictures, `.images` or `[0]`.

        Raises:
            ValueError: An argument is missing, empty, out of range, of another size, or not for this task.
        """
        self._check_arguments(image, mask_image, prompt, prompt_embeds, beta, scale, box, feather, tile, output_type)
        lists = _broadcast(
            image=_as_list(image),
            mask_image=_as_list(mask_image),
            reference_image=_as_list(reference_image),
            prompt=_as_list(prompt),
            prompt_embeds=list(prompt_embeds) if prompt_embeds is not None else [None],
        )
        options = {"strength": self._level_strengths(strength), "box": box, "feather": feather, "tile": tile}
        options |= {"size": None, "scale": scale, "beta": beta, "templates": templates}
        return self._restore_all(
            lists, options, num_images_per_prompt, generator, output_type, return_dict, callback_on_step_end
        )

    @torch.no_grad()
    def edit(
        self,
        prompt: str | list[str] | list[list[str]],
        image: Picture | list[Picture],
        region: Picture | list[Picture] | None = None,
        factor: float | None = None,
        colors: bool = False,
        beta: float = 1.0,
        strength: float | list[float] | None = None,
        box: str | tuple[int, int, int, int] | None = None,
        feather: float = 0.0,
        templates: list[str] | None = None,
        num_images_per_prompt: int = 1,
        generator: torch.Generator | list[torch.Generator] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """Edits good pictures by degrading them first and restoring them towards the prompt (Sec. 4.5).

        What is taken away is what the checkpoint can give back: an inpainting checkpoint repaints `region`, one for
        super-resolution loses resolution by `factor`, one for colorization loses its `colors`. The reference that
        `beta` mixes in is the original.

        Args:
            prompt: As in the call.
            image: As in the call.
            region: Of the image's size: where to edit, white. Outside it, or outside a `box`, the original comes back
                bit for bit.
            factor: How many times to shrink before restoring, 2 to 64.
            colors: Take the colours away.
            beta: As in the call.
            strength: As in the call.
            box: As in the call.
            feather: As in the call.
            templates: As in the call.
            num_images_per_prompt: As in the call.
            generator: As in the call.
            output_type: As in the call.
            return_dict: As in the call.

        Raises:
            ValueError: The degradation is not this checkpoint's, or as in the call.
        """
        task = self.restorer.config.task
        given = {"region": region is not None, "factor": factor is not None, "colors": colors}
        needed = {"inpainting": "region", "super-resolution": "factor", "colorization": "colors"}[task]
        wrong = [n for n, there in given.items() if there and n not in (needed, "region")]
        if not given[needed] or wrong:
            got = ", ".join(n for n, there in given.items() if there) or "nothing"
            raise ValueError(f"This checkpoint's task is {task}: edit with {needed}, got {got}.")
        if factor is not None and not 2 <= factor <= degradations.MAX_FACTOR:
            raise ValueError(f"factor must lie in 2..{degradations.MAX_FACTOR}, got {factor}.")
        self._check_arguments(
            image, region if needed == "region" else None, prompt, None, beta, factor, box, feather, None, output_type
        )
        lists = _broadcast(
            image=_as_list(image),
            mask_image=_as_list(region),
            reference_image=[None],
            prompt=_as_list(prompt),
            prompt_embeds=[None],
        )
        options = {"strength": self._level_strengths(strength), "box": box, "feather": feather, "tile": None}
        options |= {"size": "same", "scale": factor, "beta": beta, "templates": templates}
        return self._restore_all(lists, options, num_images_per_prompt, generator, output_type, return_dict, None)

    @torch.no_grad()
    def encode_prompt(self, prompt: str | list[str] | list[list[str]], templates: list[str] | None = None) -> Tensor:
        """The text's part of the condition, E_T of Eq. 1.

        Args:
            prompt: One sentence or several; a list in the list is averaged to one.
            templates: Sentences with "{}" for the prompt, over which its embedding is averaged.

        Returns:
            `[N, D]` at unit length, recentred if the checkpoint does that.

        Raises:
            ValueError: A sentence is empty, or a template has no "{}".
        """
        if self.clip is None or self.tokenizer is None:
            raise ValueError("This pipeline has no dual encoder: give clip=, tokenizer= and image_processor=.")
        templates = templates or self.config.prompt_templates
        bad = [t for t in templates or [] if "{}" not in t]
        if bad:
            raise ValueError(f'templates must contain "{{}}" for the prompt, got {bad[0]!r}.')
        rows = []
        for several in _as_list(prompt):
            sentences = [several] if isinstance(several, str) else several
            if not sentences or not all(isinstance(s, str) and s.strip() for s in sentences):
                raise ValueError("prompt must not be empty: say what the result should show, or set beta to 0.")
            texts = [t.replace("{}", s) for s in sentences for t in templates or ["{}"]]
            embedding = F.normalize(embed_texts(self.clip, self.tokenizer, texts).mean(0, keepdim=True), dim=1)
            rows.append(embedding if self.recentering is None else self.recentering(embedding).float())
        return torch.cat(rows)

    def _restore_all(
        self, lists: list[list], options: dict, variants: int, generator, output_type: str, return_dict: bool, callback
    ) -> ImagePipelineOutput | tuple:
        if variants < 1:
            raise ValueError(f"num_images_per_prompt must be at least 1, got {variants}.")
        sources = self._generators(generator, len(lists[0]), variants)
        results, settings = [], []
        with self.progress_bar(total=0) as bar:
            for *inputs, own in zip(*lists, sources, strict=True):
                for source in own:
                    raster, prompt = self._restore_one(*inputs, options, source, bar, callback)
                    results.append(raster)
                    settings.append(self._settings(prompt, options, source))
        self.maybe_free_model_hooks()
        restored = to_output(results, output_type, settings)
        return ImagePipelineOutput(images=restored) if return_dict else (restored,)

    def _restore_one(self, image, mask, reference, prompt, embedding, options, source, bar, callback):
        picture = to_raster(image)
        rgb, task, size = picture.rgb, self.restorer.config.task, self.restorer.config.sample_size
        hole = None if mask is None else to_mask(mask, rgb.shape[:2])
        beta, strength, box = options["beta"], options["strength"], options["box"]
        box = None if box is None else resolve_box(box, rgb)
        shown = rgb if reference is None else to_raster(reference).rgb
        condition = self._condition(prompt, options["templates"], embedding, shown, beta)
        run = _Network(self, bar, callback, condition, strength, source)
        alpha = picture.alpha
        if task == "inpainting":
            restored = fill_holes(rgb, hole, _crops(hole, box, size), size, options["feather"], run)
        elif task == "colorization":
            restored = colorize(rgb, size, run)
        else:
            target = tuple(round(side * options["scale"]) for side in rgb.shape[:2])
            if options["size"] == "same":
                target, rgb = rgb.shape[:2], _shrink(rgb, options["scale"])
                box = box and tuple(round(v / options["scale"]) for v in box)
            base = picture.rgb if options["size"] == "same" else None
            restored = self._enlarge(rgb, target, box, options, run, base)
            if alpha is not None and options["size"] is None:
                alpha = to_array(resize(to_tensor(alpha[..., None]), target))[..., 0]
        if hole is not None and task != "inpainting":
            restored = np.where(hole[..., None], restored, picture.rgb)
        return Raster(restored, alpha, picture.profile), prompt

    def _enlarge(self, rgb: np.ndarray, target: tuple[int, int], box, options: dict, run, base) -> np.ndarray:
        size = self.restorer.config.sample_size
        if box is not None:
            return enlarge_box(rgb, target, box, size, run, base)
        tile = options["tile"] or max(2 * size, 256)
        return enlarge(rgb, target, options["scale"] / degradations.MAX_FACTOR, tile, tile // 4, run)

    def _condition(self, prompt, templates, embedding: Tensor | None, reference: np.ndarray, beta: float) -> Tensor:
        """`c` of Eq. 1 and Sec. 4.6: `[1, D]` at unit length."""
        parts = []
        if beta != 0:
            if embedding is None:
                text = self.encode_prompt([prompt], templates)
            else:
                text = embedding[None].to(self._execution_device).float()
            parts.append(beta * text)
        if beta != 1:
            image = to_tensor(reference, self._execution_device)
            parts.append((1 - beta) * embed_images(self.clip, self.image_processor, image))
        return F.normalize(sum(parts), dim=1)

    def _settings(self, prompt, options: dict, source: torch.Generator | None) -> dict:
        """What made a picture, for its PNG."""
        config = self.restorer.config
        settings = {"version": __version__, "model": Path(str(self.name_or_path or "")).name, "task": config.task}
        settings |= {"prompt": prompt, "beta": options["beta"], "strength": options["strength"]}
        settings |= {"scale": options["scale"], "seed": None if source is None else source.initial_seed()}
        return {k: v for k, v in settings.items() if v not in (None, "")}

    def _level_strengths(self, strength: float | list[float] | None) -> float | list[float] | None:
        levels = len(self.restorer.config.channels)
        values = strength if isinstance(strength, (list, tuple)) else [] if strength is None else [strength]
        if isinstance(strength, (list, tuple)) and len(strength) != levels:
            raise ValueError(f"strength must be a number or a list of {levels}, one a level, got {len(strength)}.")
        if not all(0 <= s <= 1 for s in values):
            raise ValueError(f"strength must lie in 0..1, got {strength}.")
        if values and self.restorer.config.strength_source == "embedding":
            raise ValueError("This checkpoint weighs its skips by the condition and takes no strength. Leave it out.")
        return list(strength) if isinstance(strength, (list, tuple)) else strength

    def _check_arguments(
        self, image, mask_image, prompt, prompt_embeds, beta, scale, box, feather, tile, output_type
    ) -> None:
        task = self.restorer.config.task
        if image is None:
            raise ValueError("image must be given: the picture to restore.")
        if (mask_image is None) == (task == "inpainting"):
            verb = "must be given" if task == "inpainting" else "cannot be used"
            raise ValueError(f"mask_image {verb} with this checkpoint, whose task is {task}.")
        if (scale is None) == (task == "super-resolution"):
            verb = "must be given" if task == "super-resolution" else "cannot be used"
            raise ValueError(f"scale {verb} with this checkpoint, whose task is {task}.")
        if scale is not None and not 2 <= scale <= degradations.MAX_FACTOR:
            raise ValueError(f"scale must lie in 2..{degradations.MAX_FACTOR}, got {scale}.")
        if box is not None and task == "colorization":
            raise ValueError("box cannot be used with this checkpoint, whose task is colorization.")
        if feather and (task != "inpainting" or feather < 0):
            raise ValueError(f"feather is for inpainting and at least 0, got {feather} for {task}.")
        if tile is not None and (task != "super-resolution" or tile < self.restorer.config.sample_size):
            raise ValueError(
                f"tile is for super-resolution and at least {self.restorer.config.sample_size}, got {tile} for {task}."
            )
        if prompt is not None and prompt_embeds is not None:
            raise ValueError("prompt and prompt_embeds cannot both be given.")
        if prompt_embeds is not None:
            width = self.restorer.config.embedding_dim
            if prompt_embeds.ndim != 2 or prompt_embeds.shape[1] != width:
                raise ValueError(f"prompt_embeds must be [N, {width}], got {list(prompt_embeds.shape)}.")
        elif beta != 0 and (
            prompt is None or any(not p or (not isinstance(p, list) and not p.strip()) for p in _as_list(prompt))
        ):
            raise ValueError("prompt must not be empty: say what the result should show, or set beta to 0.")
        if output_type not in ("pil", "np", "pt"):
            raise ValueError(f'output_type must be "pil", "np" or "pt", got {output_type!r}.')

    def _generators(self, generator, count: int, variants: int) -> list[list[torch.Generator | None]]:
        """The generators of each picture's variants.

        A single one hands its state at the call to every picture, so that batches change nothing; variants follow each
        other in it.
        """
        if isinstance(generator, list):
            if len(generator) != count * variants:
                raise ValueError(
                    f"generator must be one or a list of {count * variants}, one a result, got {len(generator)}."
                )
            return [generator[i * variants : (i + 1) * variants] for i in range(count)]
        others = [None if generator is None else generator.clone_state() for _ in range(count - 1)]
        return [[source] * variants for source in (generator, *others)]


class _Network:
    """The pipeline's network under one condition, as the functions of `restoration` call it."""

    def __init__(self, pipe: TextIRPipeline, bar, callback, condition: Tensor, strength, source) -> None:
        self.pipe, self.bar, self.callback = pipe, bar, callback
        self.condition, self.strength, self.source = condition, strength, source

    def expect(self, runs: int) -> None:
        """So many runs are to come."""
        self.bar.total += runs
        self.bar.refresh()

    def __call__(self, degraded: Tensor, strength: float | None = None) -> Tensor:
        """`[1, C, h, w]` and a strength of its own to `[1, C', h, w]`, on the CPU."""
        strength = strength if self.strength is None else self.strength
        sample = self._padded(degraded, self.condition, strength, self.source)
        step = self.bar.n
        self.bar.update()
        if self.callback is not None:
            self.callback(self.pipe, step, step, {})
        return sample

    def _padded(self, degraded: Tensor, condition: Tensor, strength, source) -> Tensor:
        """Any size: padded to the stride by repeating the border, and cropped again."""
        restorer, device = self.pipe.restorer, self.pipe._execution_device
        height, width = degraded.shape[-2:]
        padded = F.pad(degraded, (0, -width % restorer.stride, 0, -height % restorer.stride), mode="replicate")
        padded = padded.to(device, restorer.dtype, memory_format=torch.channels_last)
        if strength is not None:
            strength = torch.tensor(strength, device=device).reshape(1, -1)
        sample = restorer(padded, condition.to(padded), strength, source).sample
        return sample[..., :height, :width].float().cpu()


def _crops(hole: np.ndarray, box: Box | None, size: int) -> list[tuple[Box, np.ndarray]]:
    """The boxes to look at, with the part of the mask to restore in each."""
    if box is None:
        return hole_crops(hole, size)
    left, top, right, bottom = box
    part = hole[top:bottom, left:right]
    if part.sum() != hole.sum():
        raise ValueError(f"mask_image reaches out of the box {box}. Use a larger box, or a smaller mask.")
    return [(box, part)]


def _shrink(rgb: np.ndarray, factor: float) -> np.ndarray:
    return to_array(degradations.downsample(to_tensor(rgb), factor))


def _reason(error: Exception) -> str:
    """Why a checkpoint cannot be loaded, and what to do."""
    said = " ".join(str(error).split())
    if isinstance(error, SafetensorError) or "Unable to load weights" in said:
        return f"a file is damaged ({said}). Download it again: delete it, or give force_download=True."
    if isinstance(error, (AttributeError, ImportError)) or "has no class" in said:
        return f"it may be made for a newer version of textir_hf ({said}). Update with pip install -U textir-hf."
    if "safetensors" in said and "no file named" in said:
        return f"it has no safetensors weights; pickles are not loaded ({said[:200]}). Save it as safetensors."
    return f"{said[:400]}{'' if said.endswith('.') else '.'}"


def _align(module: nn.Module) -> None:
    """Moves weights that a memory-mapped file holds at odd addresses, where the CPU's matrix product sums otherwise."""
    for parameter in module.parameters():
        if parameter.device.type == "cpu" and parameter.data_ptr() % 64:
            parameter.data = parameter.data.clone()


def _as_list(value) -> list:
    """A list of pictures or texts; a tensor or array with a leading batch dimension is taken apart."""
    if isinstance(value, (Tensor, np.ndarray)) and value.ndim == 4:
        return list(value)
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _broadcast(**lists: list) -> list[list]:
    """Lists of one element to the length of the longest."""
    count = max(len(v) for v in lists.values())
    for name, values in lists.items():
        if len(values) not in (1, count):
            raise ValueError(f"{name} must be one or a list of {count}, got {len(values)}.")
    return [values * count if len(values) == 1 else values for values in lists.values()]
