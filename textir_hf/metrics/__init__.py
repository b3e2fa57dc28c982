"""Metrics for restored images as `evaluate` modules, each also for the masked region alone.

`load("psnr").compute(predictions=restored, references=targets, masks=masks)`
"""

from pathlib import Path

NAMES = ("psnr", "ssim", "lpips", "clip_score", "frechet_distance")


def load(name: str):
    """One of `NAMES` as an `evaluate.Metric`, without a network.

    Raises:
        ValueError: There is no such metric.
    """
    import evaluate

    if name not in NAMES:
        raise ValueError(f"The metric must be one of {', '.join(NAMES)}, got {name!r}.")
    return evaluate.load(str(Path(__file__).parent / name), module_type="metric")
