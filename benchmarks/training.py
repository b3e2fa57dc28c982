"""Speed of a training step, against straightforward blocks; time lost to data; gain of cached embeddings.

    python -m benchmarks.training

The pictures are drawn for the occasion, VGG16's weights are random and the dual encoder is the embedded one: speed does
not depend on weights.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate.state import AcceleratorState
from datasets import disable_progress_bars
from PIL import Image
from safetensors.torch import save_file

from benchmarks.straightforward import StraightforwardDiscriminator, StraightforwardGenerator
from training.config import PRESETS, TrainingConfig
from training.losses import VGGPerceptualLoss
from training.train import Trainer


def make_inputs(folder: Path, count: int) -> None:
    """Smooth random pictures as JPEG, and a VGG16 file of random weights."""
    (folder / "pictures").mkdir()
    for i in range(count):
        small = np.random.default_rng(i).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(small).resize((256, 256), Image.BICUBIC).save(folder / "pictures" / f"{i}.jpg")
    channels, state = 3, {}
    for index, width in zip(
        (0, 2, 5, 7, 10, 12, 14, 17, 19, 21), (64,) * 2 + (128,) * 2 + (256,) * 3 + (512,) * 3, strict=True
    ):
        state[f"features.{index}.weight"] = torch.randn(width, channels, 3, 3) * (2 / (9 * channels)) ** 0.5
        state[f"features.{index}.bias"] = torch.zeros(width)
        channels = width
    assert len(state) == 2 * sum(layer != "M" for layer in VGGPerceptualLoss._LAYERS)
    save_file(state, folder / "vgg.safetensors")


def trainer(config: TrainingConfig, folder: Path, **changes) -> Trainer:
    """A trainer of its own on the pictures."""
    AcceleratorState._reset_state(reset_partial_state=True)
    common = {"train_data_dir": str(folder / "pictures"), "split_column": None, "vgg": str(folder / "vgg.safetensors")}
    common |= {"cache_dir": str(folder / "cache"), "clip": "textir-mini-clip", "lpips": None}
    with tempfile.TemporaryDirectory(dir=folder) as output:
        return Trainer(replace(config, **common | {"output_dir": output} | changes))


def step_seconds(made: Trainer, steps: int) -> tuple[float, dict[str, float]]:
    """The shortest of so many steps, and the losses of the first."""
    batches, best, first = made.batches(), float("inf"), None
    for _ in range(steps):
        start = time.perf_counter()
        values = made.train_step(batches)
        best, first = min(best, time.perf_counter() - start), first or values
    return best, first


def full_width(folder: Path, size: int, steps: int) -> None:
    """The step of the full-width inpainting preset, three ways."""
    config = replace(PRESETS["inpainting-ffhq-256"], sample_size=size, train_batch_size=4, r1_every=2, noise=False)
    seconds, losses = {}, {}
    for name, precision in (("straightforward fp32", "no"), ("ours fp32", "no"), ("ours bf16", "bf16")):
        made = trainer(config, folder, mixed_precision=precision)
        if name.startswith("straightforward"):
            made.generator = StraightforwardGenerator(made.generator.to(memory_format=torch.contiguous_format))
            made.discriminator.to(memory_format=torch.contiguous_format)
            made.discriminator = StraightforwardDiscriminator(made.discriminator)
        seconds[name], losses[name] = step_seconds(made, steps)
        del made
    print(f"\n| step of inpainting-ffhq-256 at {size} px, batch 4 | s | times straightforward |\n|---|---|---|")
    for name, value in seconds.items():
        print(f"| {name} | {value:.2f} | {seconds['straightforward fp32'] / value:.2f}x |")
    first, second = losses["straightforward fp32"], losses["ours fp32"]
    worst = max(abs(first[n] - second[n]) / max(1, abs(first[n])) for n in first)
    print(f"largest difference of a loss term, fp32: {worst:.1e}")


def data_waiting(folder: Path, steps: int) -> None:
    """The share of its time that the loop of a mini preset waits for data, with two workers."""
    made = trainer(PRESETS["textir-mini-inpainting"], folder, mixed_precision="bf16", adversarial_start=0, clip_start=0)
    batches = made.batches()
    made.train_step(batches)  # starts the workers
    made.waited, start = 0.0, time.perf_counter()
    for _ in range(steps):
        made.train_step(batches)
    share = made.waited / (time.perf_counter() - start)
    print(f"\nwaiting for data, textir-mini-inpainting, 2 workers, {steps} steps: {100 * share:.2f} % of the time")


def cached_embeddings(folder: Path, steps: int) -> None:
    """The whole step of a mini preset with the targets' embeddings cached and not."""
    seconds = {}
    for cached in (False, True):
        made = trainer(PRESETS["textir-mini-inpainting"], folder, mixed_precision="bf16", cache_embeddings=cached)
        seconds[cached], _ = step_seconds(made, steps)
    print(
        f"\nstep of textir-mini-inpainting before its CLIP loss starts: {1e3 * seconds[False]:.0f} ms, with cached "
        f"embeddings {1e3 * seconds[True]:.0f} ms: {seconds[False] / seconds[True]:.2f}x"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="of the full-width step, pixels")
    parser.add_argument("--steps", type=int, default=2, help="full-width steps, of which the fastest counts")
    args = parser.parse_args()
    disable_progress_bars()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        make_inputs(Path(name), 64)
        print(f"{torch.get_num_threads()} threads")
        data_waiting(Path(name), 12)
        cached_embeddings(Path(name), 8)
        full_width(Path(name), args.size, args.steps)


if __name__ == "__main__":
    main()
