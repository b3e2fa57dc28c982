"""E_I and E_T of TextIR, Eq. 1: images and sentences to embeddings, by any CLIP model."""

import warnings
from pathlib import Path

import torch
from diffusers import ConfigMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoTokenizer, BertTokenizerFast, CLIPModel, PretrainedConfig, PreTrainedModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from textir_hf.imaging.resample import resize
from textir_hf.models.checkpoint import (
    CHECKPOINTS,
    CheckedWeights,
    check_bounds,
    check_encoder_config,
    check_loading,
    check_processor,
    check_tokenizer,
)
from textir_hf.models.encoder import MiniCLIPConfig, MiniCLIPModel

ENCODER = "textir-mini-clip"


def load_encoder(name: str | Path, dtype: torch.dtype = torch.float32, **options):
    """A dual encoder, its tokenizer and its image processor; options as in transformers.

    `name`: "textir-mini-clip", which is embedded; a folder with a `MiniCLIPModel` or a CLIP model; or a CLIP model on
    the Hub.
    """
    try:
        where = CHECKPOINTS / ENCODER if str(name) == ENCODER else name
        options = {} if Path(where).is_dir() else options
        config, _ = PretrainedConfig.get_config_dict(where, **options)
        check_encoder_config(config)
        own = config["model_type"] == MiniCLIPConfig.model_type
        model, tokenizer = (MiniCLIPModel, BertTokenizerFast) if own else (CLIPModel, AutoTokenizer)
        safe = {"use_safetensors": True, "trust_remote_code": False, "output_loading_info": True}
        clip, info = model.from_pretrained(where, dtype=dtype, **safe, **options)
        check_loading(clip, info)
        words = tokenizer.from_pretrained(where, trust_remote_code=False, **options)
        check_tokenizer(words, clip.config)
        image_processor = CLIPImageProcessorPil.from_pretrained(where, **options)
        check_processor(image_processor)
        return clip.eval(), words, image_processor
    except Exception as error:  # of the client, of two libraries, and of files that may hold anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        what = f"Give {ENCODER}, a folder, or the name of a CLIP model on the Hub."
        raise ValueError(f"The dual encoder {name} cannot be loaded ({reason}). {what}") from error


class TextRecentering(CheckedWeights, ConfigMixin):
    """Moves text embeddings to where the image embeddings are, closing CLIP's modality gap.

    Text and image embeddings of a contrastive encoder fill two separate cones (Liang et al., 2022), and a generator
    trained on image embeddings (TextIR, Eq. 1) would meet a mean at inference that it has never seen. With the two
    means over the generator's training domain, `c = normalize(image_mean + scale * (text - text_mean))`.

    Args:
        embedding_dim: Length of the embeddings.
        scale: Ratio of the deviations of image and text embeddings around their means; 1 only shifts.
    """

    @register_to_config
    def __init__(self, embedding_dim: int = 512, scale: float = 1.0) -> None:
        super().__init__()
        check_bounds(self.config)
        self.text_mean = nn.Parameter(torch.zeros(embedding_dim), requires_grad=False)
        self.image_mean = nn.Parameter(torch.zeros(embedding_dim), requires_grad=False)

    def forward(self, embedding: Tensor, back: bool = False) -> Tensor:
        """`[N, D]` at unit length to `[N, D]` at unit length; `back` gives the text's embedding again."""
        if not back:
            return F.normalize(self.image_mean + self.config.scale * (embedding - self.text_mean), dim=-1)
        shift = self.image_mean - self.config.scale * self.text_mean
        along = (embedding * shift).sum(-1, keepdim=True)
        length = along + (along.square() - shift.square().sum() + self.config.scale**2).clamp(min=0).sqrt()
        return F.normalize(length * embedding - shift, dim=-1)


def clip_pixel_values(images: Tensor, image_processor) -> Tensor:
    """What an HF CLIP image processor does, on tensors and with gradients: antialiased resize, crop, normalize.

    `[N, 3, H, W]` in [0, 1] to `[N, 3, S, S]`, for a processor that `check_processor` accepts.
    """
    shortest, crop = image_processor.size["shortest_edge"], image_processor.crop_size["height"]
    longest = 8 * min(images.shape[-2:])  # of a longer image only the middle is embedded, so only that is resized
    top, left = (max(side - longest, 0) // 2 for side in images.shape[-2:])
    images = images[..., top : top + longest, left : left + longest]
    height, width = images.shape[-2:]
    shorter = min(height, width)
    size = (int(shortest * height / shorter), int(shortest * width / shorter))  # cut, as transformers does
    images = resize(images if size == (height, width) else images.float(), size)
    top, left = (size[0] - crop) // 2, (size[1] - crop) // 2
    images = images[..., top : top + crop, left : left + crop].clamp(0, 1)
    mean, std = (  # [3, 1, 1], filled on the images' device: a copy from the CPU would make the CPU wait for it
        torch.stack([images.new_full((1, 1), value) for value in values])
        for values in (image_processor.image_mean, image_processor.image_std)
    )
    return (images - mean) / std


def embed_images(clip: PreTrainedModel, image_processor, images: Tensor) -> Tensor:
    """E_I of TextIR, Eq. 1: `[N, 3, H, W]` in [0, 1] to `[N, D]` at unit length, differentiable in the images."""
    pixel_values = clip_pixel_values(images, image_processor).to(clip.dtype)
    if _is_hooked(clip):
        tokens = torch.zeros(1, 1, dtype=torch.long, device=images.device)
        output = clip(input_ids=tokens, pixel_values=pixel_values, return_dict=True).vision_model_output
    else:
        output = clip.get_image_features(pixel_values=pixel_values, return_dict=True)
    return F.normalize(output.pooler_output.float(), dim=-1)


def embed_texts(clip: PreTrainedModel, tokenizer, texts: list[str], device: torch.device | str | None = None) -> Tensor:
    """E_T of TextIR, Eq. 1: sentences to `[N, D]` at unit length; too long ones are cut, with a warning.

    `device` is where the encoder runs, if its weights are elsewhere between calls.
    """
    limit = tokenizer.model_max_length
    for text, ids in zip(texts, tokenizer(texts, verbose=False)["input_ids"], strict=True):
        if len(ids) > limit:
            warnings.warn(f"The text has {len(ids)} tokens, all after {limit} are cut: {text[:60]}...", stacklevel=2)
    found = tokenizer(texts, padding=True, truncation=True, return_tensors="np")  # "pt" is on PyTorch's default device
    names = ("input_ids", "attention_mask")
    tokens = {name: torch.from_numpy(found[name]).to(device or clip.device) for name in names}
    if _is_hooked(clip):
        side = getattr(clip.config, "vision_config", clip.config).image_size
        pixel_values = torch.zeros(1, 3, side, side, dtype=clip.dtype, device=tokens["input_ids"].device)
        output = clip(**tokens, pixel_values=pixel_values, return_dict=True).text_model_output
    else:
        output = clip.get_text_features(**tokens, return_dict=True)
    return F.normalize(output.pooler_output.float(), dim=-1)


def _is_hooked(clip: PreTrainedModel) -> bool:
    """Whether accelerate or diffusers has replaced the instance's `forward`.

    Only a call of it moves the weights then, and CLIP's takes both inputs: the other tower is given the least there is.
    """
    return "forward" in vars(clip)
