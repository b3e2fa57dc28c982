"""The authors' released checkpoints in this project's format."""

import hashlib
import math
import pickle
import tempfile
import warnings
from pathlib import Path

import torch
from torch import Tensor

from textir_hf.hub.templates import IMAGENET_TEMPLATES
from textir_hf.models.generator import TextIRGenerator
from textir_hf.pipeline.pipeline import TextIRPipeline

ENCODER = "openai/clip-vit-base-patch32"
_TASKS = {(4, False): "inpainting", (3, False): "super-resolution", (1, True): "colorization"}


def convert(source: str | Path, output: str | Path, task: str, weights: str = "params_ema") -> str:
    """Turns a released checkpoint into a folder for `TextIRPipeline.from_pretrained`.

    The folder holds no dual encoder: it names `openai/clip-vit-base-patch32`, which is fetched from the Hub, or its
    cache, when the pipeline is loaded. Prompts are averaged over ImageNet's templates, as in the release.

    Args:
        source: The `.pth` file. It is read as tensors alone; anything else in it is refused.
        output: The folder to write, which must not exist or be empty.
        task: "inpainting", "super-resolution" or "colorization".
        weights: Key of the state dict: "params_ema", the averaged weights, or "params".

    Returns:
        SHA-256 of the file.

    Raises:
        ValueError: The file is missing, is no such checkpoint, or of another task; or the folder is not empty.
    """
    source, output = Path(source), Path(output)
    if not source.is_file():
        raise ValueError(f"{source} is no file. Give the path of the authors' net_g_*.pth.")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"The output {output} exists already. Choose another folder.")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    model = convert_state(_read(source, weights))
    if model.config.task != task:
        raise ValueError(f"{source} is a checkpoint for {model.config.task}, got --task {task}.")
    pipe = TextIRPipeline(model, None, None, None, encoder=ENCODER, prompt_templates=list(IMAGENET_TEMPLATES))
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".textir-") as folder:
        whole = Path(folder) / "whole"
        pipe.save_pretrained(whole)
        card = _CARD.format(
            task=task, name=source.name, digest=digest, size=model.config.sample_size, call=_CALLS[task]
        )
        (whole / "README.md").write_text(card)
        if output.exists():
            output.rmdir()
        whole.rename(output)
    return digest


def _read(source: Path, weights: str) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():  # about the pickle's protocol
            warnings.simplefilter("ignore")
            content = torch.load(source, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(
            f"{source} cannot be read as tensors alone, and is not read otherwise: a pickle can run any program. It "
            "may be damaged, or no checkpoint."
        ) from error
    state = content.get(weights) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        keys = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f'{source} has no state dict "{weights}", only {keys[:200]}.')
    return state


def convert_state(state: dict[str, Tensor]) -> TextIRGenerator:
    """Builds the network that holds a released network's weights.

    The release differs from the paper in what the config expresses: signed fusion weights, one linear layer from the
    strength to them, and, but for super-resolution, the condition in the strength's place.

    Args:
        state: The released state dict (`params_ema`). The unusable `noises.*` are dropped.

    Returns:
        The network, whose sizes are read from the shapes.

    Raises:
        ValueError: A key is missing or left over, or a shape fits no task.
    """
    state = {key: value for key, value in state.items() if not key.startswith("noises.")}
    levels = sum(key.startswith("condition_shift.") and key.endswith(".weight") for key in state)
    shape = _shapes(state, levels)
    taken: set[str] = set()
    ours = {name: _take(state, keys, taken) for name, keys in _mapping(levels, "out_conv.0.weight" in state).items()}
    if left := sorted(set(state) - taken):
        raise ValueError(f"The checkpoint holds {len(left)} keys that TextIR's release has not, such as {left[0]}.")
    ours["style.weight"] = ours["style.weight"] / math.sqrt(shape["embedding_dim"])  # we scale the embedding instead
    model = TextIRGenerator(**shape)
    for name in ours:
        if name.endswith(".up.weight"):  # a transposed convolution's layout
            ours[name] = ours[name].transpose(1, 2)
    model.load_state_dict({name: value.reshape(model.state_dict()[name].shape) for name, value in ours.items()})
    return model.eval()


