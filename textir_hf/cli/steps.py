"""From files to a file: an image is read and checked, restored by the pipeline, and written."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from textir_hf.cli.arguments import FILES, FLAGS, with_companions
from textir_hf.cli.jobs import Job
from textir_hf.imaging.files import check_output, open_image, save_image
from textir_hf.imaging.geometry import check_box
from textir_hf.imaging.metadata import carry_over
from textir_hf.imaging.raster import to_mask, to_raster
from textir_hf.tasks import Task
from textir_hf.tasks.base import Request

if TYPE_CHECKING:
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
        if job.mask is not None:
            mask = mask or self.open(job.mask)
            to_mask(mask, raster.size, FLAGS["mask_image" if hasattr(self.args, "mask_image") else "region"].name)
        if getattr(self.args, "box", None) is not None:
            check_box(self.args.box, raster.size)
        if self.grid:
            check_output(job.output)
        else:
            request = Request(raster, scale=getattr(self.args, "scale", None))
            check_output(job.output, self.task.check_result_size(request, self.max_pixels), raster.alpha is not None)
        return Item(job, image, mask)

    def restore(self, pipe: "TextIRPipeline", items: list[Item]) -> list[Image.Image]:
        """The results of images, made by one call of the pipeline."""
        args = self.args
        if self.grid:
            return [self._sweep(pipe, item) for item in items]
        import torch

        masks = [item.mask for item in items if item.mask is not None]
        arguments: dict[str, Any] = {
            "prompt": [args.prompt] if args.prompt else None,
            "image": [item.image for item in items],
            "beta": args.beta,
            "strength": args.strength[0] if args.strength and len(args.strength) == 1 else args.strength,
            "generator": None if args.seed is None else torch.Generator().manual_seed(args.seed),
            "batch_size": args.batch_size,
        }
        given = vars(args) | {"mask_image": masks or None, "region": masks or None}
        taken = (*self.task.requires, *self.task.accepts)
        if args.task is None:
            taken = ("region", "factor", "colors", *self.task.edit_accepts)
        else:
            arguments["reference_image"] = self.reference
        arguments |= {name: given[name] for name in with_companions(taken)}
        return (pipe if args.task else pipe.edit)(**arguments)[0]

    def _sweep(self, pipe: "TextIRPipeline", item: Item) -> Image.Image:
        from textir_hf.pipeline.sweep import sweep

        args = self.args
        axes = (args.prompt or [None], args.beta, args.strength, args.factor)
        return sweep(pipe, item.image, *axes, region=item.mask, seed=args.seed, batch_size=args.batch_size)

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
