"""The authors' released checkpoints in this project's format."""

import hashlib
import math
import pickle
import warnings
from pathlib import Path

import torch
from torch import Tensor

from textir_hf.atomic import check_new_folder, replacing
from textir_hf.hub.cards import HERE, INVENTED, render_card, usage
from textir_hf.imaging.faces import FACE_TEMPLATES
from textir_hf.models.generator import TextIRGenerator
from textir_hf.pipeline.pipeline import TextIRPipeline
from textir_hf.tasks import TASKS, Task, get_task

ENCODER = "openai/clip-vit-base-patch32"
# The sentences around a class name over which CLIP's authors average for ImageNet (Radford et al., 2021)
IMAGENET_TEMPLATES = (Path(__file__).parent / "imagenet_templates.md").read_text(encoding="utf-8").splitlines()
_OTHER = "This is not a checkpoint of TextIR's release"
_ORIGIN = """Converted by textir_hf from `{name}` (SHA-256 `{digest}`), released by the authors of *TextIR: A Simple
Framework for Text-based Editable Image Restoration* (Bai et al., 2023). Trained by them at {size}x{size} pixels.

The authors published no license for their checkpoints: these weights are for the person who downloaded and converted
them. Do not redistribute them."""


def convert(source: str | Path, output: str | Path, face_template: str | None = None) -> tuple[Task, str]:
    """Turns a released checkpoint into a folder for `TextIRPipeline.from_pretrained`.

    The folder holds no dual encoder: it names `openai/clip-vit-base-patch32`, which is fetched from the Hub, or its
    cache, when the pipeline is loaded. Prompts are averaged over ImageNet's templates, as in the release.

    Args:
        source: The `.pth` file, of which the averaged weights are taken. It is read as tensors alone; anything else in
            it is refused.
        output: The folder to write, which must not exist or be empty.
        face_template: "ffhq" for a network that was trained on FFHQ's aligned faces, so that it restores faces in
            photos. The file itself does not say what it was trained on.

    Returns:
        The network's task, and the SHA-256 of the file.

    Raises:
        ValueError: The file is missing, is not such a checkpoint, or is for a task without faces; or the folder is not
            empty.
    """
    source, output = Path(source), Path(output)
    if not source.is_file():
        raise ValueError(f"{source} is not a file. Give the path of the authors' net_g_*.pth.")
    check_new_folder(output)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    model = convert_state(_read(source))
    task = get_task(model.config.task)
    if face_template is not None:
        if "faces" not in task.accepts:
            raise ValueError(f"face_template cannot be used: {source} is a checkpoint for {task.name}.")
        model.register_to_config(face_template=FACE_TEMPLATES[face_template])
    pipe = TextIRPipeline(model, None, None, None, encoder=ENCODER, prompt_templates=IMAGENET_TEMPLATES)
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(output) as folder:
        pipe.save_pretrained(folder)
        origin = _ORIGIN.format(name=source.name, digest=digest, size=model.config.sample_size)
        how = usage(task, HERE, f"the dual encoder comes from {ENCODER}")
        title, sections = f"TextIR's released network, {task.name}", {"How to use it": how, "Limits": INVENTED}
        (folder / "README.md").write_text(render_card(task, title, origin, sections), encoding="utf-8")
    return task, digest


