"""TextIRPipeline: pictures and sentences in, restored pictures out."""

import os
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from textir_hf import degradations
from textir_hf.clip import CHECKPOINTS, ENCODER, TextRecentering, embed_images, embed_texts, load_encoder
from textir_hf.generator import TextIRGenerator
from textir_hf.images import Picture, to_array, to_mask, to_output, to_rgb, to_tensor

EMBEDDED = ("textir-mini-inpainting", "textir-mini-super-resolution", "textir-mini-colorization")


class TextIRPipeline(DiffusionPipeline):
    """Restores damaged pictures towards what a sentence says (TextIR, Bai et al., 2023).

    The task is the checkpoint's: filling holes, enlarging 2 to 64 times, or giving colour.

    Args:
        restorer: The network.
        clip: A dual encoder: `transformers.CLIPModel`, or the embedded `MiniCLIPModel`.
        tokenizer: The encoder's tokenizer.
        image_processor: The encoder's image processor.
        recentering: Moves text embeddings to where the network's image embeddings lie; None leaves them.
    """

    model_cpu_offload_seq = "clip->recentering->restorer"
    _optional_components = ["recentering"]

    def __init__(
        self,
        restorer: TextIRGenerator,
        clip: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        image_processor: BaseImageProcessor,
        recentering: TextRecentering | None = None,
    ) -> None:
        super().__init__()
        if clip is not None:
            _align(clip)
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
        """
        name = str(pretrained_model_name_or_path)
        if "torch_dtype" not in kwargs:  # the older name of `dtype`
            kwargs.setdefault("dtype", torch.float32)
        if name in EMBEDDED:
            parts = load_encoder(ENCODER, kwargs.get("dtype", kwargs.get("torch_dtype")))
            for part, module in zip(("clip", "tokenizer", "image_processor"), parts, strict=True):
                kwargs.setdefault(part, module)
            return super().from_pretrained(CHECKPOINTS / name, **kwargs)
        if not Path(name).is_dir() and name.count("/") != 1:
            raise ValueError(
                f"{name} is no checkpoint: expected one of {', '.join(EMBEDDED)}, a folder, or owner/name on the Hub."
            )
        return super().from_pretrained(pretrained_model_name_or_path, **kwargs)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        image: Picture | list[Picture] | None = None,
        mask_image: Picture | list[Picture] | None = None,
        reference_image: Picture | list[Picture] | None = None,
        beta: float = 1.0,
        scale: float | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """Restores pictures. One prompt goes with every picture, and one picture with every prompt.

        Inpainting and colorization look at a picture larger than the trained size at that size: what they make for
        it (the hole's content, the colours) is enlarged and joined with the picture's own full-size pixels or
        lightness.

        Args:
            prompt: What the result should show. May be left out when `beta` is 0.
            image: The picture or pictures: PIL, array `[H, W, 3]` or tensor `[3, H, W]`.
            mask_image: For inpainting, of the image's size: white is repainted, and every other pixel comes back bit
                for bit.
            reference_image: A picture whose embedding is mixed with the text's; the image itself where it is left
                out and `beta` is not 1.
            beta: Share of the text in the condition (Sec. 4.6): `c = beta E_T(text) + (1 - beta) E_I(reference)`.
            scale: For super-resolution: how many times larger the result is than the image, 2 to 64.
            generator: Source of fine noise; the same seed gives the same picture, alone or among others. A list has
                one for each result. Without it, nothing is random.
            output_type: "pil", "np" (`[N, H, W, 3]` in [0, 1]) or "pt" (`[N, 3, H, W]` in [0, 1]).
            return_dict: Return an `ImagePipelineOutput` instead of a tuple.

        Returns:
            The restored pictures, `.images` or `[0]`.

        Raises:
            ValueError: An argument is missing, empty, out of range, of another size, or not for this task.
        """
        self._check_arguments(image, mask_image, reference_image, prompt, beta, scale, output_type)
        images, masks, references, prompts = _broadcast(
            image=_as_list(image),
            mask_image=_as_list(mask_image),
            reference_image=_as_list(reference_image),
            prompt=_as_list(prompt),
        )
        generators = self._generators(generator, len(images))
        restore = {
            "inpainting": self._inpaint,
            "super-resolution": self._super_resolve,
            "colorization": self._colorize,
        }[self.restorer.config.task]
        results = []
        for picture, mask, reference, text, source in self.progress_bar(
            list(zip(images, masks, references, prompts, generators, strict=True))
        ):
            rgb = to_rgb(picture)
            extra = scale if mask is None else to_mask(mask, rgb.shape[:2])
            condition = self._condition(text, rgb if reference is None else to_rgb(reference), beta)
            results.append(restore(rgb, extra, condition, source))
        self.maybe_free_model_hooks()
        restored = to_output(results, output_type)
        return ImagePipelineOutput(images=restored) if return_dict else (restored,)

    def _condition(self, prompt: str | None, reference: np.ndarray, beta: float) -> Tensor:
        """`c` of Eq. 1 and Sec. 4.6: `[1, D]` at unit length."""
        parts = []
        if beta != 0:
            text = embed_texts(self.clip, self.tokenizer, [prompt])
            parts.append(beta * (text if self.recentering is None else self.recentering(text).float()))
        if beta != 1:
            image = to_tensor(reference, self._execution_device)
            parts.append((1 - beta) * embed_images(self.clip, self.image_processor, image))
        return F.normalize(sum(parts), dim=1)

    def _inpaint(self, rgb: np.ndarray, hole: np.ndarray, condition: Tensor, generator) -> np.ndarray:
        image, mask = (to_tensor(a, self._execution_device) for a in (rgb, hole[..., None].astype(np.uint8) * 255))
        size = self._trained_size(image)
        # Bilinear weights are never negative: a pixel whose shrunken mask is 0 holds nothing of the hole's old content.
        small, small_mask = (_resize(x, size, "bilinear") for x in (image, mask))
        degraded = degradations.mask_out(small, (small_mask > 1e-4).float())
        restored = _resize(self._run(degraded, condition, None, generator), image.shape[-2:])
        return np.where(hole[..., None], to_array(restored), rgb)

    def _super_resolve(self, rgb: np.ndarray, scale: float, condition: Tensor, generator) -> np.ndarray:
        size = tuple(round(side * scale) for side in rgb.shape[:2])
        degraded = degradations.upsample(to_tensor(rgb, self._execution_device), size)
        return to_array(self._run(degraded, condition, scale / degradations.MAX_FACTOR, generator))

    def _colorize(self, rgb: np.ndarray, _: None, condition: Tensor, generator) -> np.ndarray:
        lightness = degradations.lightness(to_tensor(rgb, self._execution_device))
        degraded = _resize(lightness, self._trained_size(lightness)).clamp(0, 100)
        chroma = _resize(self._run(degraded, condition, None, generator), lightness.shape[-2:])
        return to_array(degradations.join_lab(lightness, chroma))

    def _run(self, degraded: Tensor, condition: Tensor, strength: float | None, generator) -> Tensor:
        """The network on one picture of any size: padded to the stride by repeating the border, and cropped again."""
        height, width = degraded.shape[-2:]
        stride = self.restorer.stride
        padded = F.pad(degraded, (0, -width % stride, 0, -height % stride), mode="replicate")
        padded = padded.to(self.restorer.dtype, memory_format=torch.channels_last)
        sample = self.restorer(padded, condition.to(padded), strength, generator).sample
        return sample[..., :height, :width].float()

    def _trained_size(self, image: Tensor) -> tuple[int, int]:
        """The size with the shorter side at the trained size, where the picture is larger than that."""
        height, width = image.shape[-2:]
        ratio = min(1.0, self.restorer.config.sample_size / min(height, width))
        return round(height * ratio), round(width * ratio)

    def _check_arguments(self, image, mask_image, reference_image, prompt, beta, scale, output_type) -> None:
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
        if beta != 0 and (prompt is None or any(not p.strip() for p in _as_list(prompt))):
            raise ValueError("prompt must not be empty: say what the result should show, or set beta to 0.")
        if output_type not in ("pil", "np", "pt"):
            raise ValueError(f'output_type must be "pil", "np" or "pt", got {output_type!r}.')

    def _generators(self, generator, count: int) -> list[torch.Generator | None]:
        """One generator a picture; a single one hands its state at the call to each, so that batches change nothing."""
        if isinstance(generator, list):
            if len(generator) != count:
                raise ValueError(f"generator must be one or a list of {count}, one a result, got {len(generator)}.")
            return generator
        return [generator] + [None if generator is None else generator.clone_state() for _ in range(count - 1)]


def _align(module: nn.Module) -> None:
    """Moves weights that a memory-mapped file holds at odd addresses, where the CPU's matrix product sums otherwise."""
    for parameter in module.parameters():
        if parameter.device.type == "cpu" and parameter.data_ptr() % 64:
            parameter.data = parameter.data.clone()


def _as_list(value) -> list:
    """A list of pictures or texts; a tensor or array with a leading batch dimension is taken apart."""
    if isinstance(value, (Tensor, np.ndarray)) and value.ndim == 4:
        return list(value)
    return value if isinstance(value, list) else [value]


def _broadcast(**lists: list) -> list[list]:
    """Lists of one element to the length of the longest."""
    count = max(len(v) for v in lists.values())
    for name, values in lists.items():
        if len(values) not in (1, count):
            raise ValueError(f"{name} must be one or a list of {count}, got {len(values)}.")
    return [values * count if len(values) == 1 else values for values in lists.values()]


def _resize(image: Tensor, size: tuple[int, int], mode: str = "bicubic") -> Tensor:
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    return F.interpolate(image, tuple(size), mode=mode, antialias=True, align_corners=False)
