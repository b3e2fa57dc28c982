"""The commands that restore images: one for each task, `edit` and `sweep`."""

import argparse
from functools import partial
from pathlib import Path

from textir_hf.checks import Number
from textir_hf.cli.arguments import FILES, FLAGS, add_flag, file_path, number_type, with_companions
from textir_hf.cli.checkpoints import DEVICES, DTYPES, choose_checkpoint
from textir_hf.cli.errors import speaking
from textir_hf.cli.folders import name_file, restore_folder
from textir_hf.cli.jobs import check_no_overwriting, find_jobs
from textir_hf.cli.steps import Steps, background_checkpoint, mask_path, max_pixels
from textir_hf.imaging.files import MAX_PIXELS, open_image
from textir_hf.imaging.scale import estimate_scale
from textir_hf.pipeline.arguments import check_task_arguments
from textir_hf.tasks import TASKS, Task
from textir_hf.tasks.base import DEFAULT_SEED, DEGRADATIONS


def add_task_command(commands, task: Task) -> None:
    """Adds the command of a task, with a flag for each argument that it takes."""
    command = _new_command(commands, task.command, task.summary)
    command.set_defaults(run=restore, task=task)
    for argument in ("prompt", "beta", "skip_strength", "reference_image"):
        add_flag(command, argument)
    for argument in with_companions((*task.requires, *task.accepts)):
        add_flag(command, argument, **({"required": True} if argument in FILES and argument in task.requires else {}))


def add_edit_commands(commands) -> None:
    """Adds `edit` and `sweep`, whose task is the one that can give back what is taken away."""
    command = _new_command(commands, "edit", "change good images by degrading and restoring them")
    command.set_defaults(run=restore, task=None, reference_image=None)
    accepted = [argument for task in TASKS.values() for argument in task.edit_accepts]
    for argument in with_companions(("prompt", "beta", "skip_strength", *DEGRADATIONS, *accepted)):
        add_flag(command, argument)
    command = _new_command(
        commands, "sweep", "draw a labeled grid of edits over prompts, beta, skip_strength and factor"
    )
    command.set_defaults(run=restore, task=None, reference_image=None, box=None, faces=None, feather=0.0)
    several = {"help": "one, or several as rows or columns"}
    add_flag(command, "prompt", **several)
    add_flag(command, "beta", nargs="+", default=[1.0], **several)
    add_flag(command, "skip_strength", default=[None], **several)
    add_flag(command, "mask_image")
    add_flag(command, "factor", nargs="+", default=[None])
    add_flag(command, "colors")


def _new_command(commands, name: str, summary: str) -> argparse.ArgumentParser:
    """A command with what all have in common."""
    described = f"{summary[0].upper()}{summary[1:]}, as a sentence says."
    command = commands.add_parser(name, help=summary, description=described)
    command.add_argument("image", type=file_path, help="an image, or a folder of images")
    command.add_argument("-o", "--output", type=Path, required=True, help="the result, or a folder for a folder")
    text = "embedded name, folder or Hub id; the task's embedded one if left out"
    command.add_argument("--checkpoint", help=text)
    command.add_argument(
        "--seed", type=number_type("seed"), default=DEFAULT_SEED, help="of the fine noise (%(default)s)"
    )
    command.add_argument("--device", choices=DEVICES, default="auto", help="where to compute (%(default)s)")
    command.add_argument("--dtype", choices=DTYPES, default="float32", help="of the network (%(default)s)")
    add_flag(command, "batch_size")
    command.add_argument("--recursive", action="store_true", help="of a folder, take the subfolders too")
    command.add_argument("--skip-existing", action="store_true", help="leave results that are there as they are")
    command.add_argument("--no-metadata", action="store_true", help="write no settings, date, camera or resolution")
    text = "refuse larger images and results (%(default)g)"
    kind = number_type(Number(1e-6, 10_000))
    command.add_argument("--max-megapixels", type=kind, default=MAX_PIXELS / 1e6, help=text)
    return command


def restore(args: argparse.Namespace) -> int:
    """Runs one of the commands; returns its exit status.

    What can be wrong with options, files and outputs is found before a network is loaded.
    """
    task = args.task or _edit_task(args)
    checkpoint = choose_checkpoint(args.checkpoint, task)
    _check_values(args, task)
    jobs = find_jobs(args.image, mask_path(args), args.output, args.recursive)
    check_no_overwriting(jobs, args.reference_image)
    if background := background_checkpoint(args):
        choose_checkpoint(background, task, "--background")
    steps = Steps(args, task)
    if args.image.is_dir():
        return restore_folder(steps, checkpoint, jobs)
    (job,) = jobs
    if not (args.skip_existing and job.output.exists()):
        with speaking(partial(name_file, job.image)):
            item = steps.read(job)
        steps.load(checkpoint, desc=args.command, leave=False)
        steps.write(item, steps.restore([item])[0])
    print(job.output)
    return 0


def _edit_task(args: argparse.Namespace) -> Task:
    """The task that gives back what `edit` or `sweep` takes away.

    Raises:
        ValueError: Nothing is taken away, or things that no task gives back together.
    """
    given = [name for name in DEGRADATIONS if getattr(args, name) not in (None, False, [None])]
    if not given:
        raise ValueError(f"{args.command} needs --mask-image, --factor or --colors: what to take away and restore.")
    for task in TASKS.values():
        if task.degradation in given and all(n in (task.degradation, *task.edit_accepts) for n in given):
            return task
    raise ValueError(f"{' and '.join(FLAGS[name].name for name in given)} cannot be given together. Leave one out.")


def _check_values(args: argparse.Namespace, task: Task) -> None:
    """Checks all that is no file."""
    betas = args.beta if isinstance(args.beta, list) else [args.beta]
    face_prompts = getattr(args, "face_prompts", None) or []
    prompts = [*(args.prompt or []), *face_prompts]
    if face_prompts and args.faces is None:
        raise ValueError("--face-prompts needs --faces: all, or the numbers of the faces.")
    if (any(betas) and not prompts) or any(not p.strip() for p in prompts):
        raise ValueError("--prompt must not be empty: say what the result should show, or set --beta 0.")
    if getattr(args, "box", None) is not None and args.faces is not None:
        raise ValueError("--box and --faces cannot both be given.")
    if args.task is None:
        more = {"box": args.box, "faces": args.faces, "feather": args.feather}
        for factor in args.factor if isinstance(args.factor, list) else [args.factor]:
            check_task_arguments(
                task, {"mask_image": args.mask_image, "factor": factor, "colors": args.colors} | more, edit=True
            )
        return
    taken = {name: getattr(args, name) for name in (*task.requires, *task.accepts)}
    if "scale" in taken and "scale" in task.requires and args.scale is None:
        raise ValueError(f"--scale must be given: {FLAGS['scale'].options['help']}.{_scale_hint(args)}")
    check_task_arguments(task, taken)


def _scale_hint(args: argparse.Namespace) -> str:
    """What an image itself says of its scale."""
    if args.image.is_dir():
        return ""
    guess = estimate_scale(open_image(args.image, max_pixels(args)))
    if guess.factor == 1:
        return ""
    return f" It looks upscaled {guess.factor}x already (confidence {guess.confidence:.1f}): try edit --factor."
