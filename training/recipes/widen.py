"""Makes a wider network that does what a trained one does, for `--init-from`.

python -m training.recipes.widen runs/narrow/pipeline/restorer runs/start --channels 32 48 96 192 256
"""

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor

from textir_hf.atomic import replacing
from textir_hf.models.generator import TextIRGenerator
from textir_hf.models.layers import StyleConv2d


def widen(network: TextIRGenerator, channels: tuple[int, ...]) -> TextIRGenerator:
    """A network of more channels and the same output, in which what is new has all to learn.

    The old channels' kernels take nothing from the new ones, which have weights of their own and take from all (Chen et
    al., "Net2Net", 2016, in its spirit).

    Args:
        network: The trained network.
        channels: Width of each level, full size first, none less than before.

    Raises:
        ValueError: The levels differ in number, or one would be narrower.
    """
    config = {key: value for key, value in network.config.items() if not key.startswith("_")}
    before = tuple(config["channels"])
    if len(channels) != len(before) or any(new < old for new, old in zip(channels, before, strict=True)):
        raise ValueError(f"channels must be {len(before)} widths of at least {before}, got {tuple(channels)}.")
    wider = TextIRGenerator(**config | {"channels": tuple(channels)})
    layers, state = dict(wider.named_modules()), wider.state_dict()
    for name, value in network.state_dict().items():
        if name.startswith("fusion.alpha."):
            _put_levels(state[name], value, channels, before)
            continue
        layer, target, gain = layers[name.rpartition(".")[0]], state[name], _fan_in(state[name], value)
        if isinstance(layer, StyleConv2d) and value.ndim > 1:
            gain = 1.0  # demodulation takes any factor out again
            if layer.blur is not None:  # a transposed convolution's kernel has its inputs first
                target, value = target.transpose(0, 1), value.transpose(0, 1)
        _put(target, value, gain)
    return wider


def _put(target: Tensor, value: Tensor, gain: float) -> None:
    """Old outputs see old inputs alone."""
    if value.ndim > 1:
        target[: len(value), value.shape[1] :] = 0
        target[: len(value), : value.shape[1]] = gain * value
    elif value.ndim == 1:
        target[: len(value)] = value
    else:
        target.copy_(value)


def _put_levels(target: Tensor, value: Tensor, channels: tuple[int, ...], before: tuple[int, ...]) -> None:
    """Two weights for each channel of all levels: `[2 * sum(C), ...]`."""
    parts = zip(_levels(target, channels), _levels(value, before), strict=True)
    for ours, theirs in parts:
        ours[:, : theirs.shape[1]] = theirs


def _levels(alpha: Tensor, channels: tuple[int, ...]) -> tuple[Tensor, ...]:
    return alpha.unflatten(0, (2, -1)).split(channels, 1)


def _fan_in(target: Tensor, value: Tensor) -> float:
    """Equalized layers divide by the root of the number of inputs."""
    return math.sqrt(target[0].numel() / value[0].numel()) if value.ndim > 1 else 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", metavar="NETWORK", type=Path, help="folder of the trained network")
    parser.add_argument("wider", metavar="WIDER", type=Path, help="folder to write")
    parser.add_argument("--channels", type=int, nargs="+", required=True, help="width of each level, full size first")
    args = parser.parse_args()
    torch.manual_seed(0)  # of the new weights
    with replacing(args.wider) as temporary:
        widen(TextIRGenerator.from_pretrained(args.network), tuple(args.channels)).save_pretrained(temporary)
    print(f"Wrote {args.wider}")


if __name__ == "__main__":
    main()
