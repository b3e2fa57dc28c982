"""TextIRPipeline: images and sentences in, restored images out."""

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from textir_hf._version import __version__
from textir_hf.imaging.files import MAX_PIXELS, SETTINGS
from textir_hf.imaging.masks import feather_weights
from textir_hf.imaging.raster import Raster
from textir_hf.imaging.resample import resize, to_array, to_tensor
from textir_hf.models.checkpoint import check_processor
from textir_hf.models.embedding import TextRecentering
from textir_hf.models.generator import TextIRGenerator
from textir_hf.pipeline import loading
from textir_hf.pipeline.arguments import (
    Box,
    Call,
    Faces,
    Images,
    Prompts,
    Regions,
    check_templates,
    prompt_list,
    result_seeds,
)
from textir_hf.pipeline.condition import embed_request, encode_prompt
from textir_hf.pipeline.refine import refine_fills
from textir_hf.pipeline.regions import restore_regions
from textir_hf.tasks import TASKS, Task
from textir_hf.tasks.base import Canvas, Request, Window


class TextIRPipeline(DiffusionPipeline):
    """Restores damaged images towards what a sentence says (TextIR, Bai et al., 2023).

    The task is the checkpoint's: inpainting, super-resolution or colorization.

    Args:
        restorer: The network.
        clip: A dual encoder: `transformers.CLIPModel`, or the embedded `MiniCLIPModel`.
        tokenizer: The encoder's tokenizer.
        image_processor: The encoder's image processor.
        recentering: Moves text embeddings to where the network's image embeddings lie; None leaves them.
        encoder: The dual encoder's name where the checkpoint's folder holds none, so that many checkpoints share one.
        prompt_templates: Sentences with "{}" for the prompt, over which embeddings are averaged by default.
    """

    model_cpu_offload_seq = "clip->recentering->restorer"
    _optional_components = ["recentering"]
    max_pixels = MAX_PIXELS  # larger results are refused before work starts

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
            loading.align(clip)
        if image_processor is not None:
            check_processor(image_processor)
        prompt_templates = check_templates(prompt_templates, "prompt_templates")
        self.register_to_config(encoder=encoder, prompt_templates=prompt_templates)
        self.register_modules(
            restorer=restorer, clip=clip, tokenizer=tokenizer, image_processor=image_processor, recentering=recentering
        )

    def register_modules(self, **modules) -> None:
        """As in diffusers, but `model_index.json` names our components by the package alone, so that files may move."""
        super().register_modules(**modules)
        ours = {name: type(m).__name__ for name, m in modules.items() if type(m).__module__.startswith("textir_hf.")}
        self.register_to_config(**{name: ("textir_hf", kind) for name, kind in ours.items()})

    @property
    def task(self) -> Task:
        """What the checkpoint does."""
        return TASKS[self.restorer.config.task]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs) -> "TextIRPipeline":
        """Loads an embedded checkpoint, a local folder, or a repository of the Hub.

        Args:
            pretrained_model_name_or_path: "textir-mini-inpainting", "textir-mini-super-resolution" or
                "textir-mini-colorization", which come with the package and need no network; a folder that
                `save_pretrained` wrote; or "owner/name" on the Hub.
            **kwargs: As in `DiffusionPipeline.from_pretrained`; `dtype` is float32 unless given.

        Raises:
            CheckpointError: It is none of these; a component is missing, damaged, a pickle, or of a newer version; its
                weights do not fit or are no finite numbers; a file names code to run; or the Hub cannot be reached or
                refuses.
        """
        name = str(pretrained_model_name_or_path)
        kwargs["dtype"] = kwargs.pop("torch_dtype", kwargs.get("dtype", torch.float32))  # diffusers' older name
        with loading.explained(name), torch.device("cpu"):  # transformers would load to PyTorch's default device
            folder = loading.locate(name, kwargs)
            kwargs |= {"use_safetensors": True, "trust_remote_code": False}
            index = cls.load_config(folder)
            loading.check_folder(folder, index, cls.__name__, kwargs)
            kwargs |= loading.shared_encoder(index, kwargs, kwargs["dtype"])
            pipe = super().from_pretrained(str(folder), **kwargs)
            loading.check_loaded(pipe, folder, kwargs)
        pipe.register_to_config(_name_or_path=name)
        return pipe

    def save_pretrained(self, save_directory: str | os.PathLike, safe_serialization: bool = True, **kwargs) -> None:
        """As in diffusers, but always as safetensors: `safe_serialization` has no effect."""
        if self.tokenizer is not None:
            self.tokenizer("")  # ends the cutting and padding of its last call
        super().save_pretrained(save_directory, safe_serialization=True, **kwargs)

    def progress_bar(self, iterable=None, total=None):
        """As in diffusers, but shown only for work that lasts over two seconds."""
        self._progress_bar_config = {"delay": 2.0} | getattr(self, "_progress_bar_config", {})
        return super().progress_bar(iterable, total)

    @torch.no_grad()
    def __call__(
        self,
        prompt: Prompts | None = None,
        image: Images | None = None,
        mask_image: Images | None = None,
        reference_image: Images | None = None,
        beta: float = 1.0,
        skip_strength: float | list[float] | None = None,
        scale: float | None = None,
        box: Box | None = None,
        faces: Faces | None = None,
        face_prompts: Prompts | None = None,
        background: Images | Literal["restored"] | None = None,
        feather: float = 0.0,
        tile: int | None = None,
        regions: Regions | None = None,
        refiner: "TextIRPipeline | None" = None,
        templates: list[str] | None = None,
        prompt_embeds: Tensor | None = None,
        num_images_per_prompt: int = 1,
        generator: torch.Generator | list[torch.Generator] | None = None,
        batch_size: int | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """Restores images of any size. One prompt goes with every image, and one image with every prompt.

        Inpainting looks at each masked region with its surroundings, at the trained size, and pastes the result at full
        size. Super-resolution works in overlapping tiles. Colorization makes the colors at the trained size and joins
        them with the image's own full-size lightness.

        Args:
            prompt: What the result should show; a list in the list is averaged. Not needed where `beta` is 0.
            image: The image or images: PIL, array `[H, W, 3]` or tensor `[3, H, W]`, a list or a batch of them.
            mask_image: For inpainting, of the image's size: white is repainted, other pixels come back bit for bit.
            reference_image: Mixed with the text where `beta` is not 1; the image itself if left out.
            beta: Share of the text in the condition (Sec. 4.6), `c = beta E_T(text) + (1 - beta) E_I(reference)` at
                unit length. Beyond 0..1 it leads away from the reference, or from the text.
            skip_strength: s of Eq. 4, weight of generated against encoder features, 0 to 1; predicted by the network if
                left out. A list has one for each level, full size first. Not the `strength` of img2img pipelines.
            scale: For super-resolution: how many times larger the result is than the image, 2 to 64.
            box: (left, top, right, bottom) of the part to look at, in pixels. Inpainting then looks at this box instead
                of the surroundings of each masked region; super-resolution restores the box before the `background`.
            faces: Which faces of a photo to restore, each upright in the frame that the network was trained on: "all",
                "largest", the number of a face in reading order from 1, or several numbers. "auto" means all, and the
                image as a whole where there is none. Super-resolution restores them before the `background`;
                inpainting fills in a face's frame what a mask has of it.
            face_prompts: A prompt for each of these faces, in reading order; then `prompt` may be left out.
            background: For super-resolution of faces or a box: what comes back bit for bit elsewhere. "restored" is the
                result of the same call without faces or box; an image of the result's size may come from another
                checkpoint or program; left out, the image is upscaled bicubically. An image in which "auto" finds no
                face is then this.
            feather: For inpainting: pixels inside the mask over which the old content turns into the new one.
            tile: For super-resolution: side of the tiles in the result's pixels; twice the trained size if left out.
            regions: Parts of the image with their own prompts, (mask, prompt) or (mask, prompt, beta) each; `prompt`
                holds elsewhere. Masks have the image's size; of overlapping ones, the later counts. Inpainting fills
                the parts of its mask one after the other from the left. Other tasks restore the image once for each
                prompt, in one batch, and blend the results near the regions' edges, within 1/32 of the shorter side.
            refiner: For inpainting: a pipeline for super-resolution, trained at the same size or larger. It adds fine
                detail where fills are shown larger than they were made. The paper has no such step.
            templates: Sentences with "{}" for the prompt, over which its embedding is averaged.
            prompt_embeds: `[N, D]` from `encode_prompt`, in place of prompts.
            num_images_per_prompt: Results for each image; they differ by their noise.
            generator: Source of fine noise, seed 0 if left out; a list has one for each result. The same seed gives the
                same image, alone or among others, and `info["textir"]` has each result's.
            batch_size: Most crops, tiles or images in one run of the network; 1 on the CPU and 8 elsewhere if left out.
                With 1, a batch's results are its single results bit for bit; with more, within 2/255.
            output_type: "pil", "np" (`[N, H, W, 3]`) or "pt" (`[N, 3, H, W]`), the latter two float32 in [0, 1] on the
                CPU. PIL images keep the source's alpha and say in `info["textir"]` how they were made.
            return_dict: Return an `ImagePipelineOutput` instead of a tuple.

        Returns:
            The restored images, `.images` or `[0]`.

        Raises:
            ValueError: An argument is missing, empty, out of range, of another size, or not for this task.
        """
        call = dict(locals())
        del call["self"]
        return self._restore(Call(**call))

    @torch.no_grad()
    def edit(
        self,
        prompt: Prompts | None = None,
        image: Images | None = None,
        mask_image: Images | None = None,
        factor: float | None = None,
        colors: bool = False,
        beta: float = 1.0,
        skip_strength: float | list[float] | None = None,
        box: Box | None = None,
        faces: Faces | None = None,
        face_prompts: Prompts | None = None,
        feather: float = 0.0,
        regions: Regions | None = None,
        refiner: "TextIRPipeline | None" = None,
        templates: list[str] | None = None,
        num_images_per_prompt: int = 1,
        generator: torch.Generator | list[torch.Generator] | None = None,
        batch_size: int | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """Edits good images by degrading them first and restoring them towards the prompt (Sec. 4.5).

        An inpainting checkpoint repaints `mask_image`, one for super-resolution loses resolution by `factor`, one for
        colorization loses `colors`. `beta` mixes in the original. Arguments not listed are those of the call.

        Args:
            prompt: What the result should show. Not needed where `beta` is 0.
            image: The image or images.
            mask_image: Of the image's size, white = edit. Outside it, or a `box`, the original comes back bit for bit.
            factor: How many times to shrink before restoring, 2 to 64.
            colors: Take the colors away.

        Raises:
            ValueError: The degradation is not this checkpoint's, or as in the call.
        """
        call = dict(locals())
        del call["self"]
        return self._restore(Call(edit=True, **call))

    @torch.no_grad()
    def encode_prompt(self, prompt: Prompts, templates: list[str] | None = None) -> Tensor:
        """The text's part of the condition, E_T of Eq. 1.

        Args:
            prompt: One sentence or several; a list in the list is averaged to one.
            templates: Sentences with "{}" for the prompt, over which its embedding is averaged.

        Returns:
            `[N, D]` at unit length, recentered if the checkpoint does that.

        Raises:
            ValueError: A sentence is empty, or a template has no "{}".
        """
        templates = check_templates(templates)
        return torch.cat([encode_prompt(self, sentences, templates) for sentences in prompt_list(prompt)])

    def _restore(self, call: Call) -> ImagePipelineOutput | tuple:
        """Checks the arguments, restores what is asked, and adds the settings that make each result again."""
        requests = call.check(self.task, self.restorer.config, self.max_pixels)
        seeds, variants = result_seeds(call.generator, len(requests), call.num_images_per_prompt), []
        for request in requests:
            variants += [request] * call.num_images_per_prompt
        restore = self._restore_requests if call.regions is None else partial(restore_regions, self)
        rasters = restore(variants, seeds, call)
        if call.refiner is not None:
            finished = zip(rasters, variants, seeds, strict=True)
            rasters = [refine_fills(self, raster, request, seed, call) for raster, request, seed in finished]
            call.refiner.maybe_free_model_hooks()
        if call.feather:
            rasters = [feather_fills(raster, request) for raster, request in zip(rasters, variants, strict=True)]
        self.maybe_free_model_hooks()
        own = {"version": __version__, "model": Path(str(self.name_or_path or "")).name, "task": self.task.name}
        settings = []
        for request, seed in zip(variants, seeds, strict=True):
            said = {}
            for name, value in (own | request.settings | {"seed": seed}).items():
                if not (value is None or value is False or value == ""):
                    said[name] = value
            settings.append(said)
        output = to_output(rasters, call.output_type, settings)
        return ImagePipelineOutput(images=output) if call.return_dict else (output,)

    def _restore_requests(self, requests: list[Request], seeds: list[int], call: Call) -> list[Raster]:
        """One result for each request: windows of the image, the network on batches of windows, and their pasting."""
        device, runs = self._execution_device, 0
        results: list[_Result] = []
        batch_size = call.batch_size or (1 if device.type == "cpu" else 8)
        conditions: dict[Request, list[Tensor]] = {}
        texts: dict = {}  # embeddings of prompts
        for request, seed in zip(requests, seeds, strict=True):
            if request not in conditions:
                conditions[request] = embed_request(self, request, call.templates, texts)
            canvas = self.task.canvas(request, self.restorer.config.sample_size, device)
            results.append(_Result(request, canvas, conditions[request], torch.Generator().manual_seed(seed)))
            runs += canvas.count
        results.reverse()
        rasters: list[Raster] = []
        with self.progress_bar(total=runs) as bar:
            while results:  # as many side by side as a batch has places; then their pixels are freed
                group = results[-batch_size:][::-1]
                del results[-batch_size:]
                for batch in _batches(group, batch_size):
                    samples = self._run_network(batch, device)
                    for (_, window), sample in zip(batch, samples, strict=True):
                        window.paste(sample)
                    bar.update(len(batch))
                for result in group:
                    rasters.append(to_result(result.canvas.result(), result.request, self.task))
        return rasters

    def _run_network(self, batch: "list[tuple[_Result, Window]]", device: torch.device) -> Tensor:
        """Outputs `[N, C, h, w]` float32 for windows of one size, which are padded to the network's stride."""
        network, conditions, strengths, generators = self.restorer, [], [], []
        for result, window in batch:
            face = window.face if len(result.conditions) > 1 else None
            conditions.append(result.conditions[0 if face is None else 1 + face])
            given = result.request.skip_strength
            strengths.append(window.skip_strength if given is None else given)
            generators.append(result.generator)
        degraded = torch.stack([window.degraded for _, window in batch])
        height, width = degraded.shape[-2:]
        padded = F.pad(degraded, (0, -width % network.stride, 0, -height % network.stride), mode="replicate")
        padded = padded.to(device, network.dtype, memory_format=torch.channels_last)
        skip_strength = None
        if strengths[0] is not None:
            skip_strength = torch.tensor(strengths, dtype=torch.float32, device=device).reshape(len(batch), -1)
        sample = network(padded, torch.cat(conditions).to(device), skip_strength, generators).sample
        if not sample.isfinite().all():
            raise ValueError(f"The output in {network.dtype} is NaN or infinite. Try float32, or another checkpoint.")
        return sample[..., :height, :width].float()


class _Result(NamedTuple):
    """A result in the making: its conditions `[1, D]` are the image's and perhaps one for each of its faces."""

    request: Request
    canvas: Canvas
    conditions: list[Tensor]
    generator: torch.Generator  # of its noise


def _batches(results: list[_Result], batch_size: int) -> Iterator[list[tuple[_Result, Window]]]:
    """The windows of results, one result after the other; a batch holds neighbors of one size."""
    batch: list[tuple[_Result, Window]] = []
    for result in results:
        for window in result.canvas.windows():
            if batch and (len(batch) == batch_size or window.degraded.shape != batch[0][1].degraded.shape):
                yield batch
                batch = []
            batch.append((result, window))
    if batch:  # a canvas may have no window
        yield batch


def feather_fills(raster: Raster, request: Request) -> Raster:
    """Blends the old content into the fills over `feather` pixels inside the mask."""
    mask, known = request.mask, request.image.rgb
    assert mask is not None  # inpainting requires it
    weights = feather_weights(mask, request.feather)[..., None]
    mixed = (weights * raster.rgb + (1 - weights) * known).round().astype(np.uint8)
    return replace(raster, rgb=np.where(mask[..., None], mixed, raster.rgb))


def to_result(restored: Tensor, request: Request, task: Task) -> Raster:
    """Joins the restored pixels `[3, H, W]` uint8 with what stays of the source: pixels outside a mask, and alpha."""
    source, mask = request.source or request.image, request.mask
    rgb = restored.movedim(0, -1).cpu().contiguous().numpy()
    if mask is not None and rgb.shape == source.rgb.shape:
        rgb = np.where(mask[..., None], rgb, source.rgb)
    alpha = source.alpha
    if alpha is not None and mask is not None and task.degradation == "mask_image":
        alpha = np.where(mask, 255, alpha).astype(np.uint8)  # what is repainted is opaque
    elif alpha is not None and alpha.shape != rgb.shape[:2]:
        alpha = to_array(resize(to_tensor(alpha[..., None]), rgb.shape[:2]))[..., 0]
    return Raster(rgb, None if alpha is None or alpha.min() == 255 else alpha, source.profile)


def to_output(
    rasters: list[Raster], output_type: str, settings: list[dict]
) -> list[Image.Image] | np.ndarray | Tensor | list[np.ndarray] | list[Tensor]:
    """Images as "pil", or as "np" `[N, H, W, 3]` or "pt" `[N, 3, H, W]` in [0, 1].

    Arrays and tensors of different sizes stay a list. Alpha, profile and settings go with "pil" alone.
    """
    images: list = []
    for raster, own in zip(rasters, settings, strict=True):
        if output_type != "pil":
            images.append(raster.rgb.astype(np.float32) / 255 if output_type == "np" else to_tensor(raster.rgb)[0])
            continue
        image = Image.fromarray(raster.rgb)
        if raster.alpha is not None:
            image.putalpha(Image.fromarray(raster.alpha))
        if raster.profile:
            image.info["icc_profile"] = raster.profile
        image.info[SETTINGS] = own
        images.append(image)
    if output_type == "pil" or len({image.shape for image in images}) > 1:
        return images
    return np.stack(images) if output_type == "np" else torch.stack(images)
