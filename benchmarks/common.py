"""Timing, separate processes and tables, for all benchmarks."""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
from PIL import Image


def turns(calls: dict[str, Callable], rounds: int = 3) -> dict[str, float]:
    """The shortest time of each call in seconds; they take turns, and the first round only warms up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: min(values[1:]) for name, values in times.items()}


def timed(call: Callable) -> tuple[object, float, float]:
    """The result, seconds on the clock, and seconds of CPU time of all cores."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def smooth_image(side: int, seed: int = 0) -> Image.Image:
    """Smooth random colors."""
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)


def isolated(module: str, *words) -> dict:
    """The columns of a case, measured in its own process by `python -m MODULE --case WORDS`, with the peak memory."""
    command = [sys.executable, "-m", module, "--case", json.dumps(words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def print_case(columns: dict) -> None:
    """Prints the columns of a case and the peak memory of this process, as JSON."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps(columns | {"peak memory (GiB)": round(peak, 2)}))


def print_table(title: str, rows: dict[str, dict]) -> None:
    """Prints rows of the same columns as Markdown."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    print(f"\n| {title} | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for name, row in rows.items():
        cells = [row.get(column, "") for column in columns]
        print(f"| {name} | {' | '.join(f'{c:.2f}' if isinstance(c, float) else str(c) for c in cells)} |", flush=True)
