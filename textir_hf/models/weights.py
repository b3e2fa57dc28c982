"""Weights on disk, compared with the network that they are for before either is in memory."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from torch import nn

if TYPE_CHECKING:
    from diffusers import ModelMixin as _Model
else:
    _Model = object  # the class that is mixed in has diffusers' methods

CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"  # those of the package itself
_FLOATS = ("F16", "BF16", "F32", "F64")
_PLAIN_NAME = re.compile(r"[\w.-]+\.safetensors")


class CheckedWeights(_Model):
    """Lets a diffusers model load safetensors alone, and only those that hold all of its weights and nothing else."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, output_loading_info: bool = False, **kwargs):
        """As in diffusers.

        Args:
            pretrained_model_name_or_path: A folder, or a repository of the Hub.
            output_loading_info: As in diffusers: return what was found, too.
            **kwargs: As in `ModelMixin.from_pretrained`; `use_safetensors` is always on.

        Raises:
            ValueError: A key of the config is unknown; a weight is missing, left over, of another shape or type, or no
                finite number.
            OSError: There are no safetensors.
        """
        kwargs["use_safetensors"] = True
        folder = Path(pretrained_model_name_or_path) / (kwargs.get("subfolder") or "")
        if folder.is_dir() and not folder.is_relative_to(CHECKPOINTS):
            config = cls.load_config(folder)
            check_keys(config, cls._get_init_keys(cls))
            with torch.device("meta"):
                network = cls.from_config(config)
            check_weights(folder, network, "diffusion_pytorch_model", kwargs.get("variant"))
        model, info = super().from_pretrained(pretrained_model_name_or_path, output_loading_info=True, **kwargs)
        check_loading(info, cls.__name__)
        check_finite(model, cls.__name__)
        return (model, info) if output_loading_info else model


def check_keys(config: dict, known: set[str]) -> None:
    """Checks that a config has no key but those of its class and private ones.

    Raises:
        ValueError: It has another, or is not an object.
    """
    if not isinstance(config, dict):
        raise ValueError(f"a config.json must hold an object, got a {type(config).__name__}")
    unknown = [key for key in config if key not in known and key not in ("_class_name", "_diffusers_version")]
    unknown = [key for key in unknown if key != "_name_or_path"]
    if unknown:
        raise ValueError(f"its config has {unknown[0]!r}, which this version of textir_hf does not know")


def check_weights(folder: Path, network: nn.Module, base: str, variant: str | None = None) -> None:
    """Compares names, shapes and types in the headers of a folder's safetensors with a network.

    Args:
        folder: Holds `base`.safetensors, or its shards and their index.
        network: On the meta device.
        base: "diffusion_pytorch_model" or "model".
        variant: As in diffusers: the files' names carry it, where there are such files.

    Raises:
        ValueError: A weight is missing, left over, of another shape, or not of floating point; or the index names what
            is no safetensors file beside it.
        OSError: There are no safetensors.
    """
    expected = network.state_dict()
    found: set[str] = set()
    for path in weight_files(folder, base, variant):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118, no dict
                if name in expected:
                    _check_weight(name, file.get_slice(name), expected[name])
                elif not name.endswith(".position_ids"):  # a buffer that CLIP's older files hold
                    raise ValueError(f"{folder.name} holds the weight {name}, which its network has not")
                found.add(name)
    missing = [name for name in expected if name not in found]
    if missing:
        raise ValueError(f"{folder.name} lacks {len(missing)} of its {len(expected)} weights, such as {missing[0]}")


def _check_weight(name: str, stored, expected: torch.Tensor) -> None:
    if list(stored.get_shape()) != list(expected.shape):
        raise ValueError(f"the weight {name} must have the shape {list(expected.shape)}, got {stored.get_shape()}")
    if expected.is_floating_point() and stored.get_dtype() not in _FLOATS:
        raise ValueError(f"the weight {name} must have one of the types {', '.join(_FLOATS)}, got {stored.get_dtype()}")


def weight_files(folder: Path, base: str, variant: str | None = None) -> list[Path]:
    """The one safetensors file of a component, or its shards; arguments and errors as in `check_weights`."""
    for middle, ending in ((f".{variant}", f".{variant}"), ("", "")) if variant else (("", ""),):
        single, index = folder / f"{base}{middle}.safetensors", folder / f"{base}.safetensors.index{ending}.json"
        if single.is_file() and index.is_file():
            raise ValueError(f"{folder.name} has both {single.name} and {index.name}. Remove one")
        if single.is_file():
            return [single]
        if index.is_file():
            return _shards(index)
    wanted = f" (variant={variant})" if variant else ""
    raise OSError(f"{folder.name} has no file named {base}.safetensors{wanted}")


def _shards(index: Path) -> list[Path]:
    content = json.loads(index.read_text(encoding="utf-8"))
    files = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(files, dict) or not files:
        raise ValueError(f"{index.name} has no weight_map")
    for name in files.values():
        if not isinstance(name, str) or not _PLAIN_NAME.fullmatch(name):
            raise ValueError(f"{index.name} names {name!r}, which is no safetensors file beside it")
        if not (index.parent / name).is_file():
            raise OSError(f"{index.name} names {name}, which is missing")
    return [index.parent / name for name in sorted(set(files.values()))]


def check_loading(info: dict, name: str) -> None:
    """Checks what diffusers or transformers says of its loading.

    Args:
        info: Their loading info.
        name: What errors call the network.

    Raises:
        ValueError: A weight is missing, or of another shape.
    """
    for kind in ("missing_keys", "mismatched_keys"):
        if info.get(kind):
            word = kind.split("_")[0]
            raise ValueError(f"{name} has {len(info[kind])} {word} weights, such as {sorted(map(str, info[kind]))[0]}")


def check_finite(network: nn.Module, name: str) -> None:
    """Checks that all weights are numbers.

    Args:
        network: Weights on the meta device are skipped.
        name: What the error calls it.

    Raises:
        ValueError: A weight is NaN or infinite.
    """
    for key, value in network.state_dict().items():
        present = value.is_floating_point() and not value.is_meta and value.numel()
        if present and not all(bound.isfinite() for bound in value.aminmax()):
            raise ValueError(f"{name} has weights that are NaN or infinite, in {key}")