def _read(source: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():  # about the pickle's protocol
            warnings.simplefilter("ignore")
            content = torch.load(source, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(f"{source} cannot be read as tensors alone. It is not a checkpoint, or damaged.") from error
    state = content.get("params_ema") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f'{source} has no state dict "params_ema" of weights. It is not a checkpoint of the release.')
    return state


def convert_state(state: dict[str, Tensor]) -> TextIRGenerator:
    """Builds the network that holds a released network's weights; its sizes are read from their shapes.

    The release's unusable `noises.*` are dropped. Raises a ValueError for other keys or shapes.
    """
    state = {key: value for key, value in state.items() if not key.startswith("noises.")}
    try:
        config = _config(state)
        mapping = _mapping(len(config["channels"]), "out_conv.0.weight" in state)
        ours = {name: torch.cat([state[key] for key in keys]) for name, keys in mapping.items()}
    except (KeyError, IndexError, RuntimeError) as error:
        raise ValueError(f"{_OTHER}: {error} is missing or has other dimensions.") from error
    if left := sorted(set(state) - {key for keys in mapping.values() for key in keys}):
        raise ValueError(f"{_OTHER}: it has {len(left)} more keys, such as {left[0]}.")
    ours["style.weight"] = ours["style.weight"] / math.sqrt(config["embedding_dim"])  # we scale the embedding instead
    model = TextIRGenerator(**config)
    for name, parameter in model.state_dict().items():
        if name.endswith(".up.weight"):  # a transposed convolution's layout
            ours[name] = ours[name].transpose(1, 2)
        if ours[name].numel() != parameter.numel():
            shapes = f"{list(parameter.shape)}, got {list(ours[name].shape)}"
            raise ValueError(f"{_OTHER}: {name} must have the shape {shapes}.")
        ours[name] = ours[name].reshape(parameter.shape)
    model.load_state_dict(ours)
    return model.eval()


def _config(state: dict[str, Tensor]) -> dict:
    """The network's config, from the shapes of its weights."""
    levels = sum(key.startswith("condition_shift.") and key.endswith(".weight") for key in state)
    in_channels, scales = state["conv_body_first.0.weight"].shape[1], state["condition_scale1.0.weight"].shape[1]
    out_channels = state["out_conv.0.weight"].shape[0] if "out_conv.0.weight" in state else 3
    sought = (in_channels, out_channels, scales == 1)  # one scale: the task gives the skip strength, not the condition
    known = [(task.in_channels, task.out_channels, task.skip_strength_source == "input") for task in TASKS.values()]
    if sought not in known:
        raise ValueError(f"{_OTHER}: no task takes {in_channels} channels to {out_channels}.")
    return {
        "task": list(TASKS)[known.index(sought)],
        "sample_size": 16 * 2 ** (levels - 1),
        "in_channels": in_channels,
        "out_channels": out_channels,
        "channels": tuple(state[f"condition_shift.{i}.0.weight"].shape[0] for i in range(levels)),
        "embedding_dim": state["final_linear.weight"].shape[1],
        "style_dim": state["style_conv1.modulated_conv.modulation.weight"].shape[1],
        "skip_strength_source": "input" if scales == 1 else "embedding",
        "skip_strength_hidden": 0,
        "signed_fusion": True,
    }


def _mapping(levels: int, out_conv: bool) -> dict[str, list[str]]:
    """Our names to theirs; several of theirs are joined along the first dimension."""
    plain = {f"skips.{i}": f"condition_shift.{i}.0" for i in range(levels)} | {"style": "final_linear"}
    plain |= {"out": "out_conv.0"} if out_conv else {}
    mapping = {f"{ours}.{part}": [f"{theirs}.{part}"] for ours, theirs in plain.items() for part in ("weight", "bias")}
    activated = {"encoder.first": ("conv_body_first", 0), "encoder.last": ("final_conv", 0)}
    activated |= {f"encoder.down.{i}.conv": (f"conv_body_down.{i}", 1) for i in range(levels - 1)}
    for ours, (theirs, place) in activated.items():
        mapping |= {f"{ours}.weight": [f"{theirs}.{place}.weight"], f"{ours}.bias": [f"{theirs}.{place + 1}.bias"]}
    for part in ("weight", "bias"):  # their second scales weigh the encoder's features
        mapping[f"fusion.alpha.{part}"] = [f"condition_scale{k}.{i}.{part}" for k in (2, 1) for i in range(levels)]
    styles = {"first": "style_conv1", "first_image": "to_rgb1"}
    for i in range(levels - 1):
        styles |= {
            f"levels.{i}.up": f"style_convs.{2 * i}",
            f"levels.{i}.conv": f"style_convs.{2 * i + 1}",
            f"levels.{i}.to_image": f"to_rgbs.{i}",
        }
    for ours, theirs in styles.items():
        mapping[f"{ours}.weight"] = [f"{theirs}.modulated_conv.weight"]
        for part in ("weight", "bias"):
            mapping[f"{ours}.affine.{part}"] = [f"{theirs}.modulated_conv.modulation.{part}"]
        mapping[f"{ours}.bias"] = [f"{theirs}.bias" if "rgb" in theirs else f"{theirs}.activate.bias"]
        if "rgb" not in theirs:
            mapping[f"{ours}.noise_strength"] = [f"{theirs}.weight"]
    return mapping
