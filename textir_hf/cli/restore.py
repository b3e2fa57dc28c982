"""The commands that restore images: one for each task, `edit` and `sweep`; and `faces`, which finds faces."""

import argparse
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from textir_hf.checks import Number
from textir_hf.cli.arguments import add_flag, file_path, number_type
from textir_hf.cli.checkpoints import load_pipeline
from textir_hf.cli.errors import Stopped, explain, say
from textir_hf.cli.jobs import Job, check_folder, check_no_overwriting, find_jobs, restore_each
from textir_hf.imaging.faces import draw_faces
from textir_hf.imaging.files import MAX_PIXELS, READABLE, carry_over, check_output, open_image, save_image
from textir_hf.imaging.raster import to_raster
from textir_hf.pipeline.arguments import Call, result_size
from textir_hf.pipeline.faces import find_faces
from textir_hf.pipeline.pipeline import TextIRPipeline
from textir_hf.pipeline.sweep import sweep
from textir_hf.tasks import TASKS, Task
from textir_hf.tasks.base import DEGRADATIONS

_DELAY = 2  # seconds of work for which no bar is shown


def add_arguments(command: argparse.ArgumentParser, name: str) -> None:
    """Adds the flags of a command: those of all, and one for each argument of the pipeline that it takes."""
    if name == "faces":
        command.set_defaults(run=_faces)
        command.add_argument("image", type=file_path, help="a photo")
        command.add_argument("-o", "--output", type=Path, required=True, help="the photo with the boxes")
        return
    task = next((task for task in TASKS.values() if task.command == name), None)
    names = ["prompt", "beta", "skip_strength", "batch_size"]  # of the pipeline's arguments
    if name == "sweep":
        names += DEGRADATIONS
    elif task is None:
        names += ["regions", *DEGRADATIONS, *(n for task in TASKS.values() for n in task.edit_accepts)]
    else:
        names += ["reference_image", "regions", *task.requires, *task.accepts]
    names = list(dict.fromkeys([*names, *(["face_prompts"] if "faces" in names else [])]))
    command.set_defaults(run=restore, task=task, arguments=names)
    command.set_defaults(mask_image=None, reference_image=None, regions=None, scale=None)
    command.add_argument("image", type=file_path, help="an image, or a folder of images")
    command.add_argument("-o", "--output", type=Path, required=True, help="the result, or a folder for a folder")
    for argument in names:
        required = {"required": True} if task and argument in task.requires else {}
        several = {"nargs": "+", "default": [1.0 if argument == "beta" else None], "help": "one, or several"}
        own: dict = several if name == "sweep" and argument in ("beta", "skip_strength", "factor") else {}
        if argument == "refiner" and task:
            text = "adds detail to fills shown larger than made, or none (%(default)s)"
            own = {"default": TASKS["super-resolution"].checkpoint, "help": text}
        add_flag(command, argument, **required | own)
    for argument in ("checkpoint", "seed", "device", "dtype"):
        add_flag(command, argument)
    command.add_argument("--recursive", action="store_true", help="of a folder, take the subfolders too")
    command.add_argument("--skip-existing", action="store_true", help="leave results that are there as they are")
    command.add_argument("--no-metadata", action="store_true", help="write no settings, date, camera or resolution")
    kind, text = number_type(Number(1e-6, 10_000)), "refuse larger images and results (%(default)g)"
    command.add_argument("--max-megapixels", type=kind, default=MAX_PIXELS / 1e6, help=text)


def _faces(args: argparse.Namespace) -> int:
    image = open_image(args.image).convert("RGB")
    check_no_overwriting([Job(args.image, None, args.output)])
    check_output(args.output)
    faces = find_faces(to_raster(image).rgb)
    for number, face in enumerate(faces, 1):
        print(f"{number}: box {','.join(map(str, face.box))}, score {face.score:.2f}")
    if not faces:
        raise ValueError(f"No face was found in {args.image}.")
    save_image(draw_faces(image, faces), args.output)
    print(args.output)
    return 0


def restore(args: argparse.Namespace) -> int:
    """Runs one of the commands; what can be wrong with options, files and outputs is found before loading."""
    work = _Restoration(args, args.task or _edit_task(args))
    jobs = find_jobs(args.image, args.mask_image, args.output, args.recursive)
    check_no_overwriting(jobs, args.reference_image, *(mask for mask, _ in args.regions or ()))
    work.open_shared()
    left = [job for job in jobs if not (args.skip_existing and job.output.exists())]
    if args.image.is_dir():
        return _restore_folder(work, jobs, left)
    for job in left:
        item = work.read(job)
        work.load(desc=args.command, leave=False)
        work.write(job, item, work.restore([item])[0])
    print(args.output)
    return 0


def _edit_task(args: argparse.Namespace) -> Task:
    """The task that gives back what `edit` or `sweep` takes away."""
    given = [name for name in DEGRADATIONS if getattr(args, name) not in (None, False, [None])]
    for task in TASKS.values():
        if task.degradation in given and {*given} <= {task.degradation, *task.edit_accepts}:
            return task
    if given:
        raise ValueError(f"{' and '.join(given)} cannot be given together. Leave one out.")
    raise ValueError(f"{args.command} needs one of {', '.join(DEGRADATIONS)}: what to take away and restore.")


