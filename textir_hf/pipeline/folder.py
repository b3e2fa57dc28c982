"""A checkpoint's folder, checked before diffusers sees it: no file in it may name code to run."""

from pathlib import Path

from textir_hf.checks import shown
from textir_hf.models.encoder_files import check_encoder
from textir_hf.pipeline.arguments import check_templates
from textir_hf.tasks import Task, get_task

_TOKENIZERS = ("BertTokenizer", "BertTokenizerFast", "CLIPTokenizer", "CLIPTokenizerFast", "TokenizersBackend")
_PROCESSORS = ("CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPImageProcessorPil")
COMPONENTS: dict[str, set[tuple[str | None, str | None]]] = {  # library and class; None: there is none
    "restorer": {("textir_hf", "TextIRGenerator")},
    "recentering": {("textir_hf", "TextRecentering"), (None, None)},
    "clip": {("textir_hf", "MiniCLIPModel"), ("transformers", "CLIPModel"), (None, None)},
    "tokenizer": {("transformers", name) for name in _TOKENIZERS} | {(None, None)},
    "image_processor": {("transformers", name) for name in _PROCESSORS} | {(None, None)},
}
_PRIVATE = ("_class_name", "_diffusers_version", "_name_or_path")
_UNSAFE = ("custom_pipeline", "trust_remote_code", "use_flashpack", "use_onnx")


class NewerVersion(ValueError):
    """A checkpoint names something that this version does not know."""


def check_options(options: dict) -> None:
    """Checks that no option of `TextIRPipeline.from_pretrained` asks for code or for pickles.

    Raises:
        ValueError: One does.
    """
    unsafe = [name for name in _UNSAFE if options.get(name)]
    if unsafe:
        raise ValueError(f"{unsafe[0]} is not supported: a checkpoint is weights and configs alone. Leave it out.")
    if not options.get("use_safetensors", True):
        raise ValueError("use_safetensors cannot be off: pickles are not loaded. Save the weights as safetensors.")


def check_folder(folder: Path, index: dict, pipeline: str, options: dict) -> None:
    """Checks what `model_index.json` names, and the encoder's files where the folder holds one.

    Args:
        folder: The checkpoint.
        index: The content of its model_index.json.
        pipeline: Name of the pipeline's class.
        options: Of `TextIRPipeline.from_pretrained`; components given there are not looked for in the folder.

    Raises:
        NewerVersion: It names components that are not known.
        ValueError: It is of another pipeline, names other components, holds Python code, or a file does not fit.
        OSError: A file is missing.
    """
    if not isinstance(index, dict):
        raise ValueError(f"model_index.json must hold an object, got a {type(index).__name__}")
    if index.get("_class_name") != pipeline:
        raise ValueError(f"it is a {index.get('_class_name')}, expected {pipeline}")
    unknown = [k for k in index if k not in (*COMPONENTS, *_PRIVATE, "encoder", "prompt_templates")]
    if unknown:
        raise NewerVersion(f"its index names {unknown[0]!r}")
    for name, allowed in COMPONENTS.items():
        entry = index.get(name, [None, None])
        if not isinstance(entry, list) or len(entry) != 2 or tuple(map(_text, entry)) not in allowed:
            raise NewerVersion(f"its {name} is {shown(entry)}, which is not known")
    check_templates(index.get("prompt_templates"), "its prompt_templates")
    if not isinstance(index.get("encoder"), str | None):
        raise ValueError(f"its encoder must be a name, got {index['encoder']!r}")
    code = next((path for pattern in ("*.py", "*/*.py") for path in folder.glob(pattern)), None)
    if code is not None:
        raise ValueError(f"it holds Python code, {code.name}, which no checkpoint needs. Remove it")
    if (index.get("clip") or [None])[0] and not options.get("clip"):
        check_encoder(folder / "clip", folder / "tokenizer", folder / "image_processor", options.get("variant"))


def _text(value) -> str | None:
    return value if isinstance(value, str | None) else repr(value)


def check_task(config: dict) -> Task:
    """The task of a network's config, whose channels must be that task's.

    Raises:
        ValueError: There is no such task, or it has other channels.
    """
    task = get_task(config["task"])
    for name in ("in_channels", "out_channels"):
        if config[name] != getattr(task, name):
            raise ValueError(f"{name} must be {getattr(task, name)} for {task.name}, got {config[name]}")
    return task
