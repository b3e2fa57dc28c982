"""Where a checkpoint is, what it may name, and why it cannot be loaded, in one sentence."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from textir_hf.checks import shown
from textir_hf.models.checkpoint import check_encoder_config, check_loading, check_tokenizer, download
from textir_hf.models.embedding import load_encoder
from textir_hf.pipeline.arguments import check_templates
from textir_hf.tasks import checkpoint_folder, get_task

_TOKENIZERS = ("BertTokenizer", "BertTokenizerFast", "CLIPTokenizer", "CLIPTokenizerFast", "TokenizersBackend")
_PROCESSORS = ("CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPImageProcessorPil")
_NONE: tuple[str | None, str | None] = (None, None)
COMPONENTS: dict[str, set[tuple]] = {  # library and class of each
    "restorer": {("textir_hf", "TextIRGenerator")},
    "recentering": {("textir_hf", "TextRecentering"), _NONE},
    "clip": {("textir_hf", "MiniCLIPModel"), ("transformers", "CLIPModel"), _NONE},
    "tokenizer": {("transformers", name) for name in _TOKENIZERS} | {_NONE},
    "image_processor": {("transformers", name) for name in _PROCESSORS} | {_NONE},
}
_PRIVATE = ("_class_name", "_diffusers_version", "_name_or_path", "encoder", "prompt_templates")
_UNSAFE = ("custom_pipeline", "trust_remote_code", "use_flashpack", "use_onnx")
_DOWNLOADING = {"cache_dir", "force_download", "local_files_only", "revision", "token"}
_ENCODER_PARTS = ("clip", "tokenizer", "image_processor")


class CheckpointError(OSError, ValueError):
    """A checkpoint cannot be loaded. Both kinds of error, since diffusers raises either."""


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Says what is wrong with the checkpoint `name`, and what to do."""
    try:
        yield
    except Exception as error:  # of the client, of two libraries, and of files that may hold anything
        raise CheckpointError(f"The checkpoint {name} cannot be loaded: {_reason(error)}") from error


def locate(name: str, options: dict) -> Path:
    """The folder of an embedded, local or Hub checkpoint, which is fetched; no option may ask for code or pickles."""
    unsafe = [name for name in _UNSAFE if options.get(name)]
    if unsafe:
        raise ValueError(f"{unsafe[0]} is not supported: a checkpoint is weights and configs alone. Leave it out.")
    if not options.get("use_safetensors", True):
        raise ValueError("use_safetensors cannot be off: pickles are not loaded. Save the weights as safetensors.")
    folder = checkpoint_folder(name)
    if folder is not None:
        return folder
    return download(name, options.get("variant"), **{k: options[k] for k in _DOWNLOADING & options.keys()})


def check_folder(folder: Path, index: dict, pipeline: str, options: dict) -> None:
    """Checks a checkpoint before diffusers reads it."""
    kind = index.get("_class_name") if isinstance(index, dict) else index
    if kind != pipeline:
        raise ValueError(f"it is a {shown(kind)}, not {pipeline}")
    for name, entry in index.items():
        if name not in _PRIVATE and entry not in [list(known) for known in COMPONENTS.get(name, ())]:
            remedy = "It may be made for a newer version: update with pip install -U textir-hf"
            raise ValueError(f"its {name} is {shown(entry)}, which is not known. {remedy}")
    check_templates(index.get("prompt_templates"), "its prompt_templates")
    if not isinstance(index.get("encoder"), str | None):
        raise ValueError(f"its encoder must be a name, got {index['encoder']!r}")
    code = [path.name for pattern in ("*.py", "*/*.py", "*/adapter_config.json") for path in folder.glob(pattern)]
    if code:
        raise ValueError(f"it holds {code[0]}; a checkpoint needs no code and no adapters. Remove it")
    if (index.get("clip") or _NONE)[0] and not options.get("clip"):
        check_encoder_config(json.loads((folder / "clip" / "config.json").read_bytes()))


def shared_encoder(index: dict, options: dict, dtype: torch.dtype | dict[str, torch.dtype]) -> dict:
    """The encoder's parts, where `model_index.json` names an encoder, does not hold one, and the caller gives none."""
    own = any((index.get(part) or _NONE)[0] or options.get(part) for part in _ENCODER_PARTS)
    if own or not index.get("encoder"):
        return {}
    if isinstance(dtype, dict):
        dtype = dtype.get("clip", dtype.get("default", torch.float32))
    download = {name: options[name] for name in (_DOWNLOADING & options.keys()) - {"revision"}}
    return dict(zip(_ENCODER_PARTS, load_encoder(index["encoder"], dtype, **download), strict=True))


def check_loaded(pipe, folder: Path, options: dict) -> None:
    """Checks what can be seen only once components are loaded."""
    config, task = pipe.restorer.config, get_task(pipe.restorer.config["task"])
    for name in ("in_channels", "out_channels"):
        expected = getattr(task, name) if name == "in_channels" or not config.decoder else 3
        if config[name] != expected:
            raise ValueError(f"{name} must be {expected} for {task.name}, got {config[name]}")
    if pipe.clip is None:
        return
    if pipe.clip.config.projection_dim != config.embedding_dim:
        length = pipe.clip.config.projection_dim
        raise ValueError(f"its encoder embeds to {length} numbers, and its network takes {config.embedding_dim}")
    if not options.get("clip"):
        if (folder / "clip").is_dir():  # transformers fills in what is missing and leaves out what it does not know
            stored, expected = set(), set(pipe.clip.state_dict())
            for path in (folder / "clip").glob("*.safetensors"):
                with safe_open(path, framework="pt") as file:
                    stored.update(file.keys())
            more = [name for name in stored - expected if not name.endswith(".position_ids")]  # of CLIP's older files
            check_loading(pipe.clip, {"missing_keys": expected - stored, "unexpected_keys": more})
        check_tokenizer(pipe.tokenizer, pipe.clip.config)


def _reason(error: Exception) -> str:
    message = (" ".join(str(error).split()) or type(error).__name__)[:400]
    if isinstance(error, httpx.HTTPError | httpx.InvalidURL | httpx.StreamError):
        return f"the Hub could not be reached or broke off ({message}). Look at the network, and load it again."
    if isinstance(error, SafetensorError) or "Unable to load weights" in message:
        return f"a file is damaged ({message}). Download it again: delete it, or give force_download=True."
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | RecursionError):
        return f"a config is not JSON ({message}). Download it again, or write a new one."
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
