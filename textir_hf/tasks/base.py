"""A restoration task: everything that differs between inpainting, super-resolution and colorization.

The pipeline, the trainer, the evaluation, the shell and the Space know no task by name; they ask these questions. A new
task is a module with a `Task` and a `Canvas`, and a line each in `textir_hf/tasks/__init__.py` and
`textir_hf/cli/main.py`.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from textir_hf.checks import Box
from textir_hf.imaging.faces import Frame
from textir_hf.imaging.raster import Raster

MAX_RUN = 4  # longest side that the network is given at a time, in trained sizes
DEFAULT_SEED = 0  # of a result's noise, where the caller gives none
DEGRADATIONS = ("mask_image", "factor", "colors")  # what an edit can take away


@dataclass(frozen=True, eq=False)
class Request:
    """What is asked of one image, checked."""

    image: Raster  # wholly transparent pixels have their neighbors' color
    mask: np.ndarray | None = None  # [H, W] bool, True = repaint; or an edit changes nothing outside it
    scale: float | None = None  # how many times larger the result is than the image
    factor: float | None = None  # for an edit: how many times the image loses resolution first
    box: Box | None = None  # the part to look at
    feather: float = 0.0  # pixels inside the mask over which the old content turns into the new one
    tile: int | None = None  # side of the tiles, pixels of the result
    frames: tuple[Frame, ...] = ()  # of the faces to restore, each in its own frame
    # The result around frames or a box, of the result's size; "restored" means the whole image through the network,
    # None the image enlarged by bicubic interpolation.
    background: Raster | Literal["restored"] | None = None
    source: Raster | None = None  # the image as it was given, where that differs
    original: Raster | None = None  # the image before any fill, where `image` has some
    prompt: tuple[str, ...] | None = None  # sentences whose embeddings are averaged
    prompt_embeds: Tensor | None = None  # [D] in place of a prompt
    beta: float = 1.0  # share of the text in the condition
    skip_strength: float | tuple[float, ...] | None = None  # s of Eq. 4; None leaves it to the task and the network
    face_prompts: tuple[tuple[str, ...], ...] | None = None  # one for each frame
    reference: Raster | None = None  # what `beta` mixes with the text, if not the original
    regions: "tuple[tuple[np.ndarray, Request], ...]" = ()  # [H, W] bool, and the same request under its own prompt
    settings: dict = field(default_factory=dict)  # what makes the result again, but for checkpoint and seed


@dataclass(frozen=True, eq=False)
class Window:
    """A part of an image as the network sees it."""

    degraded: Tensor  # [C, h, w], any size
    paste: Callable[[Tensor], None]  # takes the output [C', h, w] into the result; windows are pasted in their order
    skip_strength: float | None = None  # s of Eq. 4 that the task derives; None leaves it to the network
    face: int | None = None  # number of the request's frame that is shown


class Canvas(ABC):
    """One result in the making. It is laid out before any image is restored; pixels are touched by `windows` first."""

    count: int  # of windows

    @abstractmethod
    def windows(self) -> Iterator[Window]:
        """The windows in their order. They do not depend on what was pasted, so several can be taken at a time."""

    @abstractmethod
    def result(self) -> Tensor:
        """The restored image `[3, H, W]` uint8, once all windows were pasted."""


class Task(ABC):
    """One kind of restoration."""

    name: str  # in a network's config
    command: str  # of the shell and of the page's API, a verb
    summary: str  # continues "TextIR can ..."
    usage: str  # a call of the pipeline as Python code
    in_channels: int = 3  # of the network, and so are the next four: see `TextIRGenerator`
    out_channels: int = 3
    skip_strength_source: Literal["encoder", "input"] = "encoder"
    input_scale: float = 1.0
    output_scale: float = 1.0
    requires: tuple[str, ...] = ()  # arguments of the pipeline's call that must be given
    accepts: tuple[str, ...] = ()  # arguments of the call that may be given besides
    degradation: str  # argument of `edit` that says what is taken away
    edit_accepts: tuple[str, ...] = ("mask_image",)  # arguments of `edit` that may be given besides
    checkpoint: str | None = None  # the embedded one, if there is one

    def network_config(self) -> dict:
        """The part of a `TextIRGenerator`'s config that the task decides."""
        names = ("in_channels", "out_channels", "skip_strength_source", "input_scale", "output_scale")
        return {"task": self.name} | {name: getattr(self, name) for name in names}

    @abstractmethod
    def canvas(self, request: Request, sample_size: int, device: torch.device) -> Canvas:
        """Lays out the windows for one result, for a network that was trained at `sample_size` pixels."""

    @abstractmethod
    def degrade(self, target: Tensor, rng: random.Random, draw_mask: Callable[[random.Random], Tensor]) -> dict:
        """Makes a training input (TextIR, Sec. 3.3) of a target `[1, 3, S, S]` in [0, 1]; masks are `[1, 1, S, S]`.

        The result has `degraded` `[C, S, S]`; where the network takes one, `skip_strength` `[]`; where there is one,
        `mask` `[1, S, S]`; and what the errors below need. Tensors are stacked and moved to the device; numbers stay
        lists on the CPU, where reading one does not wait for the device.
        """

    def leaves_open(self, degraded: dict) -> bool:
        """Whether a result of `degrade` leaves enough open to be restored under another image's condition."""
        return True

    def restored(self, sample: Tensor, target: Tensor, batch: dict) -> Tensor:
        """The network's output `[N, C', S, S]` as an image `[N, 3, S, S]` in about [0, 1], for the losses."""
        return sample

    def reconstruction_error(self, sample: Tensor, restored: Tensor, target: Tensor, batch: dict) -> Tensor:
        """The L1 term of Eq. 8 for each image, `[N]`."""
        return (restored - target).abs().mean((1, 2, 3))

    def example(self, side: int) -> dict:
        """Arguments that a call needs besides prompt and image, for an image of `side` x `side` pixels."""
        return {}
