"""What is allowed in a checkpoint: safetensors with a network's weights and no others, and configs in range.

No file of a checkpoint names code that is run.
"""

from collections.abc import Mapping
from pathlib import Path

from diffusers import ModelMixin
from huggingface_hub import snapshot_download
from PIL import Image
from torch import nn

from textir_hf.checks import Number, number

CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"  # those of the package itself
_CODE = ("auto_map", "attn_implementation", "quantization_config", "custom_pipelines")  # can name code to run
_FILES = ["*.json", "*.txt", "*.model", "*.safetensors", "README.md"]
_VARIANTS = ["*.fp16.*", "*.bf16.*", "*.fp16-*", "*.bf16-*"]
_ENCODERS = ("textir_mini_clip", "clip")
_TOWERS = ("text_config", "vision_config", "text_config_dict", "vision_config_dict")  # the latter in older files
_MOST = {  # of networks and encoders: no config may ask for more memory or time than a machine has
    64: ("in_channels", "out_channels", "num_channels"),
    256: ("num_heads", "num_attention_heads", "num_hidden_layers"),
    4096: ("sample_size", "image_size", "patch_size", "num_queries"),
    65_536: ("embedding_dim", "style_dim", "projection_dim", "hidden_size", "intermediate_size"),
    1_000_000: ("vocab_size", "max_position_embeddings"),
}
BOUNDS = {name: Number(1, most, whole=True) for most, names in _MOST.items() for name in names} | {
    "skip_strength_hidden": Number(0, 65_536, whole=True),
    "blocks": Number(0, 16, whole=True),
    "input_scale": Number(1e-6, 1e6),
    "output_scale": Number(1e-6, 1e6),
    "scale": Number(0, 1e3),
}
_PROCESSING = {
    "do_resize": True,
    "do_center_crop": True,
    "do_rescale": True,
    "do_normalize": True,
    "do_pad": False,
    "resample": Image.Resampling.BICUBIC,
    "rescale_factor": 1 / 255,
}


class CheckedWeights(ModelMixin):
    """A diffusers model that loads safetensors alone, and only those that hold all of its weights and nothing else."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, output_loading_info: bool = False, **kwargs):
        """As in diffusers, but `use_safetensors` is always on, and config and weights have to fit."""
        kwargs["use_safetensors"] = True
        model, info = super().from_pretrained(pretrained_model_name_or_path, output_loading_info=True, **kwargs)
        check_loading(model, info)
        return (model, info) if output_loading_info else model


def download(name: str, variant: str | None = None, **options) -> Path:
    """Fetches a pipeline's repository into the Hub's cache: diffusers' own download refuses other packages' components.

    Half-precision files are fetched only if a variant is asked for. Options are those of `snapshot_download`.
    """
    ignored = None if variant else _VARIANTS
    return Path(snapshot_download(name, allow_patterns=_FILES, ignore_patterns=ignored, **options))


def check_loading(model: nn.Module, info: dict) -> None:
    """Checks a network after diffusers or transformers has loaded it."""
    name = type(model).__name__
    for kind in ("missing", "unexpected", "mismatched"):
        keys = sorted(map(str, info.get(f"{kind}_keys") or ()))
        if keys:
            raise ValueError(f"{name} has {len(keys)} {kind} weights, such as {keys[0]}")


def check_bounds(config: Mapping) -> None:
    """Checks the numbers of a config that `BOUNDS` names."""
    for name in BOUNDS.keys() & config.keys():
        if BOUNDS[name].whole and not isinstance(config[name], int):
            raise ValueError(f"{name} must be a whole number, got {config[name]!r}.")
        number(name, config[name], BOUNDS[name])


def check_encoder_config(config: dict) -> None:
    """Checks the content of a dual encoder's config.json."""
    if config.get("model_type") not in _ENCODERS:
        raise ValueError(f"its type is {config.get('model_type')}, expected clip")
    for part in (config, *(config.get(name) or {} for name in _TOWERS)):
        if not isinstance(part, dict):
            raise ValueError(f"{', '.join(_TOWERS)} must be objects, got {part!r}")
        code = [key for key in part if key.removeprefix("_").removesuffix("_internal") in _CODE]
        if code:
            raise ValueError(f"its config has {code[0]!r}, which can name code to run. Remove it")
        check_bounds(part)


def check_tokenizer(tokenizer, config) -> None:
    """Checks that a tokenizer's words are those that a text tower knows."""
    words, places = config.text_config.vocab_size, config.text_config.max_position_embeddings
    if not words // 2 < len(tokenizer) <= words:
        raise ValueError(f"its tokenizer has {len(tokenizer)} words, and its text tower {words}: they are not a pair")
    longest = tokenizer.model_max_length
    if not (isinstance(longest, int) and 1 < longest <= places):
        raise ValueError(f"its tokenizer allows {longest} tokens, and its text tower {places}")


def check_processor(processor) -> None:
    """Checks that an image processor does what `embedding.clip_pixel_values` does in its place."""
    for name, expected in _PROCESSING.items():
        value = getattr(processor, name, None)
        if (value or False) != expected:
            raise ValueError(f"its image processor must have {name}={expected}, got {value!r}")
    size, crop = dict(processor.size or {}), dict(processor.crop_size or {})
    given = [size.get("shortest_edge"), crop.get("height"), crop.get("width")]
    sides = [value for value in given if isinstance(value, int) and 1 <= value <= 4096]
    if len(size) != 1 or len(crop) != 2 or len(sides) != 3 or not sides[1] == sides[2] <= sides[0]:
        raise ValueError(f"its image processor must crop a square crop_size of its shortest_edge, got {size}, {crop}")
    for name in ("image_mean", "image_std"):
        values = getattr(processor, name, None)
        if not isinstance(values, (list, tuple)) or len(values) != 3 or (name == "image_std" and 0 in values):
            raise ValueError(f"its image processor must have an {name} of three numbers, got {values!r}")
