"""From files to a file: an image is read and checked, restored by the pipeline, and written."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from textir_hf.checks import check_box
from textir_hf.cli.arguments import FILES, with_companions
from textir_hf.cli.checkpoints import load_pipeline
from textir_hf.cli.jobs import Job
from textir_hf.imaging.files import READABLE, SETTINGS, carry_over, check_output, open_image, save_image
from textir_hf.imaging.raster import to_mask, to_raster
from textir_hf.pipeline.arguments import result_size
from textir_hf.tasks import Task

if TYPE_CHECKING:
    import torch

    from textir_hf.pipeline.arguments import Images
    from textir_hf.pipeline.pipeline import TextIRPipeline


@dataclass(frozen=True, eq=False)
class Item:
    """An image that has been decoded and checked.

    Args:
        job: Where it comes from, and where its result goes.
        image: The image.
        mask: Where to repaint or edit, or None.
    """

    job: Job
    image: Image.Image
    mask: Image.Image | None


def background_checkpoint(args: argparse.Namespace) -> str | None:
    """The checkpoint that `--background` names; None where it names none."""
    name = getattr(args, "background", None)
    return None if name == "restored" else name


class Steps:
    """The three steps for one command line.

    Args:
        args: The command line.
        task: What the checkpoint does.

    Raises:
        ValueError: The reference, or a mask for all images, cannot be decoded.
    """

    def __init__(self, args: argparse.Namespace, task: Task) -> None:
        self.args, self.task, self.max_pixels = args, task, max_pixels(args)
        self.grid = args.command == "sweep"
        self.reference = self.open(args.reference_image) if args.reference_image else None
        mask = mask_path(args)
        self._mask = self.open(mask) if mask is not None and mask.is_file() else None

    def open(self, path: Path) -> Image.Image:
        """Decodes an image within the limit of the command line."""
        return open_image(path, self.max_pixels)

    def read(self, job: Job) -> Item:
        """Decodes an image with its mask, and checks them, and that the result can be written.

        Raises:
            ValueError: Something does not fit.
            OSError: A file cannot be read.
        """
        image = self.open(job.image)
        raster, mask = to_raster(image), self._mask
        transparent = raster.alpha is not None and raster.alpha < 255
        if job.mask is not None:
            if mask is None and not job.mask.is_file() and job.mask != mask_path(self.args):
                looked_for = f"{job.mask.with_suffix('')} with one of the suffixes {', '.join(READABLE)}"
                raise ValueError(f"{job.image} has no mask: there is no {looked_for}.")
            mask = mask or self.open(job.mask)
            where = to_mask(mask, raster.size)
            if self.task.degradation == "mask_image":  # what is repainted is opaque
                transparent &= ~where
        if getattr(self.args, "box", None) is not None:
            check_box(self.args.box, raster.size)
        if self.grid:
            check_output(job.output)
        else:
            check_output(
                job.output,
                result_size(raster.size, getattr(self.args, "scale", None), self.max_pixels),
                bool(np.any(transparent)),
            )
        return Item(job, image, mask)

    def load(self, checkpoint: str, **bar) -> "torch.device":
        """Loads the checkpoint and that of the background, and returns their device.

        Args:
            checkpoint: As for `load_pipeline`.
            **bar: As for `DiffusionPipeline.set_progress_bar_config`.
        """
        background = background_checkpoint(self.args)
        self.background = self._load(background, bar) if background else None
        self.pipe = self._load(checkpoint, bar)
        return self.pipe.device

    def _load(self, checkpoint: str, bar: dict) -> "TextIRPipeline":
        pipe = load_pipeline(checkpoint, self.args.device, self.args.dtype)
        pipe.max_pixels = self.max_pixels
        pipe.set_progress_bar_config(**bar)
        return pipe

    def restore(self, items: list[Item]) -> list[Image.Image]:
        """The results of images, made by one call of the pipeline, after it has been loaded."""
        args = self.args
        if self.grid:
            return [self._sweep(item) for item in items]

        masks = [item.mask for item in items if item.mask is not None]
        arguments: dict[str, Any] = {
            "prompt": [args.prompt] if args.prompt else None,
            "image": [item.image for item in items],
            "beta": args.beta,
            "skip_strength": args.skip_strength[0]
            if args.skip_strength and len(args.skip_strength) == 1
            else args.skip_strength,
            "generator": self._generator(),
            "batch_size": args.batch_size,
        }
        given = vars(args) | {"mask_image": masks or None}
        if self.background:
            given["background"] = self._backgrounds(items)
        taken = (*self.task.requires, *self.task.accepts)
        if args.task is None:
            taken = ("mask_image", "factor", "colors", *self.task.edit_accepts)
        else:
            arguments["reference_image"] = self.reference
        arguments |= {name: given[name] for name in with_companions(taken)}
        results = (self.pipe if args.task else self.pipe.edit)(**arguments)[0]
        for result in results if self.background else ():
            result.info[SETTINGS]["background"] = Path(args.background).name
        return results

    def _backgrounds(self, items: list[Item]) -> list[Image.Image]:
        """The images upscaled by the background's checkpoint, towards the prompt or, without one, the image itself."""
        args, prompt = self.args, [self.args.prompt] if self.args.prompt else None
        images: Images = [item.image for item in items]
        beta = args.beta if prompt else 0.0
        own = {"scale": args.scale, "tile": args.tile, "batch_size": args.batch_size, "generator": self._generator()}
        assert self.background is not None
        return self.background(prompt, images, reference_image=self.reference, beta=beta, **own)[0]

    def _generator(self) -> "torch.Generator":
        import torch

        return torch.Generator().manual_seed(self.args.seed)

    def _sweep(self, item: Item) -> Image.Image:
        from textir_hf.pipeline.sweep import sweep

        args = self.args
        axes = (args.prompt or [None], args.beta, args.skip_strength, args.factor)
        return sweep(self.pipe, item.image, *axes, mask_image=item.mask, seed=args.seed, batch_size=args.batch_size)

    def write(self, item: Item, result: Image.Image) -> None:
        """Writes a result, with what is known of its source unless the user wants none of it."""
        if not self.grid:
            carry_over(item.image, result)
        save_image(result, item.job.output, not self.args.no_metadata)


def mask_path(args: argparse.Namespace) -> Path | None:
    """The file or folder of masks that a command line names, whatever it calls them."""
    names = [name for name in FILES if name != "reference_image"]
    return next((path for name in names if (path := getattr(args, name, None)) is not None), None)


def max_pixels(args: argparse.Namespace) -> int:
    """The most pixels that an image or a result may have."""
    return round(args.max_megapixels * 1e6)
