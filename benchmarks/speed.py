"""Time of an image, side by side: the paper's networks at full width, OpenCV, and Stable Diffusion's inpainting.

    python -m benchmarks.speed

Weights are random, for speed does not depend on them; Stable Diffusion has the size of 1.5, 20 steps with guidance, and
no text encoder. Each row is measured in a process of its own, whose peak memory (with Python, PyTorch and the networks)
counts: the best of three calls, of one for Stable Diffusion.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

CHANNELS = {  # of the paper's networks
    "inpainting": (128, 256, 512, 512, 512),
    "super-resolution": (64, 128, 256, 512, 512, 512),
    "colorization": (128, 256, 512, 512, 512),
}
KINDS = ("fp32", "bf16", "compiled bf16")
_REFERENCE = "Stable Diffusion inpainting, 512"


def best_of(call, rounds: int = 3) -> float:
    """Shortest time in seconds, after a first call that does not count."""
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def image(size: int) -> Image.Image:
    """A smooth random image."""
    small = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC)


def center(size: int) -> Image.Image:
    """A mask of the middle quarter."""
    mask = Image.new("L", (size, size))
    mask.paste(255, (size // 4, size // 4, 3 * size // 4, 3 * size // 4))
    return mask


def ours(task: str, size: int, kind: str) -> dict:
    """An edit with a full-width network, whose input has `size` pixels a side."""
    from textir_hf import TextIRGenerator, TextIRPipeline
    from textir_hf.models.embedding import ENCODER, load_encoder
    from textir_hf.tasks import get_task

    torch.manual_seed(0)
    config = get_task(task).network_config()
    network = TextIRGenerator(**config, sample_size=size, channels=CHANNELS[task]).eval()
    network = network.to(memory_format=torch.channels_last)
    degraded = torch.rand(1, config["in_channels"], size, size)
    skip_strength = 0.25 if config["skip_strength_source"] == "input" else None
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(degraded, F.normalize(torch.randn(1, 512), dim=1), skip_strength)
    if kind != "fp32":
        network = torch.nn.Module.to(network, torch.bfloat16)
    pipe = TextIRPipeline(network, *load_encoder(ENCODER))
    pipe.set_progress_bar_config(disable=True)
    if kind.startswith("compiled"):
        network.restore = torch.compile(network.restore)
    taken = {"mask_image": center(size), "factor": 16, "colors": True}
    damage = {pipe.task.degradation: taken[pipe.task.degradation]}
    original = image(size)
    seconds = best_of(lambda: pipe.edit("a smiling woman", original, **damage))
    return {"seconds": seconds, "gflop": counter.get_total_flops() / 1e9}


def telea(size: int) -> dict:
    """OpenCV."""
    import cv2

    target, mask = np.asarray(image(size)), np.asarray(center(size))
    return {"seconds": best_of(lambda: cv2.inpaint(target, mask, 3, cv2.INPAINT_TELEA))}


def stable_diffusion(size: int, kind: str) -> dict:
    """A pipeline with the networks of Stable Diffusion 1.5's size."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionInpaintPipeline, UNet2DConditionModel

    dtype = torch.float32 if kind == "fp32" else torch.bfloat16
    unet = UNet2DConditionModel(sample_size=64, in_channels=9, cross_attention_dim=768, attention_head_dim=8)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        sample_size=512,
    )
    scheduler = DDIMScheduler(steps_offset=1, clip_sample=False)
    parts = {"text_encoder": None, "tokenizer": None, "safety_checker": None, "feature_extractor": None}
    pipe = StableDiffusionInpaintPipeline(
        vae=vae.to(dtype), unet=unet.to(dtype), scheduler=scheduler, **parts, requires_safety_checker=False
    )
    pipe.set_progress_bar_config(disable=True)
    embeds = {n: torch.randn(1, 77, 768, dtype=dtype) for n in ("prompt_embeds", "negative_prompt_embeds")}
    start = time.perf_counter()
    pipe(image=image(size), mask_image=center(size), num_inference_steps=20, width=size, height=size, **embeds)
    return {"seconds": time.perf_counter() - start}


def convolution(kind: str) -> dict:
    """GFLOP/s of a plain convolution of the networks' size."""
    dtype = torch.float32 if kind == "fp32" else torch.bfloat16
    x, w = torch.randn(1, 512, 64, 64, dtype=dtype), torch.randn(512, 512, 3, 3, dtype=dtype)
    x, w = (t.to(memory_format=torch.channels_last) for t in (x, w))
    seconds = best_of(lambda: F.conv2d(x, w, padding=1), 20)
    return {"seconds": seconds, "gflop": 2 * w.numel() * 64 * 64 / 1e9}


@torch.inference_mode()
def case(name: str, *words) -> None:
    """Measures one row and prints it as JSON."""
    functions = {"ours": ours, "telea": telea, "stable_diffusion": stable_diffusion, "convolution": convolution}
    measured = functions[name](*words)
    measured["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps(measured))


def run(*words) -> dict | None:
    """A row measured in its own process; None if it failed, whose error is shown."""
    command = [sys.executable, "-m", "benchmarks.speed", "--case", json.dumps(words)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(f"{words} failed: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--skip-compiled", action="store_true", help="compiling takes minutes")
    args = parser.parse_args()
    if args.case:
        return case(*args.case)
    kinds = [k for k in KINDS if not (args.skip_compiled and k.startswith("compiled"))]
    cases = {f"{_REFERENCE}, {k}": ("stable_diffusion", 512, k) for k in ("fp32", "bf16")}
    cases |= {f"{t}, {s}, {k}": ("ours", t, s, k) for t in CHANNELS for s in (256, 512) for k in kinds}
    cases |= {f"OpenCV Telea, {s}": ("telea", s) for s in (256, 512)}
    plain = {k: run("convolution", k) for k in ("fp32", "bf16")}
    rates = {k: v["gflop"] / v["seconds"] for k, v in plain.items()}
    rows = {name: run(*words) for name, words in tqdm(cases.items(), desc="speed")}
    print(f"{torch.get_num_threads()} threads; a plain convolution: ", end="")
    print(", ".join(f"{rate:.0f} GFLOP/s in {k}" for k, rate in rates.items()))
    print(table({name: row for name, row in rows.items() if row}, rates))


def table(rows: dict[str, dict], rates: dict[str, float]) -> str:
    """Markdown of all rows.

    Args:
        rows: What `case` measured, by the row's name.
        rates: GFLOP/s of a plain convolution by number format.
    """
    heads = ["image, side, number format", "ms", "peak memory (GiB)", "GFLOP/s", "share of the plain convolution"]
    heads += ["times SD fp32", "times SD, same format"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for name, row in rows.items():
        kind = "fp32" if "fp32" in name else "bf16"
        cells = [f"{1e3 * row['seconds']:.0f}", f"{row['memory']:.1f}", "", ""]
        if "gflop" in row:
            rate = row["gflop"] / row["seconds"]
            cells[2:] = f"{rate:.0f}", f"{100 * rate / rates[kind]:.0f} %"
        references = [rows.get(f"{_REFERENCE}, {k}") for k in ("fp32", kind)]
        comparable = "512" in name and not name.startswith(_REFERENCE)
        cells += [f"{r['seconds'] / row['seconds']:.0f}" if r and comparable else "" for r in references]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
