"""Timing, separate processes and tables, for all benchmarks."""

import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context


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


def isolated(case: Callable, *arguments) -> dict:
    """The columns of a case, measured in a process of its own, and that process's peak memory."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_measured, case, arguments).result()


def _measured(case: Callable, arguments: tuple) -> dict:
    columns = case(*arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return columns | {"peak memory (GiB)": round(peak, 2)}


def print_table(title: str, rows: dict[str, dict]) -> None:
    """Prints rows of the same columns as Markdown."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    print(f"\n| {title} | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for name, row in rows.items():
        cells = [row.get(column, "") for column in columns]
        print(f"| {name} | {' | '.join(f'{c:.2f}' if isinstance(c, float) else str(c) for c in cells)} |", flush=True)
