"""From a restored image to what the page shows beside it: its file, its settings, and the code that makes it again."""

import shlex
from pathlib import Path

from PIL import Image

from textir_hf.imaging.files import SETTINGS, save_image
from textir_hf.space import storage, texts
from textir_hf.tasks import TASKS

_HIDDEN = {"version", "mask_sha256", "faces_found"}  # not shown
_PLAIN = _HIDDEN | {"model", "task", "prompt", "edit", "seed", "note", "regions", "refiner"}  # no plain arguments
_DEFAULTS = {"beta": 1, "feather": 0}
_FLAGS = {"faces", "background", "feather", "scale", "factor", "beta", "skip_strength", "refiner"}


def as_file(path: Path) -> dict:
    """A file as Gradio's browser side and its clients know it."""
    return {"path": str(path), "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}


def save(image: Image.Image, name: str) -> Path:
    path = storage.new_path(f"{name}.png")
    save_image(image, path)
    return path


def describe(image: Image.Image, path: Path, before: Path, caption: str) -> dict:
    """All that the page shows of a result; `before` is what the network saw of the image."""
    settings = image.info[SETTINGS]
    known = {name: value for name, value in settings.items() if name not in _HIDDEN and name != "regions"}
    shown = {name: _shown(value) for name, value in known.items() if value != 0}
    if own := regions(settings):
        shown["regions"] = "; ".join(prompt for _, prompt, *_ in own)
    return {
        "before": as_file(before),
        "after": as_file(path),
        "caption": caption,
        "width": image.width,
        "height": image.height,
        "beta": settings.get("beta", 1),
        "regions": own,
        "recipe": known,
        "settings": shown,
        "python": python_code(settings),
        "command": shell_command(settings),
    }


def _shown(value) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(_shown(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def regions(settings: dict) -> list[list]:
    """Mask and sentence of each region, and its text strength where that is not the image's."""
    stored, whole = settings.get("regions", []), settings.get("beta", 1)
    return [[mask, prompt, *([] if beta == whole else [beta])] for mask, prompt, beta in stored]


def python_code(settings: dict) -> str:
    """A program that makes the result again from `image.png` and, where there was a mask, `mask.png`."""
    prompt, edit = settings.get("prompt"), settings.get("edit")
    arguments = [] if prompt is None else [repr(prompt)]
    arguments.append('image=Image.open("image.png")')
    if "mask_sha256" in settings:
        arguments.append('mask_image=Image.open("mask.png")')
    arguments += ["colors=True"] if edit == "colors" else []
    if own := regions(settings):
        pairs = [f'(Image.open("region-{i}.png"), {", ".join(map(repr, rest))})' for i, (_, *rest) in enumerate(own, 1)]
        arguments.append(f"regions=[{', '.join(pairs)}]")
    given = {name: value for name, value in settings.items() if name not in _PLAIN and value != _DEFAULTS.get(name)}
    arguments += [f"{name}={value!r}" for name, value in given.items()]
    loaded = [("pipe", settings["model"])]
    if "refiner" in settings:
        loaded.append(("refiner", settings["refiner"]))
        arguments.append("refiner=refiner")
    arguments.append(f"generator=torch.Generator().manual_seed({settings.get('seed', 0)})")
    call = ",\n    ".join(arguments)
    loading = "".join(f'{name} = TextIRPipeline.from_pretrained("{checkpoint}")\n' for name, checkpoint in loaded)
    return (
        f"import torch\nfrom PIL import Image\nfrom textir_hf import TextIRPipeline\n\n{loading}"
        f"result = pipe{'.edit' if edit else ''}(\n    {call},\n).images[0]\n"
        'result.save("result.png")'
    )


def shell_command(settings: dict) -> str:
    prompt, edit = settings.get("prompt"), settings.get("edit")
    words = ["textir", "edit" if edit else TASKS[settings["task"]].command, "image.png"]
    for sentence in [prompt] if isinstance(prompt, str) else prompt or []:
        words += ["--prompt", sentence]
    if "mask_sha256" in settings:
        words += ["--mask-image", "mask.png"]
    words += ["--colors"] if edit == "colors" else []
    for i, (_, sentence, *beta) in enumerate(regions(settings), 1):
        if beta:
            return texts.NO_COMMAND
        words += ["--region", f"region-{i}.png", sentence]
    for name in settings:
        if name in _FLAGS and settings[name] != _DEFAULTS.get(name):
            value = settings[name]
            value = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
            words += [f"--{name.replace('_', '-')}", value]
    words += ["--seed", str(settings.get("seed", 0)), "--checkpoint", settings["model"], "-o", "result.png"]
    return shlex.join(words)
