"""TextIRPipeline: images and sentences in, restored images out."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput
from torch import Tensor
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from textir_hf.checks import boolean, plain_numbers
from textir_hf.imaging.files import MAX_PIXELS
from textir_hf.models.embedding import forget_lengths
from textir_hf.models.encoder_files import check_processor
from textir_hf.models.generator import TextIRGenerator
from textir_hf.models.recentering import TextRecentering
from textir_hf.pipeline import arguments, condition, finish, loading, prepare
from textir_hf.pipeline.arguments import Box, Faces, Images, Prompts
from textir_hf.pipeline.folder import check_folder, check_options
from textir_hf.pipeline.run import CountedNetwork, Run, run_all, step_callback
from textir_hf.tasks import Task, get_task


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
    _callback_tensor_inputs = ["sample"]

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
        prompt_templates = arguments.check_templates(prompt_templates, "prompt_templates")
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
        return get_task(self.restorer.config.task)

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
            check_options(kwargs)
            kwargs |= {"use_safetensors": True, "trust_remote_code": False}
            folder = loading.locate(name, kwargs)
            index = cls.load_config(folder)
            loading.check_variant(folder, kwargs.get("variant"))
            check_folder(Path(folder), index, cls.__name__, kwargs)
            kwargs |= loading.shared_encoder(index, kwargs, kwargs["dtype"])
            pipe = super().from_pretrained(folder, **kwargs)
            loading.check_loaded(pipe, kwargs)
        pipe.register_to_config(_name_or_path=name)
        return pipe

    def save_pretrained(self, save_directory: str | os.PathLike, safe_serialization: bool = True, **kwargs) -> None:
        """Writes the pipeline's folder, always as safetensors.

        Args:
            save_directory: The folder.
            safe_serialization: As in diffusers, without effect: no pickle is ever written.
            **kwargs: As in diffusers: `variant`, `max_shard_size`, `push_to_hub`.
        """
        if self.tokenizer is not None:
            forget_lengths(self.tokenizer)
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
        strength: float | list[float] | None = None,
        scale: float | None = None,
        box: Box | None = None,
        faces: Faces | None = None,
        face_prompts: Prompts | None = None,
        background: Images | Literal["restored"] | None = None,
        feather: float = 0.0,
        tile: int | None = None,
        templates: list[str] | None = None,
        prompt_embeds: Tensor | None = None,
        num_images_per_prompt: int = 1,
        generator: torch.Generator | list[torch.Generator] | None = None,
        batch_size: int | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[[DiffusionPipeline, int, int, dict], dict | None] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("sample",),
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
            strength: s of Eq. 4 in 0..1, how much generated features count against the degraded image's, in place of
                what the network derives; a list has one for each level, full size first.
            scale: For super-resolution: how many times larger the result is than the image, 2 to 64.
            box: (left, top, right, bottom) of the part to look at, in pixels. Inpainting then looks at this box instead
                of the surroundings of each masked region; super-resolution restores the box before the `background`.
            faces: Which faces of a photo to restore, each upright in the frame that the network was trained on: "all",
                "largest", the number of a face in reading order from 1, or several numbers. "auto" means all, and the
                image as a whole where there is none. Super-resolution restores them before the `background`;
                inpainting fills in a face's frame what a mask has of it.
            face_prompts: A prompt for each of these faces, in reading order; then `prompt` may be left out.
            background: For super-resolution of faces or a box: what comes back bit for bit elsewhere, and where "auto"
                finds no face. "restored" is the result of the same call without faces or box; an image of the result's
                size may come from another checkpoint or program; left out, the image is upscaled bicubically.
            feather: For inpainting: pixels inside the mask over which the old content turns into the new one.
            tile: For super-resolution: side of the tiles in the result's pixels; twice the trained size if left out.
            templates: Sentences with "{}" for the prompt, over which its embedding is averaged.
            prompt_embeds: `[N, D]` from `encode_prompt`, in place of prompts.
            num_images_per_prompt: Results for each image; they differ by their noise.
            generator: Source of fine noise, seed 0 if left out; a list has one for each result. The same seed gives the
                same image, alone or among others, and `info["textir"]` has each result's.
            batch_size: Most crops, tiles or images in one run of the network; 1 on the CPU and 8 elsewhere if left out.
                With 1, a batch's results are its single results bit for bit; with more, within 1/255.
            output_type: "pil", "np" (`[N, H, W, 3]`) or "pt" (`[N, 3, H, W]`), the latter two float32 in [0, 1] on the
                CPU. PIL images keep the source's alpha and say in `info["textir"]` how they were made.
            return_dict: Return an `ImagePipelineOutput` instead of a tuple.
            callback_on_step_end: Called as `callback(pipe, step, step, tensors)` after each run of the network; what it
                returns under a name of `tensors` takes that tensor's place.
            callback_on_step_end_tensor_inputs: Names of the tensors it is given: "sample", the network's output.

        Returns:
            The restored images, `.images` or `[0]`.

        Raises:
            ValueError: An argument is missing, empty, out of range, of another size, or not for this task.
        """
        if image is None:
            raise ValueError("image must be given: the image to restore.")
        own: dict[str, Any] = plain_numbers(scale=scale, feather=feather, tile=tile)
        images: dict[str, Any] = {"image": image, "mask_image": mask_image, "reference_image": reference_image}
        (own if isinstance(background, str) else images)["background"] = arguments.check_background(background)
        shared = (beta, strength, templates, box, faces, face_prompts)
        options = prepare.to_options(self.restorer.config, *shared, own, None, self.max_pixels)
        asked = own | {"background": background}
        self.task.check_call(mask_image=mask_image, box=options.box, faces=options.faces, **asked)
        callback = step_callback(self, callback_on_step_end, callback_on_step_end_tensor_inputs)
        running = (num_images_per_prompt, generator, batch_size, output_type, return_dict, callback)
        return self._restore(images, prompt, prompt_embeds, options, *running)

    @torch.no_grad()
    def edit(
        self,
        prompt: Prompts,
        image: Images,
        region: Images | None = None,
        factor: float | None = None,
        colors: bool = False,
        beta: float = 1.0,
        strength: float | list[float] | None = None,
        box: Box | None = None,
        faces: Faces | None = None,
        face_prompts: Prompts | None = None,
        feather: float = 0.0,
        templates: list[str] | None = None,
        num_images_per_prompt: int = 1,
        generator: torch.Generator | list[torch.Generator] | None = None,
        batch_size: int | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """Edits good images by degrading them first and restoring them towards the prompt (Sec. 4.5).

        An inpainting checkpoint repaints `region`, one for super-resolution loses resolution by `factor`, one for
        colorization loses `colors`. `beta` mixes in the original. Arguments not listed are those of the call.

        Args:
            prompt: What the result should show.
            image: The image or images.
            region: Of the image's size, white = edit. Outside it, or a `box`, the original comes back bit for bit.
            factor: How many times to shrink before restoring, 2 to 64.
            colors: Take the colors away.

        Raises:
            ValueError: The degradation is not this checkpoint's, or as in the call.
        """
        own, colors = plain_numbers(factor=factor, feather=feather), boolean("colors", colors)
        shared = (beta, strength, templates, box, faces, face_prompts)
        options = prepare.to_options(self.restorer.config, *shared, own, self.task.degradation, self.max_pixels)
        self.task.check_edit(region=region, colors=colors, box=options.box, faces=options.faces, **own)
        images = {"image": image, "region": region}
        running = (num_images_per_prompt, generator, batch_size, output_type, return_dict, None)
        return self._restore(images, prompt, None, options, *running)

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
        templates, prompts = arguments.check_templates(templates), arguments.prompt_list(prompt)
        return torch.cat([condition.encode_prompt(self, prompt, templates) for prompt in prompts])

    def _restore(
        self, images, prompt, embeds, options, variants, generator, batch_size, output_type, return_dict, callback
    ) -> ImagePipelineOutput | tuple:
        """Prepare, run, finish."""
        config, task, device = self.restorer.config, self.task, self._execution_device
        variants, batch_size = arguments.check_running(variants, batch_size, output_type, return_dict)
        prepared = prepare.prepare_all(task, config, options, images, prompt, embeds)
        plans = deque(task.plan(p.request, config.sample_size, device) for p in prepared)
        seeds = arguments.result_seeds(generator, len(prepared), variants)
        conditions = condition.Conditions(self, options.templates, options.beta)

        def runs() -> Iterator[Run]:
            for i, asked in enumerate(prepared):
                plan = plans.popleft()  # so that it is freed when its results are done
                shown = conditions(asked, config.sample_size)
                for seed in seeds[i * variants : (i + 1) * variants]:
                    yield Run(plan.restore(), shown, options.strength, torch.Generator().manual_seed(seed))

        batch_size = batch_size or (1 if device.type == "cpu" else 8)
        owners = [p for p in prepared for _ in range(variants)]
        with self.progress_bar(total=variants * sum(plan.windows for plan in plans)) as bar:
            restored = run_all(runs(), CountedNetwork(self.restorer, device, bar.update, callback), batch_size)
            rasters = [finish.finish(r, p, task) for r, p in zip(restored, owners, strict=True)]
        self.maybe_free_model_hooks()
        model = Path(str(self.name_or_path or "")).name
        settings = [finish.settings_of(p, task, model, seed) for p, seed in zip(owners, seeds, strict=True)]
        output = finish.to_output(rasters, output_type, settings)
        return ImagePipelineOutput(images=output) if return_dict else (output,)
