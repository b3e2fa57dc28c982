"""The `textir` command: `inpaint`, `upscale` and `colorize` pictures from the shell, and a `demo`."""

import argparse
import sys
from pathlib import Path

import diffusers
import torch
import transformers
from PIL import Image
from tqdm import tqdm

from textir_hf.degradations import MAX_FACTOR
from textir_hf.images import SUFFIXES, open_image, save_image, to_mask, to_rgb


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="textir", description="Restores damaged pictures towards what a sentence says."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    texts = {
        "inpaint": ("fill holes", "textir-mini-inpainting"),
        "upscale": ("enlarge 2 to 64 times", "textir-mini-super-resolution"),
        "colorize": ("give colour to a grey picture", "textir-mini-colorization"),
    }
    for name, (text, checkpoint) in texts.items():
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]} as a sentence says.")
        command.add_argument("image", type=Path, help="a picture, or a folder of pictures")
        command.add_argument("--prompt", help="what the result should show")
        command.add_argument("-o", "--output", type=Path, required=True, help="the result, or a folder for a folder")
        command.add_argument("--checkpoint", default=checkpoint, help="embedded name, folder or Hub id (%(default)s)")
        command.add_argument("--reference", type=Path, help="a picture to mix with the prompt; the image if left out")
        command.add_argument(
            "--beta", type=float, default=1.0, help="share of the prompt against the reference (%(default)s)"
        )
        command.add_argument(
            "--seed", type=int, help="add fine noise from this seed, if the checkpoint was trained with noise"
        )
        if name == "inpaint":
            command.add_argument(
                "--mask", type=Path, required=True, help="white = repaint; a folder for a folder, of the same names"
            )
        if name == "upscale":
            command.add_argument("--scale", type=float, required=True, help="how many times larger, 2 to 64")
    demo = commands.add_parser("demo", help="restore sample pictures with the embedded checkpoints")
    demo.add_argument("--output", type=Path, default=Path("textir_demo"), help="folder for the sheet (%(default)s)")
    return parser


def _jobs(args: argparse.Namespace) -> list[tuple[Path, Path | None, Path]]:
    """Image, mask and output paths; for folders every picture in them, the outputs as PNG."""
    mask = getattr(args, "mask", None)
    if not args.image.is_dir():
        if args.output.resolve() == args.image.resolve():
            raise ValueError(f"The output {args.output} is the input itself. Choose another name.")
        return [(args.image, mask, args.output)]
    images = sorted(p for p in args.image.iterdir() if p.suffix.lower() in SUFFIXES)
    if not images:
        raise ValueError(f"{args.image} holds no picture ({', '.join(SUFFIXES)}).")
    if args.output.suffix.lower() in SUFFIXES or args.output.resolve() == args.image.resolve():
        raise ValueError(f"{args.image} is a folder, so the output must be another folder, got {args.output}.")
    if mask is not None and not mask.is_dir():
        raise ValueError(f"{args.image} is a folder, so --mask must be a folder with a mask of each name, got {mask}.")
    outputs = [args.output / f"{p.stem}.png" for p in images]
    if len(set(outputs)) < len(outputs):
        raise ValueError(f"{args.image} holds pictures that differ only in their suffix. Rename them first.")
    return [(p, mask and _same_name(mask, p), o) for p, o in zip(images, outputs, strict=True)]


def _same_name(folder: Path, image: Path) -> Path:
    matches = [p for p in sorted(folder.iterdir()) if p.stem == image.stem and p.suffix.lower() in SUFFIXES]
    return matches[0] if matches else folder / image.name


def _restore(args: argparse.Namespace) -> int:
    if args.beta != 0 and not (args.prompt or "").strip():
        raise ValueError("--prompt must not be empty: say what the result should show, or set --beta 0.")
    if args.command == "upscale" and not 2 <= args.scale <= MAX_FACTOR:
        raise ValueError(f"--scale must lie in 2..{MAX_FACTOR}, got {args.scale:g}.")
    jobs = _jobs(args)
    folder = args.image.is_dir()
    if not folder:  # what can be known wrong is said before the networks are loaded
        image = to_rgb(open_image(args.image))
        if jobs[0][1] is not None:
            to_mask(open_image(jobs[0][1]), image.shape[:2])
        if args.output.suffix.lower() not in SUFFIXES:
            raise ValueError(f"The output {args.output} must end in one of {', '.join(SUFFIXES)}.")
        if not args.output.parent.is_dir():
            raise ValueError(f"The output folder {args.output.parent} does not exist. Create it first.")
    reference = None if args.reference is None else open_image(args.reference)
    from textir_hf.pipeline import TextIRPipeline

    _quieten()
    try:
        pipe = TextIRPipeline.from_pretrained(args.checkpoint)
    except OSError as error:
        where = "from this folder" if Path(args.checkpoint).is_dir() else "from the Hub or its cache"
        reason = str(error).split(" (")[0].splitlines()[0]
        raise ValueError(f"The checkpoint {args.checkpoint} cannot be loaded {where}: {reason}") from error
    pipe.set_progress_bar_config(disable=True)
    if folder:
        args.output.mkdir(parents=True, exist_ok=True)
    failed = 0
    for image, mask, output in tqdm(jobs, desc=args.command, disable=not folder):
        try:
            save_image(_one(pipe, args, image, mask, reference), output)
        except ValueError as error:
            if not folder:
                raise
            failed += 1
            tqdm.write(f"{image}: {error}", file=sys.stderr)
    if folder:
        print(f"{len(jobs) - failed} of {len(jobs)} pictures restored to {args.output}")
    else:
        print(jobs[0][2])
    return 1 if failed else 0


def _quieten() -> None:
    """Switches off the libraries' remarks and their bars for loading from disk; downloads keep theirs."""
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()


def _one(pipe, args: argparse.Namespace, image: Path, mask: Path | None, reference: Image.Image | None) -> Image.Image:
    return pipe(
        args.prompt,
        open_image(image),
        mask_image=None if mask is None else open_image(mask),
        reference_image=reference,
        beta=args.beta,
        scale=getattr(args, "scale", None),
        generator=None if args.seed is None else torch.Generator().manual_seed(args.seed),
    ).images[0]


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns 0, 1 (some pictures of a folder failed) or 2 (bad input)."""
    args = _parser().parse_args(argv)
    try:
        if args.command == "demo":
            from textir_hf.demo import demo

            _quieten()
            print(f"Sheet: {demo(args.output)}")
            return 0
        return _restore(args)
    except ValueError as error:
        print(f"textir: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
