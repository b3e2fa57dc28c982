"""Metrics for restored images as `evaluate` modules, each also for the masked region alone.

`load("psnr").compute(predictions=restored, references=targets, masks=masks)`
"""


def load(name: str):
    """`psnr`, `ssim`, `lpips`, `clip_score` or `frechet_distance` as an `evaluate.Metric`, without a network.

    Raises:
        ValueError: There is no such metric.
    """
    from textir_hf.metrics.images import METRICS

    if name not in METRICS:
        raise ValueError(f"The metric must be one of {', '.join(METRICS)}, got {name!r}.")
    return METRICS[name]()