def _restore_folder(work: "_Restoration", jobs: list[Job], left: list[Job]) -> int:
    """Restores images; whatever happens to one is counted and named, and the others are done."""
    args, failed, before = work.args, 0, len(jobs) - len(left)
    done = before
    check_folder(args.output)
    try:
        if left:
            work.load(disable=True)
            with tqdm(total=len(left), desc=args.command, unit="image", delay=_DELAY) as bar:
                for job, error in restore_each(left, work.batch_size, work.read, work.restore, work.write):
                    done, failed = done + (error is None), failed + (error is not None)
                    if error is not None:
                        if bar.format_dict["elapsed"] > _DELAY:  # it is shown
                            bar.clear()
                        text = explain(error)
                        say(text if str(job.image) in text else f"{job.image}: {text}")
                    bar.update()
    except KeyboardInterrupt as error:
        raise Stopped(f"stopped, {done} of {len(jobs)} done. Go on with --skip-existing.") from error
    print(f"{done} of {len(jobs)} images restored to {args.output}{f', {before} of them before' if before else ''}")
    return 1 if failed else 0


_Item = tuple[Image.Image, Image.Image | None]  # a decoded image and its mask, if there is one


class _Restoration:
    """From files to a file: an image is read and checked, restored by the pipeline, and written."""

    def __init__(self, args: argparse.Namespace, task: Task) -> None:
        self.args, self.task, self.max_pixels = args, task, round(args.max_megapixels * 1e6)
        self.given = {name: getattr(args, name) for name in args.arguments}
        self.refiner = self.given.pop("refiner", None)
        first = ("beta", "skip_strength", "factor") if args.command == "sweep" else ()
        values = self.given | {name: self.given[name][0] for name in first}
        Call(image=args.image, edit=args.task is None, **values).check_values(task)
        if self.refiner not in (None, "none") and "refiner" not in task.accepts:
            raise ValueError(f"refiner cannot be used with this checkpoint, whose task is {task.name}.")

    def open_shared(self) -> None:
        """Decodes what goes with every image: the reference, the masks of regions, and a mask for all."""
        args, self.mask = self.args, None
        if args.reference_image:
            self.given["reference_image"] = open_image(args.reference_image, self.max_pixels)
        if args.regions:
            self.given["regions"] = [(open_image(mask, self.max_pixels), prompt) for mask, prompt in args.regions]
        if args.mask_image and args.mask_image.is_file():
            self.mask = open_image(args.mask_image, self.max_pixels)

    def read(self, job: Job) -> _Item:
        """Decodes an image with its mask, and checks that the result can be written."""
        if self.args.image.is_dir():
            job.output.parent.mkdir(parents=True, exist_ok=True)
        image, mask = open_image(job.image, self.max_pixels), self.mask
        if job.mask is not None and mask is None:
            if job.mask != self.args.mask_image and not job.mask.is_file():
                looked_for = f"{job.mask.with_suffix('')} with one of the suffixes {', '.join(READABLE)}"
                raise ValueError(f"{job.image} has no mask: {looked_for} was not found.")
            mask = open_image(job.mask, self.max_pixels)
        known: tuple = ()
        if self.args.command != "sweep":
            transparent = to_raster(image).alpha is not None and self.task.degradation != "mask_image"  # makes opaque
            known = result_size((image.height, image.width), self.args.scale, self.max_pixels), transparent
        check_output(job.output, *known)
        return image, mask

    def load(self, **bar) -> None:
        """Loads the checkpoint, and that of the fills' detail."""
        self.pipe = self._pipeline(self.args.checkpoint, self.task, bar)
        if self.refiner not in (None, "none"):
            upscaling = TASKS["super-resolution"]
            refiner = self._pipeline(self.refiner, upscaling, bar)
            fits = refiner.restorer.config.sample_size >= self.pipe.restorer.config.sample_size
            if fits or self.refiner != upscaling.checkpoint:  # the default adds nothing to a larger network's fills
                self.given["refiner"] = refiner
        self.batch_size = self.args.batch_size or (1 if self.pipe.device.type == "cpu" else 8)

    def _pipeline(self, checkpoint: str | None, task: Task, bar: dict) -> TextIRPipeline:
        pipe = load_pipeline(checkpoint, task, self.args.device, self.args.dtype)
        pipe.max_pixels = self.max_pixels
        pipe.set_progress_bar_config(**bar)
        return pipe

    def restore(self, items: list[_Item]) -> list[Image.Image]:
        """The results of images, made by one call of the pipeline, after it has been loaded."""
        args, images = self.args, [image for image, _ in items]
        if args.command == "sweep":
            axes = (args.prompt or [None], args.beta, args.skip_strength, args.factor)
            options = {"seed": args.seed, "batch_size": args.batch_size}
            return [sweep(self.pipe, image, *axes, mask_image=mask, **options) for image, mask in items]
        given = self.given | {"prompt": [args.prompt] if args.prompt else None, "image": images}
        if "mask_image" in given:
            given["mask_image"] = [mask for _, mask in items] if args.mask_image else None
        generator = torch.Generator().manual_seed(args.seed)
        return (self.pipe if args.task else self.pipe.edit)(**given, generator=generator)[0]

    def write(self, job: Job, item: _Item, result: Image.Image) -> None:
        """Writes a result, with what is known of its source unless the user wants none of it."""
        if self.args.command != "sweep":
            carry_over(item[0], result)
        save_image(result, job.output, not self.args.no_metadata)
