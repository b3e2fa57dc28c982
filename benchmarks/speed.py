"""Time of the paper's networks at full width beside a straightforward implementation.

python -m benchmarks.speed

The weights are random, since speed does not depend on them. Each row is measured in its own process, whose peak memory
includes Python and PyTorch.
"""

import torch
from PIL import Image
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import isolated, print_table, turns
from benchmarks.straightforward import straightforward
from textir_hf import TextIRGenerator, TextIRPipeline
from textir_hf.models.embedding import ENCODER, load_encoder
from textir_hf.tasks import get_task

CHANNELS = {  # of the paper's networks
    "inpainting": (128, 256, 512, 512, 512),
    "super-resolution": (64, 128, 256, 512, 512, 512),
    "colorization": (128, 256, 512, 512, 512),
}


def center(size: int) -> Image.Image:
    """A mask of the middle quarter."""
    mask = Image.new("L", (size, size))
    mask.paste(255, (size // 4, size // 4, 3 * size // 4, 3 * size // 4))
    return mask


@torch.inference_mode()
def network() -> dict:
    """The network at full width, in turns with the straightforward implementation."""
    torch.manual_seed(0)
    calls, model = {}, TextIRGenerator().eval()
    degraded, embedding = torch.rand(1, 4, 256, 256), F.normalize(torch.randn(1, 512), dim=1)
    expected = model(degraded, embedding)[0]
    difference = (straightforward(model, degraded, embedding) - expected).abs().max() / expected.abs().max()
    for dtype, name in ((torch.float32, "fp32"), (torch.bfloat16, "bf16")):
        plain, ours = (TextIRGenerator.from_config(model.config).eval() for _ in range(2))
        plain, ours = (torch.nn.Module.to(m, dtype) for m in (plain, ours))
        ours.to(memory_format=torch.channels_last)
        x, c = degraded.to(dtype), embedding.to(dtype)
        last = x.to(memory_format=torch.channels_last)
        calls[f"straightforward {name}"] = lambda m=plain, x=x, c=c: straightforward(m, x, c)
        calls[f"textir_hf {name}"] = lambda m=ours, x=last, c=embedding: m(x, c)
    seconds = turns(calls, 4)
    times = {f"{name} (times faster)": seconds["straightforward fp32"] / value for name, value in seconds.items()}
    return times | {"largest difference": f"{difference:.1e}"}


@torch.inference_mode()
def ours(task: str, size: int, kind: str) -> dict:
    """An edit with a full-width network, whose input has `size` pixels a side."""
    torch.manual_seed(0)
    config = get_task(task).network_config()
    model = TextIRGenerator(**config, sample_size=size, channels=CHANNELS[task]).eval()
    model = model.to(memory_format=torch.channels_last)
    skip_strength = 0.25 if config["skip_strength_source"] == "input" else None
    with FlopCounterMode(display=False) as counter:
        model(torch.rand(1, config["in_channels"], size, size), F.normalize(torch.randn(1, 512), dim=1), skip_strength)
    if kind == "bf16":
        model = torch.nn.Module.to(model, torch.bfloat16)
    pipe = TextIRPipeline(model, *load_encoder(ENCODER))
    pipe.set_progress_bar_config(disable=True)
    lost = {"mask_image": center(size), "factor": 16, "colors": True}
    damage = {pipe.task.degradation: lost[pipe.task.degradation]}
    image = Image.effect_noise((size, size), 60).convert("RGB")
    seconds = turns({"edit": lambda: pipe.edit("a smiling woman", image, **damage)})["edit"]
    return {"s": seconds, "GFLOP/s": counter.get_total_flops() / seconds / 1e9}


def main() -> None:
    print(f"{torch.get_num_threads()} threads")
    print_table("256x256, batch 1", {"network": isolated(network)})
    cases = [(task, size, kind) for task in CHANNELS for size in (256, 512) for kind in ("fp32", "bf16")]
    print_table("edit", {", ".join(map(str, case)): isolated(ours, *case) for case in cases})


if __name__ == "__main__":
    main()
