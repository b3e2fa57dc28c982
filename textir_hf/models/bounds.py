"""Bounds of sizes in configs, which may come from anybody: none may ask for more memory or time than a machine has."""

from collections.abc import Mapping

from textir_hf.checks import check_range

_WIDTH = (1, 16_384)
GENERATOR = {
    "sample_size": (1, 4096),
    "in_channels": (1, 64),
    "out_channels": (1, 64),
    "embedding_dim": _WIDTH,
    "style_dim": _WIDTH,
    "strength_hidden": (0, 16_384),
    "input_scale": (1e-6, 1e6),
    "output_scale": (1e-6, 1e6),
}
LEVELS = (1, 10)
CHANNELS = (1, 4096)  # of a level
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
