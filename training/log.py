"""Losses read every few steps, `metrics.jsonl`, the tracker, and curves."""

import json
import math
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from textir_hf.atomic import replacing
from training.config import TrainingConfig

_RATES = ("step", "images/s", "waiting", "learning_rate")


class Log:
    """Collects losses on the device and reads them all at once.

    Lines of steps after `step` are dropped from `metrics.jsonl`, since a resumed run makes them again.
    """

    def __init__(self, config: TrainingConfig, accelerator: Accelerator, step: int, images_per_update: int) -> None:
        self.accelerator, self.step, self.images = accelerator, step, images_per_update
        self.path = Path(config.output_dir) / "metrics.jsonl"
        self.terms: dict[str, list[Tensor]] = {}
        self.began, self.waited = time.perf_counter(), 0.0
        if config.report_to:
            flat = {k: v if isinstance(v, (int, float, str)) else str(v) for k, v in asdict(config).items()}
            accelerator.init_trackers("textir", flat)
        if accelerator.is_main_process and self.path.exists():
            rows = [row for row in read_metrics(self.path) if row["step"] <= step]
            with replacing(self.path) as temporary:
                temporary.write_text("".join(f"{json.dumps(row)}\n" for row in rows))

    def add(self, terms: dict[str, Tensor]) -> None:
        """Adds the losses of a step, without reading them."""
        for name, value in terms.items():
            self.terms.setdefault(name, []).append(value)

    def read(self, step: int, waited: float, shared: list[float]) -> tuple[dict[str, float], list[float]]:
        """The mean losses since the last call, and the means of `shared`, over all processes.

        Args:
            step: Updates done.
            waited: Seconds in all for which this process waited for data.
            shared: Numbers that the processes have to agree on.
        """
        names, means = list(self.terms), [torch.stack(values).float().mean() for values in self.terms.values()]
        numbers = torch.tensor(shared, dtype=torch.float32, device=means[0].device)
        means = self.accelerator.reduce(torch.cat([torch.stack(means), numbers]), "mean").tolist()
        values, agreed = dict(zip(names, means, strict=False)), means[len(names) :]
        if bad := [f"{name} {value:.3g}" for name, value in values.items() if not math.isfinite(value)]:
            raise FloatingPointError(
                f"The loss is not finite within steps {self.step} to {step - 1}: {', '.join(bad)}. Go on from the last "
                "checkpoint with --resume-from-checkpoint latest and a lower --learning-rate."
            )
        now = time.perf_counter()
        seconds = now - self.began
        values["images/s"] = self.images * (step - self.step) / seconds
        values["waiting"] = (waited - self.waited) / seconds
        self.terms, self.step, self.began, self.waited = {}, step, now, waited
        return values, agreed

    def write(self, step: int, values: dict[str, float]) -> None:
        """Adds a line to `metrics.jsonl` and to the tracker."""
        self.accelerator.log(values, step)
        if self.accelerator.is_main_process:
            with self.path.open("a") as file:
                file.write(json.dumps({"step": step} | values) + "\n")

    def pause(self) -> None:
        """Leaves the time since the last step out of the next rates."""
        self.began = time.perf_counter()


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The whole lines of a `metrics.jsonl`; a killed process may have cut the last one short."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def plot_curves(rows: list[dict[str, float]], path: Path) -> None:
    """The losses and validation figures of `metrics.jsonl` over the steps, each in a panel, as one PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    curves: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for name in row.keys() - set(_RATES):
            curves.setdefault(name, []).append((row["step"], row[name]))
    columns, lines = max(1, min(4, len(curves))), max(1, -(-len(curves) // 4))
    figure, axes = plt.subplots(lines, columns, figsize=(3.4 * columns, 2.6 * lines), squeeze=False)
    for axis, name in zip(axes.flat, sorted(curves), strict=False):
        steps, values = np.array(curves[name]).T
        window = max(1, len(values) // 100)
        smooth = np.convolve(values, np.ones(window) / window, mode="valid")
        axis.plot(steps[window - 1 :], smooth, marker="." if len(values) < 30 else "")
        axis.set_title(name, fontsize=10)
        axis.tick_params(labelsize=7)
    for axis in axes.flat[len(curves) :]:
        axis.axis("off")
    figure.supxlabel("step", fontsize=9)
    figure.tight_layout()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
    plt.close(figure)
