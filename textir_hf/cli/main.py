"""The `textir` command: `inpaint`, `upscale`, `colorize`, `edit`, `sweep`, `convert`, `publish`,
`publish-space` and `evaluate`, and a `demo`."""

import argparse
import sys
from pathlib import Path

import diffusers
import torch
import transformers
from PIL import Image
from tqdm import tqdm

from textir_hf.evaluation.protocols import PRESETS
from textir_hf.imaging.files import MAX_PIXELS, SUFFIXES, open_image, save_image
from textir_hf.imaging.raster import to_mask
from textir_hf.imaging.scale import estimate_scale
from textir_hf.pipeline.sweep import sweep
from textir_hf.tasks.super_resolution import MAX_FACTOR

_TASKS = {
    "inpaint": "inpainting",
    "upscale": "super-resolution",
    "colorize": "colorization",
    "region": "inpainting",
    "factor": "super-resolution",
    "colors": "colorization",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="textir", description="Restores damaged pictures towards what a sentence says."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    texts = {
        "inpaint": "fill holes",
        "upscale": "enlarge 2 to 64 times",
        "colorize": "give color to a gray picture",
        "edit": "change a good picture by degrading and restoring it",
    }
    for name, text in texts.items():
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]} as a sentence says.")
        command.add_argument("image", type=Path, help="a picture, or a folder of pictures")
        _add_common(command)
        command.add_argument(
            "--prompt", action="append", help="what the result should show; several sentences are averaged"
        )
        command.add_argument("--beta", type=float, default=1.0, help="share of the prompt against the reference (1.0)")
        command.add_argument("--strength", type=float, nargs="+", help="s of the paper, 0..1: one, or one a level")
        if name != "edit":
            command.add_argument("--reference", type=Path, help="picture to mix with the prompt; the image if left out")
        if name == "inpaint":
            text = "white = repaint; a folder for a folder, of the same names"
            command.add_argument("--mask", type=Path, required=True, help=text)
        if name == "upscale":
            command.add_argument("--scale", type=float, help="how many times larger, 2 to 64 (needed)")
            command.add_argument("--tile", type=int, help="side of the tiles, pixels of the result")
        if name == "edit":
            _add_degradation(command)
        if name in ("inpaint", "edit"):
            command.add_argument("--feather", type=float, default=0.0, help="soft border inside the mask, pixels (0)")
        if name != "colorize":
            command.add_argument("--box", help='part to look at: "face", or LEFT,TOP,RIGHT,BOTTOM in pixels')
    command = commands.add_parser("sweep", help="a labeled grid of edits over prompts, beta, strength and factor")
    command.add_argument("image", type=Path, help="a picture, or a folder of pictures")
    _add_common(command)
    command.add_argument("--prompt", action="append", help="one, or several as rows or columns")
    command.add_argument("--beta", type=float, nargs="+", default=[1.0])
    command.add_argument("--strength", type=float, nargs="+", default=[None])
    command.add_argument("--factor", type=float, nargs="+", default=[None])
    command.add_argument("--region", type=Path, help="where to edit, white")
    command.add_argument("--colors", action="store_true", help="take the colors away")
    command = commands.add_parser("convert", help="turn a checkpoint of the paper's authors into this format")
    command.add_argument("source", type=Path, help="net_g_*.pth")
    command.add_argument("--task", required=True, choices=("inpainting", "super-resolution", "colorization"))
    command.add_argument("-o", "--output", type=Path, required=True, help="the folder to write")
    text = "key of the weights: params_ema, averaged (%(default)s), or params"
    command.add_argument("--weights", default="params_ema", help=text)
    command = commands.add_parser("publish", help="check a checkpoint's folder and push it to the Hub")
    command.add_argument("folder", type=Path)
    command.add_argument("--repo", required=True, help="owner/name")
    command.add_argument("--private", action="store_true", help="if the repository is new, make it private")
    command.add_argument("--dry-run", action="store_true", help="only check, and list what would be pushed")
    command = commands.add_parser("publish-space", help="push the page (app.py) to the Hub as a Gradio Space")
    command.add_argument("--repo", required=True, help="owner/name")
    command.add_argument("--model", action="append", default=[], help="checkpoint on the Hub to offer besides")
    command.add_argument("--private", action="store_true", help="if the Space is new, make it private")
    command.add_argument("--dry-run", action="store_true", help="only assemble, and list what would be pushed")
    command = commands.add_parser("evaluate", help="measure a checkpoint, its baselines, and what the text does")
    _add_evaluation(command)
    demo = commands.add_parser("demo", help="restore sample pictures with the embedded checkpoints")
    demo.add_argument("--output", type=Path, default=Path("textir_demo"), help="folder for the sheet (%(default)s)")
    return parser


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument("-o", "--output", type=Path, required=True, help="the result, or a folder for a folder")
    command.add_argument("--checkpoint", help="embedded name, folder or Hub id; the task's embedded one if left out")
    command.add_argument("--seed", type=int, help="add fine noise from this seed, if the checkpoint learnt noise")
    command.add_argument("--no-metadata", action="store_true", help="keep the settings out of the PNG")
    command.add_argument("--max-megapixels", type=float, default=MAX_PIXELS / 1e6, help="refuse larger (%(default)s)")


