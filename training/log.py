"""What a run tells of itself: losses read every few steps, `metrics.jsonl`, trackers and curves."""

import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from textir_hf.atomic import replacing
from training.config import TrainingConfig
from training.networks import images_per_update

_RATES = ("images/s", "waiting", "learning_rate")


class Log:
    """Collects losses on the device and reads them all at once.

    Args:
        config: The run's.
        accelerator: Of the run.
        step: Updates done; lines of later ones are dropped, as they will be made again.
    """

    def __init__(self, config: TrainingConfig, accelerator: Accelerator, step: int) -> None:
        self.accelerator, self.step = accelerator, step
        self.path = Path(config.run.output_dir) / "metrics.jsonl"
        self.images = images_per_update(config, accelerator)
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.began, self.waited = time.perf_counter(), 0.0
        if config.run.report_to:
            flat = {k: v if isinstance(v, (int, float, str)) else str(v) for k, v in config.flat().items()}
            accelerator.init_trackers("textir", flat)
        if accelerator.is_main_process and self.path.exists():
            lines = [line for line in self.path.read_text().splitlines() if _step_of(line) <= step]
            with replacing(self.path) as temporary:
                temporary.write_text("".join(f"{line}\n" for line in lines))

    def add(self, terms: dict[str, Tensor]) -> None:
        """Adds the losses of a step, without reading them."""
        for name, value in terms.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            self.counts[name] = self.counts.get(name, 0) + 1

    def read(self, step: int, waited: float, wishes: list[bool]) -> tuple[dict[str, float], list[bool]]:
        """The means of the losses since the last call, over all processes; and for each wish, whether any has it.

        Args:
            step: Updates done.
            waited: Seconds in all for which this process waited for data.
            wishes: What this process wants.

        Raises:
            FloatingPointError: A loss was NaN or infinite.
        """
        means = [self.sums[name].float() / count for name, count in self.counts.items()]
        flags = torch.tensor(wishes, dtype=torch.float32, device=self.accelerator.device)
        means = self.accelerator.reduce(torch.cat([torch.stack(means), flags]), "mean").tolist()
        granted = [share > 0 for share in means[len(self.counts) :]]
        values = dict(zip(self.counts, means, strict=False))
        if bad := [f"{name} {value:.3g}" for name, value in values.items() if not math.isfinite(value)]:
            raise FloatingPointError(
                f"The loss is not finite within steps {self.step} to {step - 1}: {', '.join(bad)}. Go on from the last "
                "checkpoint with --resume-from-checkpoint latest, and a lower --learning-rate."
            )
        now, steps = time.perf_counter(), step - self.step
        seconds = now - self.began
        values |= {"images/s": self.images * steps / seconds, "waiting": (waited - self.waited) / seconds}
        self.sums, self.counts = {}, {}
        self.step, self.began, self.waited = step, now, waited
        return values, granted

    def write(self, step: int, values: dict[str, float]) -> None:
        """Adds a line to `metrics.jsonl` and to the tracker."""
        self.accelerator.log(values, step)
        if self.accelerator.is_main_process:
            with self.path.open("a") as file:
                file.write(json.dumps({"step": step} | values) + "\n")

    def pause(self) -> None:
        """Leaves what was done since the last step out of the next rates."""
        self.began = time.perf_counter()


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The lines of a `metrics.jsonl`."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except ValueError:  # a line cut short when the process was killed
        return math.inf


def plot_curves(metrics: Path, path: Path) -> None:
    """The losses and validation figures of `metrics.jsonl` over the steps, as one PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = read_metrics(metrics)
    names = [n for n in dict.fromkeys(n for r in rows for n in r) if n not in ("step", *_RATES)]
    panels: dict[str, list[str]] = {}
    for name in names:
        panels.setdefault("/".join(name.split("/")[:2]) if name.startswith("validation/") else name, []).append(name)
    if not panels:
        return
    columns = min(4, len(panels))
    lines = -(-len(panels) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(3.4 * columns, 2.6 * lines), squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    for axis, (title, curves) in zip(axes.flat, panels.items(), strict=False):
        for name in curves:
            steps, values = zip(*((r["step"], r[name]) for r in rows if name in r), strict=True)
            window = max(1, len(values) // 100)
            smooth = np.convolve(values, np.ones(window) / window, mode="valid")
            axis.plot(steps[window - 1 :], smooth, marker="." if len(values) < 30 else "", label=name.split("/")[-1])
        axis.set_title(title, fontsize=10)
        axis.tick_params(labelsize=7)
        if len(curves) > 1:
            axis.legend(fontsize=7)
    figure.supxlabel("step", fontsize=9)
    figure.tight_layout()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
    plt.close(figure)
