"""A dual encoder's files, checked before transformers sees them: sizes, weights, tokenizer and image processor."""

import json
from pathlib import Path

import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel, PretrainedConfig
from transformers.initialization import no_init_weights

from textir_hf.models.bounds import MINI_CLIP, TRANSFORMER, check_bounds
from textir_hf.models.configuration import MiniCLIPConfig
from textir_hf.models.encoder import MiniCLIPModel
from textir_hf.models.weights import check_weights

_KINDS = {MiniCLIPConfig.model_type: (MiniCLIPConfig, MiniCLIPModel), "clip": (CLIPConfig, CLIPModel)}
_CODE = ("auto_map", "attn_implementation", "quantization_config", "custom_pipelines")  # can name code to run
_TOWERS = ("text_config", "vision_config", "text_config_dict", "vision_config_dict")  # the latter in older files
_PROCESSING = {
    "do_resize": True,
    "do_center_crop": True,
    "do_rescale": True,
    "do_normalize": True,
    "do_pad": False,
    "resample": Image.Resampling.BICUBIC,
    "rescale_factor": 1 / 255,
}
_TOKENIZERS = (("tokenizer.json",), ("vocab.txt",), ("vocab.json", "merges.txt"))


def check_encoder(
    folder: Path, tokenizer: Path | None = None, processor: Path | None = None, variant: str | None = None
) -> None:
    """Checks a folder with a `MiniCLIPModel` or a `CLIPModel`, its tokenizer and its image processor.

    Args:
        folder: Of the model.
        tokenizer: Of the tokenizer, if it is another.
        processor: Of the image processor, if it is another.
        variant: As in transformers.

    Raises:
        ValueError: It is another kind of model, a size is out of bounds, a config names code, or weights do not fit.
        OSError: A file is missing.
    """
    config = _read(folder / "config.json")
    check_config(config)
    if (folder / "adapter_config.json").exists():
        raise ValueError(f"{folder.name} has an adapter, which is not supported. Merge it into the weights")
    kind, model = _KINDS[config["model_type"]]
    with torch.device("meta"), no_init_weights():
        network = model(kind.from_dict(config))
    check_weights(folder, network, "model", variant)
    _check_tokenizer_files(tokenizer or folder)
    size = getattr(network.config, "vision_config", network.config).image_size
    _check_processor(_read((processor or folder) / "preprocessor_config.json"), size)


def check_config(config: dict) -> None:
    """Checks the content of an encoder's config.json.

    Raises:
        ValueError: It is of another kind of model, a size is out of bounds, or it names code.
    """
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError(f"its type is {kind}, expected clip")
    parts = [config.get(name) or {} for name in _TOWERS]
    for part in (config, *parts):
        if not isinstance(part, dict):
            raise ValueError(f"{', '.join(_TOWERS)} must be objects, got {part!r}")
        code = [key for key in part if key.removeprefix("_").removesuffix("_internal") in _CODE]
        if code:
            raise ValueError(f"its config has {code[0]!r}, which can name code to run. Remove it")
        check_bounds(part, TRANSFORMER)
    if config["model_type"] == MiniCLIPConfig.model_type:
        check_bounds(config, MINI_CLIP)


def check_tokenizer(tokenizer, config: PretrainedConfig) -> None:
    """Checks that a tokenizer's words are those that a text tower knows.

    Args:
        tokenizer: The tokenizer.
        config: Of the encoder.

    Raises:
        ValueError: It has more, or less than half of them; or it allows longer texts.
    """
    text = config.text_config if isinstance(config.text_config, dict) else config.text_config.to_dict()
    words, places = text.get("vocab_size"), text.get("max_position_embeddings")
    if words is not None and not words // 2 < len(tokenizer) <= words:
        raise ValueError(f"its tokenizer has {len(tokenizer)} words, and its text tower {words}: they are no pair")
    longest = tokenizer.model_max_length
    if places is not None and not (isinstance(longest, int) and 1 < longest <= places):
        raise ValueError(f"its tokenizer allows {longest} tokens, and its text tower {places}")


def check_processor(processor) -> None:
    """Checks that an image processor does what `clip_pixel_values` does in its place.

    Args:
        processor: Of any class of transformers.

    Raises:
        ValueError: It resizes, crops, rescales or normalizes in another way.
    """
    for name, expected in _PROCESSING.items():
        value = getattr(processor, name, None)
        if (value or False) != expected:
            raise ValueError(f"its image processor must have {name}={expected}, got {value!r}")
    size, crop = dict(processor.size or {}), dict(processor.crop_size or {})
    side = size.get("shortest_edge", 0)
    if (
        set(size) != {"shortest_edge"}
        or set(crop) != {"height", "width"}
        or not crop["height"] == crop["width"] <= side
    ):
        raise ValueError(
            "its image processor must have a size with a shortest_edge alone and a square crop_size of at most that, "
            f"got {size} and {crop}"
        )


def _check_tokenizer_files(folder: Path) -> None:
    if not any(all((folder / name).is_file() for name in names) for names in _TOKENIZERS):
        raise OSError(f"{folder.name} has no tokenizer: no tokenizer.json, vocab.txt, or vocab.json with merges.txt")
    if (folder / "tokenizer_config.json").is_file() and "auto_map" in _read(folder / "tokenizer_config.json"):
        raise ValueError(f"the tokenizer's config in {folder.name} has 'auto_map', which names code to run. Remove it")


def _check_processor(config: dict, image_size: int) -> None:
    sizes = [config.get("size", 224), config.get("crop_size", 224)]
    for size in sizes:
        values = size.values() if isinstance(size, dict) else [size]
        if any(value != image_size or isinstance(value, bool) for value in values):
            raise ValueError(f"its image processor must give images of {image_size} pixels, got {size}")
    for name, low in (("image_mean", -1e3), ("image_std", 1e-3)):
        values = config.get(name, [0.5] * 3)
        if not isinstance(values, list) or len(values) != 3:
            raise ValueError(f"{name} must be a list of three numbers, got {values!r}")
        check_bounds({f"{name}[{i}]": v for i, v in enumerate(values)}, {f"{name}[{i}]": (low, 1e3) for i in range(3)})


def _read(path: Path) -> dict:
    if not path.is_file():
        raise OSError(f"{path.parent.name} has no file named {path.name}")
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} must hold an object, got a {type(content).__name__}")
    return content
