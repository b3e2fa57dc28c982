"""A trained network as the start of another: for another task, or for twice the size."""

from torch import Tensor

from textir_hf.models.generator import TextIRGenerator


def adopt(network: TextIRGenerator, other: TextIRGenerator) -> None:
    """Copies a network into one of the same levels; for another task, all but what sees its input and its strength.

    Args:
        network: The trained network.
        other: The network to start, changed in place.

    Raises:
        ValueError: The channels or the widths do not fit.
    """
    _check(network, other, tuple(other.config.channels))
    state = other.state_dict()
    for name, value in network.state_dict().items():
        if name in state and state[name].shape == value.shape:
            state[name].copy_(value)


def grow(network: TextIRGenerator, larger: TextIRGenerator) -> None:
    """Copies a network into one with one more level outside, whose own weights stay as they are.

    Progressive growing (Karras et al., 2018), without the fading in: what the smaller one does at its full size, the
    larger one then does at half its size.

    Args:
        network: The trained network, with channels `c`.
        larger: A network with channels `(new, *c)`, the same otherwise; changed in place.

    Raises:
        ValueError: The channels or the widths do not fit.
    """
    _check(network, larger, tuple(larger.config.channels[1:]))
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
            _halves(target)[:, larger.config.channels[0] :] = _halves(value)
        elif name.startswith("style."):
            target[: len(value)] = value  # codes of the smallest level first, of the new one last
        else:
            target.copy_(value)


def _check(network: TextIRGenerator, other: TextIRGenerator, inner: tuple[int, ...]) -> None:
    has, wanted = network.config, other.config
    widths = [(c.style_dim, c.embedding_dim) for c in (has, wanted)]
    if tuple(has.channels) != inner or widths[0] != widths[1]:
        raise ValueError(
            f"A network with channels {list(has.channels)} and style_dim {has.style_dim} starts one with the same "
            f"channels, or one more before them, got {list(wanted.channels)} and {wanted.style_dim}."
        )


def _halves(alpha: Tensor) -> Tensor:  # [2 * sum(C), ...] -> [2, sum(C), ...]
    return alpha.unflatten(0, (2, -1))
