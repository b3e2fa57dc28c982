"""Speed of training: runs of the presets on images that are drawn for the purpose.

python -m benchmarks.training

On a CPU only the mini presets run, on a GPU the paper's as well. VGG16's weights are random and the dual encoder is the
embedded one, since speed does not depend on weights.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks.common import print_table, smooth_image
from training.perceptual import VGGPerceptualLoss
from training.presets import PRESETS


def make_inputs(folder: Path, count: int) -> None:
    """Images, masks, and a VGG16 file with random weights."""
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for i in range(count):
        image = smooth_image(512, i)
        image.save(folder / "images" / f"{i}.jpg")
        mask = image.convert("L").point(lambda value: 255 * (value > 150))
        mask.resize((256, 256), Image.Resampling.NEAREST).save(folder / "masks" / f"{i}.png")
    channels, weights = 3, {}
    indices = [layer for layer in VGGPerceptualLoss.LAYERS if layer != "M"]
    for index, width in zip(indices, (64,) * 2 + (128,) * 2 + (256,) * 3 + (512,) * 3, strict=True):
        weights[f"features.{index}.weight"] = torch.randn(width, channels, 3, 3) * (2 / (9 * channels)) ** 0.5
        weights[f"features.{index}.bias"] = torch.zeros(width)
        channels = width
    save_file(weights, folder / "vgg.safetensors")


def run(preset: str, folder: Path, *flags: str) -> dict:
    """The last speed that a short run of the preset logs."""
    output = folder / f"{preset}-{len(list(folder.iterdir()))}"
    words = ["--preset", preset, "--dataset", folder / "images", "--masks", folder / "masks", "--output-dir", output]
    words += ["--vgg", folder / "vgg.safetensors", "--clip", "textir-mini-clip", "--cache-dir", folder / "cache"]
    words += ["--adversarial-start", "0", "--mixed-precision", "bf16", *flags]
    subprocess.run([sys.executable, "-m", "training.train", *map(str, words)], check=True, stdout=subprocess.DEVNULL)
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    last = [row for row in rows if "images/s" in row][-1]
    return {"images/s": last["images/s"], "waiting for data (%)": 100 * last["waiting"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20, help="of each run (%(default)s)")
    steps = parser.parse_args().steps
    names = [name for name in PRESETS if torch.cuda.is_available() or name.startswith("textir-mini")]
    with tempfile.TemporaryDirectory() as folder:
        make_inputs(Path(folder), 64)
        flags = ("--max-train-steps", str(steps), "--log-steps", str(max(1, steps // 2)))
        print_table("preset, bf16", {name: run(name, Path(folder), *flags) for name in names})


if __name__ == "__main__":
    main()
