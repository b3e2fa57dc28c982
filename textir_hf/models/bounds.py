"""Bounds of sizes in configs, which may come from anybody: none may ask for more memory or time than a machine has."""

from collections.abc import Mapping

from textir_hf.checks import check_range

_WIDTH = (1, 16_384)
_GENERATOR = {
    "sample_size": (1, 4096),
    "in_channels": (1, 64),
    "out_channels": (1, 64),
    "embedding_dim": _WIDTH,
    "style_dim": _WIDTH,
    "strength_hidden": (0, 16_384),
    "input_scale": (1e-6, 1e6),
    "output_scale": (1e-6, 1e6),
    "patch_size": (1, 64),
    "blocks": (0, 16),
}
_LEVELS = (1, 10)
_CHANNELS = (1, 4096)  # of a level
_SOURCES = ("input", "encoder", "embedding")
RECENTERING = {"embedding_dim": _WIDTH, "scale": (0.0, 1e3)}
MINI_CLIP = {
    "projection_dim": _WIDTH,
    "image_size": (32, 4096),
    "hidden_size": _WIDTH,
    "num_queries": (1, 1024),
    "num_heads": (1, 256),
}
TRANSFORMER = {  # of BERT and of CLIP's two towers
    "vocab_size": (1, 1_000_000),
    "hidden_size": _WIDTH,
    "intermediate_size": (1, 65_536),
    "projection_dim": _WIDTH,
    "num_hidden_layers": (1, 100),
    "num_attention_heads": (1, 256),
    "max_position_embeddings": (1, 65_536),
    "image_size": (1, 4096),
    "patch_size": (1, 4096),
    "num_channels": (1, 64),
}


def check_bounds(config: Mapping, bounds: Mapping[str, tuple[float, float]]) -> None:
    """Checks that numbers of a config are numbers, whole where their bounds are, and in bounds.

    Args:
        config: Values by name; those that it lacks are left to their defaults.
        bounds: Least and largest value by name.

    Raises:
        ValueError: A value is of another type, or out of range.
    """
    for name in bounds.keys() & config.keys():
        value, (low, high) = config[name], bounds[name]
        if isinstance(low, int) and not isinstance(value, int):
            raise ValueError(f"{name} must be a whole number, got {value!r}.")
        check_range(name, value, low, high)


def check_generator(config: Mapping) -> None:
    """Checks the config of a `TextIRGenerator`.

    Args:
        config: Its arguments by name, all of them.

    Raises:
        ValueError: A value is of another type, or out of range.
    """
    check_bounds(config, _GENERATOR)
    if config["strength_source"] not in _SOURCES:
        raise ValueError(f"strength_source must be one of {', '.join(_SOURCES)}, got {config['strength_source']!r}.")
    if not isinstance(config["signed_fusion"], bool):
        raise ValueError(f"signed_fusion must be true or false, got {config['signed_fusion']!r}.")
    if config["decoder"] not in (None, "taef2"):
        raise ValueError(f'decoder must be "taef2" or None, got {config["decoder"]!r}.')
    if config["decoder"] and config["patch_size"] != 8:
        raise ValueError(f'patch_size must be 8 with decoder="taef2", got {config["patch_size"]}.')
    if config["decoder"] and config["out_channels"] != 3:
        raise ValueError(f'out_channels must be 3 with decoder="taef2", got {config["out_channels"]}.')
    channels, points = config["channels"], config["face_template"]
    if not (isinstance(channels, (list, tuple)) and _LEVELS[0] <= len(channels) <= _LEVELS[1]):
        raise ValueError(f"channels must be a list of {_LEVELS[0]} to {_LEVELS[1]} widths, got {channels!r}.")
    widths = {f"channels[{i}]": width for i, width in enumerate(channels)}
    check_bounds(widths, dict.fromkeys(widths, _CHANNELS))
    if points is not None:
        if not (isinstance(points, (list, tuple)) and [_length(point) for point in points] == [2] * 4):
            raise ValueError(f"face_template must be four pairs of x and y, got {points!r}.")
        shares = {f"face_template[{i}]": value for i, value in enumerate(v for point in points for v in point)}
        check_bounds(shares, dict.fromkeys(shares, (-1.0, 2.0)))


def _length(value) -> int:
    return len(value) if isinstance(value, (list, tuple)) else 0
