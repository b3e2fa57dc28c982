"""Speed of the full-width generator at 256x256, batch 1, against a straightforward implementation.

    python -m benchmarks.generator

All columns are measured in one run, taking turns, and the best of the rounds counts.
"""

import argparse
import time

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.straightforward import straightforward
from textir_hf.models.generator import TextIRGenerator


def best_seconds(functions: dict, rounds: int) -> dict[str, float]:
    """Shortest time of each function, one call of each a round."""
    best = dict.fromkeys(functions, float("inf"))
    for _ in range(rounds + 1):  # the first round also warms up
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def _copy(model: TextIRGenerator, dtype: torch.dtype) -> TextIRGenerator:
    copy = TextIRGenerator.from_config(model.config).eval()
    copy.load_state_dict(model.state_dict())
    return nn.Module.to(copy, dtype)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=14)
    parser.add_argument("--size", type=int, default=256)
    args = parser.parse_args()
    torch.manual_seed(0)
    model = TextIRGenerator().eval()
    degraded, embedding = torch.rand(1, 4, args.size, args.size), F.normalize(torch.randn(1, 512), dim=1)
    with FlopCounterMode(display=False) as counter:
        expected = model(degraded, embedding)[0]
    flops = counter.get_total_flops()
    difference = (straightforward(model, degraded, embedding) - expected).abs().max() / expected.abs().max()
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters / 1e6:.1f} M parameters, {flops / 1e9:.0f} GFLOP, {torch.get_num_threads()} threads")
    print(f"largest difference from the straightforward outputs, fp32: {difference:.1e} of their range")

    plain, plain_half, half = (_copy(model, d) for d in (torch.float32, torch.bfloat16, torch.bfloat16))
    model, half = (m.to(memory_format=torch.channels_last) for m in (model, half))
    last = degraded.to(memory_format=torch.channels_last)
    degraded_half, embedding_half, last_half = (t.to(torch.bfloat16) for t in (degraded, embedding, last))
    x, w = torch.randn(1, 512, 64, 64), torch.randn(512, 512, 3, 3)
    x, w = (t.to(memory_format=torch.channels_last) for t in (x, w))
    x_half, w_half = x.to(torch.bfloat16), w.to(torch.bfloat16)
    seconds = best_seconds(
        {
            "straightforward fp32": lambda: straightforward(plain, degraded, embedding),
            "straightforward bf16": lambda: straightforward(plain_half, degraded_half, embedding_half),
            "ours fp32": lambda: model(last, embedding),
            "ours bf16": lambda: half(last_half, embedding_half),
            "plain convolution fp32": lambda: F.conv2d(x, w, padding=1),
            "plain convolution bf16": lambda: F.conv2d(x_half, w_half, padding=1),
        },
        args.rounds,
    )
    work = {name: 2 * w.numel() * 64 * 64 if "convolution" in name else flops for name in seconds}
    print("\n| | ms | GFLOP/s | times straightforward fp32 | share of the plain convolution |\n|---|---|---|---|---|")
    for name, value in seconds.items():
        rate = work[name] / value / 1e9
        plain_rate = work["plain convolution fp32"] / seconds[f"plain convolution {name[-4:]}"] / 1e9
        speedup = "" if "convolution" in name else f"{seconds['straightforward fp32'] / value:.2f}x"
        print(f"| {name} | {1e3 * value:.1f} | {rate:.0f} | {speedup} | {100 * rate / plain_rate:.0f} % |")


if __name__ == "__main__":
    main()
