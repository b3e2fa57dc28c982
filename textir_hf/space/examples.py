"""Examples to open the page with: images that anyone may show, with results of `python -m docs.samples`."""

import shutil
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from textir_hf.checks import Box
from textir_hf.imaging.files import open_image, read_settings
from textir_hf.space import results, storage
from textir_hf.tasks import TASKS

SAMPLES = Path(__file__).parent / "samples"
_SIDE = 256
_MOUTH, _UPPER = (70, 160, 190, 225), (0, 0, 256, 148)
_TABLE = ((0, 124), (256, 124), (256, 256), (0, 256))
_CUP = (
    *((53, 97), (62, 88), (90, 81), (120, 79), (155, 82), (180, 90), (187, 99), (196, 112), (204, 124), (200, 140)),
    *((188, 152), (177, 155), (170, 170), (158, 185), (135, 194), (115, 196), (95, 192), (78, 178)),
)
_PARTS = ((_TABLE, "a brown table"), (_CUP, "a red cup"))
SOFT_EDGE = 12  # feather, pixels
_SOFT = {"feather": SOFT_EDGE, "faces": "auto"}
_WHOLE = {"faces": "auto", "background": "restored"}


@dataclass(frozen=True)
class Example:
    task: str
    label: str
    photo: str
    prompt: str
    box: Box | None = None
    side: int = _SIDE
    arguments: dict = field(default_factory=dict)
    regions: tuple[tuple[tuple, str], ...] = ()  # corners of polygons, each with its own prompt

    @property
    def name(self) -> str:
        return f"{TASKS[self.task].command}-{self.label.lower().replace(' ', '-').replace(',', '')}"

    @property
    def input(self) -> Path:
        gray = "-gray" if TASKS[self.task].in_channels == 1 else ""
        return SAMPLES / f"input-{self.photo}-{self.side}{gray}.png"

    @property
    def output(self) -> Path:
        return SAMPLES / f"{self.name}.png"

    @cached_property
    def shown(self) -> dict:
        """The result as the page shows it, from copies that Gradio may serve."""
        assets = storage.folder() / "assets"
        assets.mkdir(exist_ok=True)
        paths = [Path(shutil.copy(path, assets)) for path in (self.input, self.output)]
        image = open_image(paths[1])
        image.info["textir"] = read_settings(image)
        return results.describe(image, paths[1], paths[0], self.label)

    @property
    def opening(self) -> dict:
        value = {"image": self.shown["before"], "boxes": [self.box] if self.box else [], "results": [self.shown]}
        return value | {"columns": 0, "grid": None}


_INPAINT, _UPSCALE, _COLORIZE = "inpainting", "super-resolution", "colorization"
EXAMPLES = (
    Example(_INPAINT, "A woman", "astronaut", "a woman with brown hair", _UPPER, arguments=_SOFT),
    Example(_INPAINT, "A man", "astronaut", "a man with brown hair", _UPPER, arguments=_SOFT),
    Example(_INPAINT, "A serious look", "astronaut", "a serious woman", _MOUTH, arguments=_SOFT),
    Example(_UPSCALE, "64 pixels, 4 times", "astronaut", "a smiling woman", None, 64, {"scale": 4} | _WHOLE),
    Example(_UPSCALE, "32 pixels, 8 times", "astronaut", "a smiling woman", None, 32, {"scale": 8} | _WHOLE),
    Example(_COLORIZE, "A sentence for each part", "cup", "a gray wall", regions=_PARTS),
    Example(_COLORIZE, "A red cup", "coffee", "a red cup of coffee"),
    Example(_COLORIZE, "A blue cup", "coffee", "a blue cup of coffee"),
    Example(_COLORIZE, "An orange cat", "chelsea", "an orange cat"),
)


def of(task: str) -> list[Example]:
    return [example for example in EXAMPLES if example.task == task]
