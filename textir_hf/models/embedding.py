"""E_I and E_T of TextIR, Eq. 1: images and sentences to embeddings, by any CLIP model."""

import warnings
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoConfig, AutoTokenizer, BertTokenizerFast, CLIPModel, PreTrainedModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from textir_hf.models.encoder import MiniCLIPConfig, MiniCLIPModel

CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"
ENCODER = "textir-mini-clip"


def load_encoder(name: str | Path, dtype: torch.dtype = torch.float32):
    """A dual encoder, its tokenizer and its image processor.

    Args:
        name: "textir-mini-clip", which is embedded; a folder with a `MiniCLIPModel` or a CLIP model; or a CLIP model on
            the Hub.
        dtype: Of the weights.

    Raises:
        ValueError: It cannot be loaded, or is another kind of model.
    """
    where = CHECKPOINTS / ENCODER if str(name) == ENCODER else name
    try:
        config = AutoConfig.from_pretrained(where)
        if isinstance(config, MiniCLIPConfig):
            model, tokenizer = MiniCLIPModel, BertTokenizerFast
        elif config.model_type == "clip":
            model, tokenizer = CLIPModel, AutoTokenizer
        else:
            raise ValueError(f"its type is {config.model_type}, expected clip")
        return (
            model.from_pretrained(where, dtype=dtype).eval(),
            tokenizer.from_pretrained(where),
            CLIPImageProcessorPil.from_pretrained(where),
        )
    except (OSError, ValueError) as error:
        raise ValueError(
            f"The dual encoder {name} cannot be loaded ({str(error).splitlines()[0]}). Give textir-mini-clip, a "
            "folder, or the name of a CLIP model on the Hub."
        ) from error


def clip_pixel_values(images: Tensor, image_processor) -> Tensor:
    """What an HF CLIP image processor does, on tensors and with gradients: antialiased resize, crop, normalize.

    Args:
        images: `[N, 3, H, W]` in [0, 1].
        image_processor: Gives `size`, `crop_size`, `image_mean` and `image_std`.

    Returns:
        `[N, 3, S, S]`, normalized.
    """
    shortest, crop = image_processor.size["shortest_edge"], image_processor.crop_size["height"]
    images = _middle(images)
    height, width = images.shape[-2:]
    size = tuple(int(shortest * side / min(height, width)) for side in (height, width))  # cut, as transformers does
    if size != (height, width):
        images = F.interpolate(images.float(), size, mode="bicubic", antialias=True, align_corners=False)
    top, left = (size[0] - crop) // 2, (size[1] - crop) // 2
    images = images[..., top : top + crop, left : left + crop].clamp(0, 1)
    mean, std = (_by_channel(images, v) for v in (image_processor.image_mean, image_processor.image_std))
    return (images - mean) / std


def _by_channel(images: Tensor, values: list[float]) -> Tensor:
    """`[C, 1, 1]`, filled on the images' device: a copy from the CPU would make the CPU wait for it."""
    return torch.stack([images.new_full((1, 1), value) for value in values])


def _middle(images: Tensor) -> Tensor:
    """At most 8 times as long as wide: of a longer image only the middle is embedded, so only that is resized."""
    height, width = images.shape[-2:]
    longest = 8 * min(height, width)
    top, left = max(height - longest, 0) // 2, max(width - longest, 0) // 2
    return images[..., top : top + longest, left : left + longest]


def embed_images(clip: PreTrainedModel, image_processor, images: Tensor) -> Tensor:
    """E_I of TextIR, Eq. 1: `[N, 3, H, W]` in [0, 1] to `[N, D]` at unit length, differentiable in the images."""
    pixel_values = clip_pixel_values(images, image_processor).to(next(clip.parameters()).dtype)
    return F.normalize(clip.get_image_features(pixel_values=pixel_values).pooler_output.float(), dim=-1)


def embed_texts(clip: PreTrainedModel, tokenizer, texts: list[str]) -> Tensor:
    """E_T of TextIR, Eq. 1: sentences to `[N, D]` at unit length.

    Text beyond the tokenizer's limit is cut, with a warning.
    """
    limit = tokenizer.model_max_length
    for text, ids in zip(texts, tokenizer(texts, verbose=False)["input_ids"], strict=True):
        if len(ids) > limit:
            warnings.warn(f"The text has {len(ids)} tokens, all after {limit} are cut: {text[:60]}...", stacklevel=2)
    tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt").to(clip.device)
    features = clip.get_text_features(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
    return F.normalize(features.pooler_output.float(), dim=-1)