def _add_degradation(command: argparse.ArgumentParser) -> None:
    command.add_argument("--region", type=Path, help="repaint here, white; with the others, change nothing elsewhere")
    command.add_argument("--factor", type=float, help="lose resolution by so many times, 2 to 64")
    command.add_argument("--colors", action="store_true", help="take the colors away")


def _add_evaluation(command: argparse.ArgumentParser) -> None:
    command.add_argument("--preset", required=True, choices=PRESETS, help="the protocol")
    text = "folder of the protocol's files; for tables 1 to 3 a data set: parquet file, folder or Hub id"
    command.add_argument("--data", required=True, help=text)
    command.add_argument("-o", "--output", type=Path, required=True, help="folder for values, tables, curves, sheets")
    command.add_argument("--checkpoint", help="embedded name, folder or Hub id; the preset's if left out")
    command.add_argument("--masks", type=Path, help="holes, where the preset has none: parquet file or folder")
    command.add_argument("--lpips", type=Path, help="LPIPS on AlexNet as safetensors; fetched once if left out")
    command.add_argument("--baseline", action="append", default=[], help="diffusers:ID, an inpainting pipeline")
    command.add_argument("--limit", type=int, help="at most so many pictures of each file, evenly spread")
    command.add_argument("--image-column", default="image")
    command.add_argument("--caption-column", default="text")
    command.add_argument("--split", default="test", help="of a data set without a split column (%(default)s)")


def _jobs(args: argparse.Namespace) -> list[tuple[Path, Path | None, Path]]:
    """Image, mask and output paths; for folders every picture in them, the outputs as PNG."""
    mask = getattr(args, "mask", None) or getattr(args, "region", None)
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


def _check(args: argparse.Namespace) -> None:
    """What can be known wrong before any picture is read."""
    betas = args.beta if isinstance(args.beta, list) else [args.beta]
    prompts = args.prompt or []
    if (any(betas) and not prompts) or any(not p.strip() for p in prompts):
        raise ValueError("--prompt must not be empty: say what the result should show, or set --beta 0.")
    if args.command == "upscale" and args.scale is not None and not 2 <= args.scale <= MAX_FACTOR:
        raise ValueError(f"--scale must lie in 2..{MAX_FACTOR}, got {args.scale:g}.")
    factors = [getattr(args, "factor", None)] if args.command != "sweep" else args.factor
    if any(f is not None and not 2 <= f <= MAX_FACTOR for f in factors):
        raise ValueError(f"--factor must lie in 2..{MAX_FACTOR}, got {factors[0]:g}.")
    if args.command in ("edit", "sweep"):
        args.degradation = "colors" if args.colors else "factor" if any(factors) else "region"
        if args.degradation == "region" and args.region is None:
            raise ValueError(f"{args.command} needs --region, --factor or --colors: what to take away and restore.")


def _check_files(args: argparse.Namespace, image: Path, mask: Path | None) -> None:
    """What can be known wrong of a single picture before the networks are loaded."""
    picture = _open(args, image)
    if args.command == "upscale" and args.scale is None:
        guess = estimate_scale(picture)
        hint = f" It looks enlarged {guess.factor}x already (confidence {guess.confidence:.1f}): try edit --factor."
        raise ValueError(f"--scale must be given, 2 to {MAX_FACTOR}.{hint if guess.factor > 1 else ''}")
    if mask is not None:
        to_mask(_open(args, mask), picture.size[::-1])
    if args.output.suffix.lower() not in SUFFIXES:
        raise ValueError(f"The output {args.output} must end in one of {', '.join(SUFFIXES)}.")
    if not args.output.parent.is_dir():
        raise ValueError(f"The output folder {args.output.parent} does not exist. Create it first.")


