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
    """What is asked of one image, checked.

    Args:
        image: The image; wholly transparent pixels have their neighbors' color.
        mask: `[H, W]` bool, True = repaint; for tasks that repaint nothing, an edit changes nothing outside it.
        scale: How many times larger the result is than the image.
        factor: For an edit: how many times the image loses resolution first.
        box: The part to look at.
        feather: Pixels inside the mask over which the old content turns into the new one.
        tile: Side of the tiles, pixels of the result.
        frames: Of the faces to restore, each in its own frame.
        background: The result around frames or a box, of the result's size; "restored" means the whole image through
            the network, None the image enlarged by bicubic interpolation.
        source: The image as it was given.
        prompt: Sentences whose embeddings are averaged, or None.
        prompt_embeds: `[D]` in place of a prompt, or None.
        beta: Share of the text in the condition.
        skip_strength: s of Eq. 4, one or one for each level; None leaves it to the task and the network.
        face_prompts: A prompt for each frame, or None.
        reference: The image that `beta` mixes with the text, if it is not the image itself.
        regions: For each region its mask `[H, W]` bool, and the same request under the region's own prompt.
        settings: What makes the result again, but for the checkpoint and the seed.
    """

    image: Raster
    mask: np.ndarray | None = None
    scale: float | None = None
    factor: float | None = None
    box: Box | None = None
    feather: float = 0.0
    tile: int | None = None
    frames: tuple[Frame, ...] = ()
    background: Raster | Literal["restored"] | None = None
    source: Raster | None = None
    prompt: tuple[str, ...] | None = None
    prompt_embeds: Tensor | None = None
    beta: float = 1.0
    skip_strength: float | tuple[float, ...] | None = None
    face_prompts: tuple[tuple[str, ...], ...] | None = None
    reference: Raster | None = None
    regions: "tuple[tuple[np.ndarray, Request], ...]" = ()
    settings: dict = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Window:
    """A part of an image as the network sees it.

    Args:
        degraded: `[C, h, w]`, any size.
        paste: Takes the network's output `[C', h, w]` into the result. Windows are pasted in their order.
        skip_strength: s of Eq. 4 that the task derives, or None to leave it to the network.
        face: Number of the request's frame that is shown, or None.
    """

    degraded: Tensor
    paste: Callable[[Tensor], None]
    skip_strength: float | None = None
    face: int | None = None


class Canvas(ABC):
    """One result in the making. It is laid out before any image is restored; pixels are touched by `windows` first.

    Attributes:
        count: How many windows there are.
    """

    count: int

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
        """Lays out the windows for one result, for a network that was trained at `sample_size` pixels.

        Raises:
            ValueError: The request does not fit the image.
        """

    @abstractmethod
    def degrade(self, target: Tensor, rng: random.Random, draw_mask: Callable[[random.Random], Tensor]) -> dict:
        """Makes a training input (TextIR, Sec. 3.3).

        Args:
            target: `[1, 3, S, S]` in [0, 1].
            rng: Source of all choices.
            draw_mask: Draws a mask `[1, 1, S, S]`, 1 = repaint.

        Returns:
            `degraded` `[C, S, S]`; where the network takes one, `skip_strength` `[]`; where there is one, `mask`
            `[1, S, S]`; and what the errors below need. Tensors are stacked and moved to the device; numbers stay
            lists on the CPU, where reading one does not wait for the device.
        """

    def restored(self, sample: Tensor, target: Tensor, batch: dict) -> Tensor:
        """The network's output `[N, C', S, S]` as an image `[N, 3, S, S]` in about [0, 1], for the losses.

        Args:
            sample: The output.
            target: `[N, 3, S, S]` in [0, 1].
            batch: The results of `degrade` for each image: tensors stacked, numbers as lists.
        """
        return sample

    def reconstruction_error(self, sample: Tensor, restored: Tensor, target: Tensor, batch: dict) -> Tensor:
        """The L1 term of Eq. 8 for each image, `[N]`; arguments as for `restored`, whose result is `restored`."""
        return (restored - target).abs().mean((1, 2, 3))

    def example(self, side: int) -> dict:
        """Arguments that a call needs besides prompt and image, for an image of `side` x `side` pixels."""
        return {}
