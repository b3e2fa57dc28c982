"""Where a checkpoint lies, how it is fetched, and why it cannot be loaded, in one sentence."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import torch
from safetensors import SafetensorError
from torch import nn

from textir_hf.models.download import download
from textir_hf.models.embedding import load_encoder
from textir_hf.models.encoder_files import check_tokenizer
from textir_hf.models.weights import check_finite
from textir_hf.pipeline.folder import NewerVersion, check_task
from textir_hf.pipeline.paths import checkpoint_folder

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
    except Exception as error:  # of the client, of two libraries, and of files that may hold anything
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
    folder = checkpoint_folder(name)
    if folder is not None:
        return str(folder)
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
        name = min(variant for variant in missing[0] if variant)
        raise ValueError(f'its weights are saved as the variant "{name}". Give variant="{name}".')


def shared_encoder(index: dict, options: dict, dtype: torch.dtype | dict[str, torch.dtype]) -> dict:
    """The encoder's parts, where `model_index.json` names an encoder in place of holding one and the caller gives none.

    Args:
        index: The content of `model_index.json`.
        options: Of `TextIRPipeline.from_pretrained`. Those for the download hold for the encoder's repository too, but
            for the revision, which is the checkpoint's.
        dtype: Of the weights, or by component as diffusers takes it.
    """
    own = any((index.get(part) or [None])[0] or options.get(part) for part in ENCODER_PARTS)
    if own or not index.get("encoder"):
        return {}
    if isinstance(dtype, dict):
        dtype = dtype.get("clip", dtype.get("default", torch.float32))
    download = {name: options[name] for name in (_DOWNLOADING & options.keys()) - {"revision"}}
    return dict(zip(ENCODER_PARTS, load_encoder(index["encoder"], dtype, **download), strict=True))


def check_loaded(pipe, options: dict) -> None:
    """Checks what can be seen only once components are loaded.

    Args:
        pipe: The pipeline.
        options: Of `TextIRPipeline.from_pretrained`; the encoder's components given there are not checked.

    Raises:
        ValueError: The network's channels are not its task's; the encoder's embeddings have another length, or its
            weights are no finite numbers; or the tokenizer is another encoder's.
    """
    check_task(pipe.restorer.config)
    if pipe.clip is None:
        return
    length, expected = pipe.clip.config.projection_dim, pipe.restorer.config.embedding_dim
    if length != expected:
        raise ValueError(f"its encoder embeds to {length} numbers, and its network takes {expected}")
    if not options.get("clip"):
        check_finite(pipe.clip, "clip")
        check_tokenizer(pipe.tokenizer, pipe.clip.config)


def _reason(error: Exception) -> str:
    message = (" ".join(str(error).split()) or type(error).__name__)[:400]
    if isinstance(error, httpx.HTTPError | httpx.InvalidURL | httpx.StreamError):
        return f"the Hub could not be reached or broke off ({message}). Look at the network, and load it again."
    if isinstance(error, SafetensorError) or "Unable to load weights" in message:
        return f"a file is damaged ({message}). Download it again: delete it, or give force_download=True."
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | RecursionError):
        return f"a config is no JSON ({message}). Download it again, or write it anew."
    if isinstance(error, (AttributeError, ImportError, NewerVersion)):
        return f"it may be made for a newer version of textir_hf ({message}). Update with pip install -U textir-hf."
    if "no file named" in message and "safetensors" in message:
        return (
            f"it has no safetensors weights; pickles are not loaded ({message[:200]}). Save it as safetensors, or give "
            "variant= if they were saved with one."
        )
    return f"{message}{'' if message.endswith('.') else '.'}"


def align(module: nn.Module) -> None:
    """Moves weights that a memory-mapped file holds at odd addresses, where the CPU's matrix product sums otherwise."""
    for parameter in module.parameters():
        if parameter.device.type == "cpu" and parameter.data_ptr() % 64:
            parameter.data = parameter.data.clone()
