"""Speed of a training step: images a second, waiting for data, waits for the device; on a GPU, time and memory.

    python -m benchmarks.training

The images are drawn for the occasion, VGG16's weights are random and the dual encoder is the embedded one: speed does
not depend on weights.
"""

import argparse
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate.state import AcceleratorState
from datasets import disable_progress_bars
from PIL import Image
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.straightforward import StraightforwardDiscriminator, StraightforwardGenerator
from benchmarks.waits import WaitCounter
from training import perceptual
from training.config import TrainingConfig
from training.output import Log
from training.presets import PRESETS
from training.train import Run, set_up, train_step

PAPER = [name for name in PRESETS if not name.startswith("textir-mini")]
MINI = [name for name in PRESETS if name.startswith("textir-mini")]
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "V100": 125e12}  # dense half precision, FLOP/s


def make_inputs(folder: Path, count: int) -> None:
    """Smooth random images as JPEG, masks, and a VGG16 file of random weights."""
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for i in range(count):
        small = np.random.default_rng(i).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(small).resize((512, 512), Image.Resampling.BICUBIC).save(folder / "images" / f"{i}.jpg")
        blocks = Image.fromarray(small[..., 0] > 150)
        blocks.resize((256, 256), Image.Resampling.NEAREST).save(folder / "masks" / f"{i}.png")
    channels, state = 3, {}
    widths = (64,) * 2 + (128,) * 2 + (256,) * 3 + (512,) * 3
    indices = [layer for layer in perceptual.VGGPerceptualLoss.LAYERS if layer != "M"]
    for index, width in zip(indices, widths, strict=True):
        state[f"features.{index}.weight"] = torch.randn(width, channels, 3, 3) * (2 / (9 * channels)) ** 0.5
        state[f"features.{index}.bias"] = torch.zeros(width)
        channels = width
    save_file(state, folder / "vgg.safetensors")


def start(config: TrainingConfig, folder: Path, **changes) -> Run:
    """A run of its own on the images, in which all losses count."""
    AcceleratorState._reset_state(reset_partial_state=True)
    perceptual.download_vgg = lambda: str(folder / "vgg.safetensors")
    common = {"dataset": [str(folder / "images")], "masks": str(folder / "masks")}
    common |= {"cache_dir": str(folder / "cache"), "clip": "textir-mini-clip"}
    common |= {"adversarial_start": 0, "output_dir": tempfile.mkdtemp(dir=folder)}
    return set_up(replace(config, **common | changes))


def seconds_of(run: Run, steps: int) -> tuple[float, float]:
    """Seconds of a step with losses read every ten, and the share of them that the loop waits for data."""
    batches, log = run.batches(), Log(run.config, run.accelerator, 0, run.state.images_per_update)
    for _ in range(3):  # starts the workers, and fills what is filled once
        log.add(train_step(run, batches))
    log.read(3, 0.0, [0.0])
    batches.waited, begin = 0.0, time.perf_counter()
    for step in range(4, steps + 4):
        log.add(train_step(run, batches))
        if step % 10 == 0 or step == steps + 3:
            log.read(step, 0.0, [0.0])
    total = time.perf_counter() - begin
    return total / steps, batches.waited / total


def mini_presets(folder: Path, steps: int) -> None:
    print("\n| step, bf16, two workers | batch | s | images/s | waiting for data |\n|---|---|---|---|---|")
    for name in MINI:
        run = start(PRESETS[name], folder, mixed_precision="bf16")
        seconds, waiting = seconds_of(run, steps)
        size = run.config.train_batch_size
        print(f"| {name} | {size} | {seconds:.3f} | {size / seconds:.1f} | {100 * waiting:.2f} % |")


