"""Speed of a training step: images a second, waiting for data; on a GPU, time and memory.

    python -m benchmarks.training

The images are drawn for the occasion, VGG16's weights are random and the dual encoder is the embedded one: speed does
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
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import print_table
from training import networks
from training.config import PRESETS, TrainingConfig
from training.output import Log
from training.train import Run, train_step

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
    for index, width in zip(networks.VGGPerceptualLoss.CONVS, widths, strict=True):
        state[f"features.{index}.weight"] = torch.randn(width, channels, 3, 3) * (2 / (9 * channels)) ** 0.5
        state[f"features.{index}.bias"] = torch.zeros(width)
        channels = width
    save_file(state, folder / "vgg.safetensors")


def start(config: TrainingConfig, folder: Path, **changes) -> Run:
    """A run of its own on the images, in which all losses count."""
    AcceleratorState._reset_state(reset_partial_state=True)
    networks.download_vgg = lambda: str(folder / "vgg.safetensors")
    common = {"dataset": [str(folder / "images")], "masks": str(folder / "masks")}
    common |= {"cache_dir": str(folder / "cache"), "clip": "textir-mini-clip"}
    common |= {"adversarial_start": 0, "output_dir": tempfile.mkdtemp(dir=folder)}
    return Run(replace(config, **common | changes))


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
    rows = {}
    for name in MINI:
        run = start(PRESETS[name], folder, mixed_precision="bf16")
        (seconds, waiting), size = seconds_of(run, steps), run.config.train_batch_size
        rows[name] = {"batch": size, "s": seconds, "images/s": size / seconds, "waiting (%)": 100 * waiting}
    print_table("step, bf16, two workers", rows)


def on_a_gpu(folder: Path, steps: int) -> None:
    """Step time, peak memory and share of the GPU's peak for the paper's presets."""
    name, rows = torch.cuda.get_device_name(), {}
    peak = next((value for key, value in PEAKS.items() if key in name), None)
    for preset in PAPER:
        for size in (16, 64):
            changes = {"train_batch_size": size, "dataloader_num_workers": 12, "mixed_precision": "bf16"}
            run = start(PRESETS[preset], folder, **changes)
            torch.cuda.reset_peak_memory_stats()
            seconds, waiting = seconds_of(run, steps)
            memory = torch.cuda.max_memory_allocated() / 2**30
            run.state.step = 1  # a step without R1, which one step in sixteen has
            with FlopCounterMode(display=False) as counter:
                train_step(run, run.batches())
            row = {"batch": size, "ms": 1e3 * seconds, "images/s": size / seconds, "waiting (%)": 100 * waiting}
            row |= {"peak memory (GiB)": memory}
            if peak:
                row["share of peak (%)"] = 100 * counter.get_total_flops() / seconds / peak
            rows[f"{preset}, {size}"] = row
    print_table(f"{name}, bf16", rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20, help="of each row")
    args = parser.parse_args()
    disable_progress_bars()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        make_inputs(Path(name), 64)
        print(f"{torch.get_num_threads()} threads")
        mini_presets(Path(name), args.steps)
        if torch.cuda.is_available():
            on_a_gpu(Path(name), 3 * args.steps)


if __name__ == "__main__":
    main()