def _open(args: argparse.Namespace, path: Path) -> Image.Image:
    return open_image(path, round(args.max_megapixels * 1e6))


def _load(args: argparse.Namespace):
    from textir_hf.pipeline.pipeline import TextIRPipeline

    name = args.checkpoint or f"textir-mini-{_TASKS[getattr(args, 'degradation', args.command)]}"
    _quieten()
    return TextIRPipeline.from_pretrained(name)


def _restore(args: argparse.Namespace) -> int:
    _check(args)
    jobs, folder = _jobs(args), args.image.is_dir()
    if not folder:
        _check_files(args, *jobs[0][:2])
    elif args.command == "upscale" and args.scale is None:
        raise ValueError(f"--scale must be given, 2 to {MAX_FACTOR}.")
    reference = _open(args, args.reference) if getattr(args, "reference", None) else None
    pipe = _load(args)
    pipe.set_progress_bar_config(disable=folder, desc=args.command, leave=False)
    if folder:
        args.output.mkdir(parents=True, exist_ok=True)
    failed = 0
    for image, mask, output in tqdm(jobs, desc=args.command, disable=not folder):
        try:
            save_image(_one(pipe, args, image, mask, reference), output, not args.no_metadata)
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


def _box(value: str | None) -> str | tuple[int, ...] | None:
    if value is None or value == "face":
        return value
    try:
        left, top, right, bottom = (int(v) for v in value.split(","))
    except ValueError as error:
        raise ValueError(f'--box must be "face" or LEFT,TOP,RIGHT,BOTTOM in pixels, got {value}.') from error
    return left, top, right, bottom


def _one(pipe, args: argparse.Namespace, image: Path, mask: Path | None, reference: Image.Image | None) -> Image.Image:
    picture = _open(args, image)
    mask = None if mask is None else _open(args, mask)
    if args.command == "sweep":
        axes = (args.prompt or [None], args.beta, args.strength, args.factor)
        return sweep(pipe, picture, *axes, region=mask, seed=args.seed)
    options = {
        "prompt": None if args.prompt is None else [args.prompt],
        "image": picture,
        "beta": args.beta,
        "strength": args.strength[0] if args.strength and len(args.strength) == 1 else args.strength,
        "generator": None if args.seed is None else torch.Generator().manual_seed(args.seed),
        "box": _box(getattr(args, "box", None)),
        "feather": getattr(args, "feather", 0.0),
    }
    if args.command == "edit":
        return pipe.edit(region=mask, factor=args.factor, colors=args.colors, **options).images[0]
    more = {"scale": getattr(args, "scale", None), "tile": getattr(args, "tile", None)}
    return pipe(mask_image=mask, reference_image=reference, **more, **options).images[0]


def _convert(args: argparse.Namespace) -> int:
    from textir_hf.hub.convert import ENCODER, convert

    digest = convert(args.source, args.output, args.task, args.weights)
    print(f"{args.source}: SHA-256 {digest}\n{args.output}: for {args.task}, with {ENCODER}; dropped: noises.*")
    return 0


def _publish(args: argparse.Namespace) -> int:
    from textir_hf.hub.publish import publish

    _quieten()
    print(publish(args.folder, args.repo, args.dry_run, args.private))
    return 0


def _publish_space(args: argparse.Namespace) -> int:
    from textir_hf.space.publish import publish_space

    print(publish_space(args.repo, args.dry_run, args.private, args.model))
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    try:
        from textir_hf.evaluation.run import evaluate
    except ModuleNotFoundError as error:
        raise ValueError(f'{error.name} is missing: pip install "textir-hf[evaluate]".') from error

    _quieten()
    print(evaluate(args))
    return 0


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns 0, 1 (some pictures of a folder failed) or 2 (bad input)."""
    args = _parser().parse_args(argv)
    try:
        if args.command == "demo":
            from textir_hf.cli.demo import demo

            _quieten()
            print(f"Sheet: {demo(args.output)}")
            return 0
        others = {"convert": _convert, "publish": _publish, "publish-space": _publish_space, "evaluate": _evaluate}
        return others.get(args.command, _restore)(args)
    except ValueError as error:
        print(f"textir: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
