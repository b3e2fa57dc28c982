"""Pictures a second, side by side: the paper's networks at full width, OpenCV, and Stable Diffusion's inpainting.

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

NETWORKS = {
    "inpainting": {"in_channels": 4, "channels": (128, 256, 512, 512, 512)},
    "super-resolution": {"in_channels": 3, "channels": (64, 128, 256, 512, 512, 512), "strength_source": "input"},
    "colorization": {"in_channels": 1, "out_channels": 2, "input_scale": 0.01, "output_scale": 50.0},
}
KINDS = ("fp32", "bf16", "compiled bf16")


def best_of(call, rounds: int = 3) -> float:
    """Shortest time in seconds, after a first call that does not count."""
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def picture(size: int) -> Image.Image:
    """A smooth random picture."""
    small = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((size, size), Image.BICUBIC)


def hole(size: int) -> Image.Image:
    """A mask of a quarter of the picture."""
    mask = Image.new("L", (size, size))
    mask.paste(255, (size // 4, size // 4, 3 * size // 4, 3 * size // 4))
    return mask


def ours(task: str, size: int, kind: str) -> dict:
    """A call of the pipeline with a full-width network."""
    from textir_hf.clip import ENCODER, load_encoder

    from textir_hf import TextIRGenerator, TextIRPipeline

    torch.manual_seed(0)
    network = TextIRGenerator(task=task, sample_size=size, **NETWORKS[task]).eval()
    network = network.to(memory_format=torch.channels_last)
    shape, strength = (1, network.config.in_channels, size, size), 0.25 if task == "super-resolution" else None
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.rand(shape), F.normalize(torch.randn(1, 512), dim=1), strength)
    if kind != "fp32":
        network = torch.nn.Module.to(network, torch.bfloat16)
    pipe = TextIRPipeline(network, *load_encoder(ENCODER))
    pipe.set_progress_bar_config(disable=True)
    if kind.startswith("compiled"):
        network.restore = torch.compile(network.restore)
    image, options = picture(size), {}
    if task == "inpainting":
        options["mask_image"] = hole(size)
    if task == "super-resolution":
        image, options["scale"] = image.resize((size // 16, size // 16)), 16
    options |= {"tile": size} if task == "super-resolution" else {}
    seconds = best_of(lambda: pipe("a smiling woman", image, **options))
    return {"seconds": seconds, "gflop": counter.get_total_flops() / 1e9}


def telea(size: int) -> dict:
    """OpenCV."""
    import cv2

    target, mask = np.asarray(picture(size)), np.asarray(hole(size))
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
    pipe(image=picture(size), mask_image=hole(size), num_inference_steps=20, width=size, height=size, **embeds)
    return {"seconds": time.perf_counter() - start}


def convolution(kind: str) -> dict:
    """GFLOP/s of a plain convolution of the networks' size."""
    dtype = torch.float32 if kind == "fp32" else torch.bfloat16
    x, w = torch.randn(1, 512, 64, 64, dtype=dtype), torch.randn(512, 512, 3, 3, dtype=dtype)
    x, w = (t.to(memory_format=torch.channels_last) for t in (x, w))
    seconds = best_of(lambda: F.conv2d(x, w, padding=1), 20)
    return {"seconds": seconds, "gflop": 2 * w.numel() * 64 * 64 / 1e9}


FIRST_PICTURE = """
from PIL import Image
from textir_hf import TextIRPipeline
pipe = TextIRPipeline.from_pretrained("textir-mini-super-resolution")
pipe("a smiling woman", Image.new("RGB", (16, 16), "gray"), scale=8)
"""


@torch.inference_mode()
def case(name: str, *words) -> None:
    """Measures one row and prints it as JSON."""
    functions = {"ours": ours, "telea": telea, "stable_diffusion": stable_diffusion, "convolution": convolution}
    measured = functions[name](*words)
    measured["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps(measured))


def run(*words) -> dict | None:
    """A row measured in its own process; None if it failed, whose error is shown."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed", "--case", json.dumps(words)], capture_output=True, text=True
    )
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
    cases = {f"Stable Diffusion inpainting, 512, {k}": ("stable_diffusion", 512, k) for k in ("fp32", "bf16")}
    cases |= {f"{t}, {s}, {k}": ("ours", t, s, k) for t in NETWORKS for s in (256, 512) for k in kinds}
    cases |= {f"OpenCV Telea, {s}": ("telea", s) for s in (256, 512)}
    plain = {k: run("convolution", k) for k in ("fp32", "bf16")}
    rates = {k: v["gflop"] / v["seconds"] for k, v in plain.items()}
    rows = {name: run(*words) for name, words in tqdm(cases.items(), desc="speed")}
    starts = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", FIRST_PICTURE], check=True, capture_output=True)
        starts.append(time.perf_counter() - start)
    print(f"{torch.get_num_threads()} threads; a plain convolution: ", end="")
    print(", ".join(f"{rate:.0f} GFLOP/s in {k}" for k, rate in rates.items()))
    print(f"cold start, from the interpreter to the first picture: {min(starts):.1f} s\n")
    heads = ["picture, side, number format", "ms", "peak memory (GiB)", "GFLOP/s", "share of the plain convolution"]
    heads += ["times SD fp32", "times SD, same format"]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for name, row in rows.items():
        if row is None:
            continue
        kind = "fp32" if "fp32" in name else "bf16"
        rate = row["gflop"] / row["seconds"] if "gflop" in row else None
        share = "" if rate is None else f"{100 * rate / rates[kind]:.0f} %"
        against = [""] * 2
        if "512" in name and "Stable" not in name:
            references = [rows[f"Stable Diffusion inpainting, 512, {k}"] for k in ("fp32", kind)]
            against = [f"{r['seconds'] / row['seconds']:.0f}" if r else "" for r in references]
        cells = [f"{1e3 * row['seconds']:.0f}", f"{row['memory']:.1f}", "" if rate is None else f"{rate:.0f}", share]
        print(f"| {name} | {' | '.join([*cells, *against])} |")


if __name__ == "__main__":
    main()