def waits(folder: Path) -> None:
    """Where a step would wait for a GPU: counted on the CPU, and where there is a GPU by CUDA too."""
    print("\n| step of 16 images, without logging | waits for the device | draws of random numbers |\n|---|---|---|")
    for name in MINI:
        run = start(PRESETS[name], folder, train_batch_size=16, dataloader_num_workers=0)
        loader, log = run.batches(), Log(run.config, run.accelerator, 0, run.state.images_per_update)
        batches = iter([next(loader) for _ in range(2)])
        log.add(train_step(run, batches))
        gpu = run.accelerator.device.type == "cuda"
        with warnings.catch_warnings(record=True) as caught, WaitCounter() as counter:
            if gpu:
                torch.cuda.set_sync_debug_mode("warn")
            log.add(train_step(run, batches))
        if gpu:
            torch.cuda.set_sync_debug_mode("default")
        found = dict(Counter(counter.found)) or "none"
        print(f"| {name} | {found}{f', by CUDA {len(caught)}' if gpu else ''} | {counter.drawn} |")


def full_width(folder: Path, size: int, steps: int) -> None:
    """The step of the full-width inpainting preset, three ways; the first one has R1."""
    config = replace(PRESETS["inpainting-ffhq-256"], sample_size=size, train_batch_size=4)
    seconds, losses = {}, {}
    for name, precision in (("straightforward fp32", "no"), ("ours fp32", "no"), ("ours bf16", "bf16")):
        run = start(config, folder, mixed_precision=precision)
        if name.startswith("straightforward"):
            networks = run.state
            plain = networks.generator.to(memory_format=torch.contiguous_format)
            networks.generator = StraightforwardGenerator(plain)
            plain = networks.discriminator.to(memory_format=torch.contiguous_format)
            networks.discriminator = StraightforwardDiscriminator(plain)
        batches, times, terms = run.batches(), [], []
        for _ in range(steps):
            begin = time.perf_counter()
            terms.append(train_step(run, batches))
            times.append(time.perf_counter() - begin)
        seconds[name], losses[name] = min(times), terms[0]
    print(f"\n| step of inpainting-ffhq-256 at {size} px, batch 4 | s | times straightforward |\n|---|---|---|")
    for name, value in seconds.items():
        print(f"| {name} | {value:.2f} | {seconds['straightforward fp32'] / value:.2f}x |")
    first, second = losses["straightforward fp32"], losses["ours fp32"]
    worst = max((abs(first[n] - second[n]) / max(1, abs(first[n]))).item() for n in first)
    print(f"largest difference of a loss term, fp32: {worst:.1e}")


def on_a_gpu(folder: Path, steps: int) -> None:
    """Step time, peak memory and share of the GPU's peak for the paper's presets."""
    name = torch.cuda.get_device_name()
    peak = next((value for key, value in PEAKS.items() if key in name), None)
    print(f"\n| {name}, bf16 | batch | ms | images/s | waiting for data | peak memory (GiB) | share of peak |")
    print("|---|---|---|---|---|---|---|")
    for preset in PAPER:
        for size in (16, 64):
            changes = {"train_batch_size": size, "dataloader_num_workers": 12, "mixed_precision": "bf16"}
            run = start(PRESETS[preset], folder, **changes)
            torch.cuda.reset_peak_memory_stats()
            seconds, waiting = seconds_of(run, steps)
            memory = torch.cuda.max_memory_allocated() / 2**30
            share = "unknown" if peak is None else f"{100 * _flops(run) / seconds / peak:.0f} %"
            row = (f"{1e3 * seconds:.0f}", f"{size / seconds:.0f}", f"{100 * waiting:.1f} %", f"{memory:.1f}", share)
            print(f"| {preset} | {size} | {' | '.join(row)} |")


def _flops(run: Run) -> float:
    """Operations of a step without R1, which one step in sixteen has."""
    batches = run.batches()
    run.state.progress.step = 1
    with FlopCounterMode(display=False) as counter:
        train_step(run, batches)
    return counter.get_total_flops()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="of the full-width step on the CPU, pixels")
    parser.add_argument("--steps", type=int, default=20, help="of the short rows")
    parser.add_argument("--full-width-steps", type=int, default=1, help="the fastest counts; 0 leaves the rows out")
    args = parser.parse_args()
    disable_progress_bars()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        make_inputs(Path(name), 64)
        print(f"{torch.get_num_threads()} threads")
        waits(Path(name))
        mini_presets(Path(name), args.steps)
        if torch.cuda.is_available():
            on_a_gpu(Path(name), 3 * args.steps)
        elif args.full_width_steps:
            full_width(Path(name), args.size, args.full_width_steps)


if __name__ == "__main__":
    main()
