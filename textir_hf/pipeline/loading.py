"""Where a checkpoint lies, how it is fetched, and why it cannot be loaded, in one sentence."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError
from torch import nn

from textir_hf.hub.download import download
from textir_hf.models.embedding import CHECKPOINTS, load_encoder
from textir_hf.tasks import embedded_checkpoints

_VARIANT = re.compile(r"\.(\w+)(-\d{5}-of-\d{5})?\.safetensors$")  # as diffusers and transformers name files
_DOWNLOADING = {"cache_dir", "force_download", "local_files_only", "revision", "token"}
ENCODER_PARTS = ("clip", "tokenizer", "image_processor")


class CheckpointError(OSError, ValueError):
    """A checkpoint cannot be loaded. Both kinds of error, since diffusers raises either."""


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Says what is wrong with the checkpoint `name`, and what to do.

    Raises:
        CheckpointError: It cannot be loaded.
    """
    try:
        yield
    except (OSError, ValueError, AttributeError, ImportError, SafetensorError, HfHubHTTPError) as error:
        raise CheckpointError(f"The checkpoint {name} cannot be loaded: {_reason(error)}") from error


def locate(name: str, options: dict) -> str:
    """The folder of an embedded, local or Hub checkpoint; a Hub's is fetched.

    Args:
        name: As for `TextIRPipeline.from_pretrained`.
        options: Of that call.

    Raises:
        ValueError: It is none of these.
        OSError: It cannot be fetched.
    """
    if name in embedded_checkpoints():
        return str(CHECKPOINTS / name)
    if Path(name).is_dir():
        return name
    if name.count("/") != 1:
        raise ValueError(f"expected one of {', '.join(embedded_checkpoints())}, a folder, or owner/name on the Hub.")
    return download(name, options.get("variant"), **{k: options[k] for k in _DOWNLOADING & options.keys()})


def check_variant(folder: str, variant: str | None) -> None:
    """Checks that every component's weights can be found without a variant, if none is asked for.

    Raises:
        ValueError: A component's weights are all saved as a variant.
    """
    found: dict[Path, set[str | None]] = {}
    for path in Path(folder).rglob("*.safetensors"):
        match = _VARIANT.search(path.name)
        found.setdefault(path.parent, set()).add(match and match[1])
    missing = [names for names in found.values() if None not in names]
    if variant is None and missing:
        name = min(missing[0])
        raise ValueError(f'its weights are saved as the variant "{name}". Give variant="{name}".')


def shared_encoder(index: dict, options: dict, dtype: torch.dtype) -> dict:
    """The encoder's parts, where `model_index.json` names an encoder in place of holding one and the caller gives none.

    Args:
        index: The content of `model_index.json`.
        options: Of `TextIRPipeline.from_pretrained`. Those for the download hold for the encoder's repository too, but
            for the revision, which is the checkpoint's.
        dtype: Of the weights.
    """
    own = any((index.get(part) or [None])[0] or options.get(part) for part in ENCODER_PARTS)
    if own or not index.get("encoder"):
        return {}
    download = {name: options[name] for name in (_DOWNLOADING & options.keys()) - {"revision"}}
    return dict(zip(ENCODER_PARTS, load_encoder(index["encoder"], dtype, **download), strict=True))


def _reason(error: Exception) -> str:
    message = " ".join(str(error).split())
    if isinstance(error, SafetensorError) or "Unable to load weights" in message:
        return f"a file is damaged ({message}). Download it again: delete it, or give force_download=True."
    if isinstance(error, (AttributeError, ImportError)) or "has no class" in message:
        return f"it may be made for a newer version of textir_hf ({message}). Update with pip install -U textir-hf."
    if "safetensors" in message and "no file named" in message:
        return (
            f"it has no safetensors weights; pickles are not loaded ({message[:200]}). Save it as safetensors, or give "
            "variant= if they were saved with one."
        )
    return f"{message[:400]}{'' if message.endswith('.') else '.'}"


def align(module: nn.Module) -> None:
    """Moves weights that a memory-mapped file holds at odd addresses, where the CPU's matrix product sums otherwise."""
    for parameter in module.parameters():
        if parameter.device.type == "cpu" and parameter.data_ptr() % 64:
            parameter.data = parameter.data.clone()