def _shapes(state: dict[str, Tensor], levels: int) -> dict:
    try:
        first, scales = state["conv_body_first.0.weight"], state["condition_scale1.0.weight"]
        channels = tuple(state[f"condition_shift.{i}.0.weight"].shape[0] for i in range(levels))
        style_dim, embedding_dim = (
            state["style_conv1.modulated_conv.modulation.weight"].shape[1],
            state["final_linear.weight"].shape[1],
        )
        task = _TASKS[first.shape[1], "out_conv.0.weight" in state]
    except KeyError as error:
        raise ValueError(f"This is no checkpoint of TextIR's release: {error} is missing or fits no task.") from error
    return {
        "task": task,
        "sample_size": 16 * 2 ** (levels - 1),
        "in_channels": first.shape[1],
        "out_channels": 2 if task == "colorization" else 3,
        "channels": channels,
        "embedding_dim": embedding_dim,
        "style_dim": style_dim,
        "strength_source": "input" if scales.shape[1] == 1 else "embedding",
        "strength_hidden": 0,
        "signed_fusion": True,
    }


def _take(state: dict[str, Tensor], keys: list[str], taken: set[str]) -> Tensor:
    missing = [key for key in keys if key not in state]
    if missing:
        raise ValueError(f"This is no checkpoint of TextIR's release: {missing[0]} is missing.")
    taken.update(keys)
    return state[keys[0]] if len(keys) == 1 else torch.cat([state[key] for key in keys])


def _mapping(levels: int, out_conv: bool) -> dict[str, list[str]]:
    """Our names to theirs; several of theirs are joined along the first dimension."""
    pairs = {
        "encoder.first": ("conv_body_first.0", "conv_body_first.1"),
        "encoder.last": ("final_conv.0", "final_conv.1"),
    }
    for i in range(levels - 1):
        pairs[f"encoder.down.{i}.conv"] = (f"conv_body_down.{i}.1", f"conv_body_down.{i}.2")
    for i in range(levels):
        pairs[f"skips.{i}"] = (f"condition_shift.{i}.0",) * 2
    pairs["style"] = ("final_linear",) * 2
    if out_conv:
        pairs["out"] = ("out_conv.0",) * 2
    mapping = {f"{ours}.weight": [f"{weight}.weight"] for ours, (weight, _) in pairs.items()}
    mapping |= {f"{ours}.bias": [f"{bias}.bias"] for ours, (_, bias) in pairs.items()}
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
        if "rgb" in theirs:
            mapping[f"{ours}.bias"] = [f"{theirs}.bias"]
        else:
            mapping |= {f"{ours}.noise_strength": [f"{theirs}.weight"], f"{ours}.bias": [f"{theirs}.activate.bias"]}
    return mapping


_CALLS = {
    "inpainting": 'pipe("a smiling woman", image, mask_image=mask)',
    "super-resolution": 'pipe("a smiling woman", image, scale=16)',
    "colorization": 'pipe("a red car", image)',
}
_CARD = """---
library_name: diffusers
pipeline_tag: image-to-image
tags:
- textir
- {task}
---

# TextIR's released network, {task}

Converted by textir_hf from `{name}` (SHA-256 `{digest}`), released by the authors of *TextIR: A Simple Framework for
Text-based Editable Image Restoration* (Bai et al., 2023). Trained by them at {size}x{size} pixels.

The authors published no license for their checkpoints: these weights are for the person who downloaded and converted
them. Do not redistribute them.

```python
from textir_hf import TextIRPipeline

pipe = TextIRPipeline.from_pretrained("PATH")  # the dual encoder comes from openai/clip-vit-base-patch32
restored = {call}.images[0]
```

What the network puts where information is missing is invented, not recovered: nobody must be identified by it.
"""
