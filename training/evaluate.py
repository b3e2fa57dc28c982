"""Measures a checkpoint on the test split against simple baselines.

    python -m training.evaluate --task inpainting --data DIR --lpips lpips_alexnet.safetensors
    python -m training.evaluate --task super-resolution --data DIR --lpips lpips_alexnet.safetensors
    python -m training.evaluate --task colorization --data DIR

The condition is the target's image embedding (the upper bound for a text that describes it) or a fixed sentence.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from textir_hf import TextIRPipeline, degradations
from textir_hf.clip import CHECKPOINTS
from textir_hf.images import to_array, to_tensor
from textir_hf.pipeline import EMBEDDED
from training.data import load_masks, load_pictures
from training.lpips import LPIPS
from training.tables import Table, cell, markdown, write_report

FACES, MASKS, FLOWERS = "faces_synthetic_256.parquet", "irregular_masks_256.parquet", "flowers_176.parquet"
PROMPT = "a portrait of a person"


def psnr(first: np.ndarray, second: np.ndarray, where: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB of uint8 pictures `[H, W, 3]`, over the pixels of `where` `[H, W]` alone."""
    error = np.square(first.astype(float) - second)
    return 10 * np.log10(255**2 / max((error if where is None else error[where]).mean(), 1e-10))


def _table(title: str, results: dict[str, dict[str, list[float]]]) -> Table:
    columns = list(next(iter(results.values())))
    return Table(title, columns, {name: [cell(values[c]) for c in columns] for name, values in results.items()})


def _conditions(target: Image.Image) -> dict[str, dict]:
    return {
        "ours, image embedding": {"reference_image": target, "beta": 0.0},
        f"ours, “{PROMPT}”": {"prompt": PROMPT},
    }


def inpainting(pipe: TextIRPipeline, args: argparse.Namespace) -> list[Table]:
    """Faces with irregular test masks that cover 10 to 40 %: PSNR in the hole, LPIPS of the whole picture."""
    size, lpips = pipe.restorer.config.sample_size, LPIPS(args.lpips)
    targets = load_pictures([args.data / FACES], "test", size)
    masks = load_masks(args.data / MASKS, "test", size)
    masks = masks[((masks.mean((1, 2, 3)) >= 0.1) & (masks.mean((1, 2, 3)) <= 0.4))]
    names = ["OpenCV Telea", *_conditions(None)]
    results = {n: {"hole PSNR (dB)": [], "LPIPS": []} for n in names}
    for i, picture in enumerate(tqdm(targets, desc="inpainting")):
        target, hole = picture.movedim(0, -1).numpy(), masks[i % len(masks), 0].numpy() > 0.5
        image, mask = Image.fromarray(target), Image.fromarray(hole)
        outputs = {"OpenCV Telea": cv2.inpaint(target, hole.astype(np.uint8), 3, cv2.INPAINT_TELEA)}
        for name, condition in _conditions(image).items():
            outputs[name] = np.asarray(pipe(image=image, mask_image=mask, **condition).images[0])
        for name, output in outputs.items():
            results[name]["hole PSNR (dB)"].append(psnr(output, target, hole))
            results[name]["LPIPS"].append(lpips(to_tensor(output), to_tensor(target)).item())
    return [_table(f"{len(targets)} test faces at {size} px, holes 10-40 %", results)]


def super_resolution(pipe: TextIRPipeline, args: argparse.Namespace) -> list[Table]:
    """Faces at 4, 8 and 16 times: PSNR and LPIPS against bicubic enlargement."""
    size, lpips = pipe.restorer.config.sample_size, LPIPS(args.lpips)
    targets, tables = load_pictures([args.data / FACES], "test", size), []
    for factor in (4, 8, 16):
        results = {n: {"PSNR (dB)": [], "LPIPS": []} for n in ("bicubic", *_conditions(None))}
        for picture in tqdm(targets, desc=f"{factor}x"):
            target = picture.movedim(0, -1).numpy()
            small = degradations.downsample(to_tensor(target), factor)
            outputs = {"bicubic": to_array(degradations.upsample(small, (size, size)))}
            for name, condition in _conditions(Image.fromarray(target)).items():
                outputs[name] = np.asarray(
                    pipe(image=Image.fromarray(to_array(small)), scale=factor, **condition).images[0]
                )
            for name, output in outputs.items():
                results[name]["PSNR (dB)"].append(psnr(output, target))
                results[name]["LPIPS"].append(lpips(to_tensor(output), to_tensor(target)).item())
        tables.append(_table(f"{len(targets)} test faces at {size} px, {factor}x", results))
    return tables


def colorization(pipe: TextIRPipeline, args: argparse.Namespace, count: int = 100) -> list[Table]:
    """Flowers under three colour words: mean a and b of the result, and how often the word's own hue wins."""
    targets = load_pictures([args.data / FLOWERS], "test", pipe.restorer.config.sample_size)[:count]
    hues = {"red": (60, 40), "yellow": (0, 70), "purple": (55, -45)}  # directions in the a, b plane
    shifts: dict[str, list[Tensor]] = {word: [] for word in hues}
    for picture in tqdm(targets, desc="colorization"):
        image = Image.fromarray(picture.movedim(0, -1).numpy())
        for word, values in shifts.items():
            output = pipe(f"a {word} flower", image, output_type="pt").images
            values.append(degradations.chroma(output).mean((0, 2, 3)))
    means = {word: torch.stack(values) for word, values in shifts.items()}  # word: [N, 2]
    results = {}
    for word, values in means.items():
        direction = torch.tensor(hues[word], dtype=torch.float32)
        # Along the word's direction, does the picture made for the word go further than the other two?
        along = torch.stack([m @ direction for m in means.values()])
        won = 100.0 * (along.argmax(0) == list(means).index(word))
        columns = {"mean a": values[:, 0], "mean b": values[:, 1], "nearest to its word among the three (%)": won}
        results[f"“a {word} flower”"] = {name: column.tolist() for name, column in columns.items()}
    table = _table(f"{len(targets)} test flowers", results)
    table.digits = 1
    return [table]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", required=True, choices=("inpainting", "super-resolution", "colorization"))
    parser.add_argument("--data", type=Path, required=True, help="folder of the parquet files")
    parser.add_argument("--lpips", help="safetensors file of LPIPS on AlexNet")
    parser.add_argument(
        "--checkpoint", help="embedded name, folder or Hub id; the embedded one of the task if left out"
    )
    parser.add_argument("--output", type=Path, help="JSON file for the report with every picture's values")
    args = parser.parse_args()
    if args.task != "colorization" and not args.lpips:
        sys.exit("error: --lpips must be given for this task: the safetensors file of LPIPS on AlexNet.")
    name = args.checkpoint or f"textir-mini-{args.task}"
    pipe = TextIRPipeline.from_pretrained(name)
    pipe.set_progress_bar_config(disable=True)
    measure = {"inpainting": inpainting, "super-resolution": super_resolution, "colorization": colorization}[args.task]
    tables = measure(pipe, args)
    print("\n\n".join(markdown(t) for t in tables))
    if args.output:
        folder = CHECKPOINTS / name if name in EMBEDDED else Path(name)
        files = {"inpainting": (FACES, MASKS), "super-resolution": (FACES,), "colorization": (FLOWERS,)}[args.task]
        lpips = " --lpips lpips_alexnet.safetensors" if args.lpips else ""
        command = f"python -m training.evaluate --task {args.task} --data DIR{lpips}"
        weights = sorted(folder.rglob("*.safetensors"))
        write_report(args.output, Path(name).name, tables, weights, [args.data / f for f in files], command)


if __name__ == "__main__":
    main()
