"""A trained network as the start of one for twice the size (Karras et al., 2018, without the fading in)."""

from torch import Tensor

from textir_hf.generator import TextIRGenerator


def grow(network: TextIRGenerator, larger: TextIRGenerator) -> None:
    """Copies a network into one with one more level outside, whose own weights stay as they are.

    What the smaller one does at its full size, the larger one then does at half its size.

    Args:
        network: The trained network, with channels `c`.
        larger: A network with channels `(new, *c)`, the same otherwise; changed in place.

    Raises:
        ValueError: The channels or the widths do not fit.
    """
    small, large = network.config, larger.config
    if tuple(large.channels[1:]) != tuple(small.channels) or large.style_dim != small.style_dim:
        raise ValueError(
            f"A network with channels {list(small.channels)} and style_dim {small.style_dim} starts one with the same "
            f"channels, or one more before them, got {list(large.channels)} and {large.style_dim}."
        )
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
            _halves(target)[:, large.channels[0] :] = _halves(value)
        elif name.startswith("style."):
            target[: len(value)] = value  # codes of the smallest level first, of the new one last
        else:
            target.copy_(value)


def _halves(alpha: Tensor) -> Tensor:  # [2 * sum(C), ...] -> [2, sum(C), ...]
    return alpha.unflatten(0, (2, -1))
