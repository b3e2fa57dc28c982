"""Makes a network for twice the size from a trained one, for `--init-from`.

python -m training.recipes.grow runs/small/pipeline/restorer runs/start --width 32
"""

import argparse
from pathlib import Path

from torch import Tensor

from textir_hf.atomic import replacing
from textir_hf.models.generator import TextIRGenerator


def grow(network: TextIRGenerator, width: int) -> TextIRGenerator:
    """A network with one more level outside, at twice the size.

    Progressive growing (Karras et al., 2018), without the fading in: what the smaller one does at its full size, the
    larger one then does at half its size. The new level's own weights are new.

    Args:
        network: The trained network.
        width: Channels of the new level.
    """
    config = {key: value for key, value in network.config.items() if not key.startswith("_")}
    channels, size = (width, *config["channels"]), 2 * config["sample_size"]
    larger = TextIRGenerator(**config | {"channels": channels, "sample_size": size})
    state = larger.state_dict()
    for name, value in network.state_dict().items():
        if name.startswith("encoder.first."):
            continue  # of its place, not of its level: it sees pixels, where the next level sees features
        parts = name.split(".")
        if name.startswith(("encoder.down.", "skips.")):
            place = parts.index("down" if "down" in parts else "skips") + 1
            parts[place] = str(int(parts[place]) + 1)
        target = state[".".join(parts)]
        if name.startswith("fusion.alpha."):
            _halves(target)[:, width:] = _halves(value)
        elif name.startswith("style."):
            target[: len(value)] = value  # codes of the smallest level first, of the new one last
        else:
            target.copy_(value)
    return larger


def _halves(alpha: Tensor) -> Tensor:  # [2 * sum(C), ...] -> [2, sum(C), ...]
    return alpha.unflatten(0, (2, -1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", metavar="NETWORK", type=Path, help="folder of the trained network")
    parser.add_argument("larger", metavar="LARGER", type=Path, help="folder to write")
    parser.add_argument("--width", type=int, required=True, help="channels of the new level")
    args = parser.parse_args()
    with replacing(args.larger) as temporary:
        grow(TextIRGenerator.from_pretrained(args.network), args.width).save_pretrained(temporary)
    print(f"Wrote {args.larger}")


if __name__ == "__main__":
    main()
