"""The page (`app.py`): start-up, a fill of 512 pixels, and memory over many fills, in a headless Chromium.

    python -m benchmarks.space

CPU time is that of the server's process; where other programs run, it tells more than the clock does.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
from playwright.sync_api import Page, sync_playwright
from skimage import data, io

ROOT = Path(__file__).parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIDE = 512
WARM_UP = 10  # fills, until caches and the allocator hold what they keep
_CHANGED = "before => document.querySelector('.tr-download').getAttribute('href') !== before"
_FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


class Server:
    """`python app.py` on a free port, with the time since its command."""

    def __init__(self, folder: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        variables = {"GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_TEMP_DIR": folder}
        self.begun, self.address = time.perf_counter(), f"http://127.0.0.1:{port}"
        self._process = subprocess.Popen(
            [sys.executable, "app.py"], cwd=ROOT, env=os.environ | variables, stdout=subprocess.DEVNULL
        )
        self._watched = psutil.Process(self._process.pid)

    def wall(self) -> float:
        """Seconds since the command."""
        return time.perf_counter() - self.begun

    def cpu(self) -> float:
        """Seconds of CPU time that the process has taken."""
        times = self._watched.cpu_times()
        return times.user + times.system

    def memory(self) -> float:
        """Resident memory, MB."""
        return self._watched.memory_info().rss / 1e6

    def wait(self) -> None:
        """Until the server answers."""
        while self._process.poll() is None:
            try:
                httpx.get(self.address, timeout=10)
                return
            except httpx.TransportError:
                time.sleep(0.02)
        raise SystemExit(f"app.py ended with {self._process.returncode}.")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)


@contextmanager
def serving() -> Iterator[Server]:
    """A server whose files go with it."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(folder)
        try:
            yield server
        finally:
            server.stop()


def start_up(page: Page, server: Server) -> dict[str, tuple[float, float]]:
    """Seconds on the clock and of CPU time from the command until the page answers, is painted, usable, and ready."""
    stages = {}

    def reached(stage: str) -> None:
        stages[stage] = server.wall(), server.cpu()

    server.wait()
    reached("the page answers")
    opened = server.wall()
    page.goto(server.address, wait_until="commit")
    page.wait_for_function(_FIRST_PAINT)
    stages["first paint"] = opened + page.evaluate(_FIRST_PAINT) / 1e3, server.cpu()
    page.wait_for_selector("#inpaint-editor .ti-filled")
    reached("usable: an example is loaded, its result shown")
    page.wait_for_function("!document.querySelector('#loading .ti-status')?.textContent.trim()")
    reached("all networks are loaded and warm")
    return stages


def open_photo(page: Page, folder: str) -> None:
    """Gives the page an image of 512 pixels, and masks its middle."""
    path = Path(folder) / "photo.png"
    io.imsave(path, data.astronaut(), check_contrast=False)
    page.set_input_files("#inpaint-editor .ti-file", str(path))
    page.wait_for_function(
        f"document.querySelector('#inpaint-editor .ti-info').textContent.startsWith('{SIDE} × {SIDE}')"
    )
    page.click("#inpaint-parts button >> nth=3")
    page.wait_for_function("!document.querySelector('#inpaint-editor .ti-info').textContent.includes(', 0 %')")


def fill(page: Page, server: Server) -> tuple[float, float]:
    """Presses the button; seconds on the clock and of CPU time until the result stands on the page."""
    before = page.get_attribute(".tr-download", "href")
    wall, cpu = server.wall(), server.cpu()
    page.click("#inpaint-run")
    page.wait_for_function(_CHANGED, arg=before)
    return server.wall() - wall, server.cpu() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50, help="fills after the warm-up")
    runs = parser.parse_args().runs
    chromium = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if chromium is None:
        raise SystemExit("Chromium is needed: apt-get install chromium.")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        with serving() as server:
            print("| from the command until | s | CPU time of the server (s) |\n|---|---|---|")
            for stage, (wall, cpu) in start_up(page, server).items():
                print(f"| {stage} | {wall:.1f} | {cpu:.1f} |", flush=True)
            open_photo(page, folder)
            for _ in range(WARM_UP):
                fill(page, server)
            memory = server.memory()
            times = [fill(page, server) for _ in range(runs)]
            wall, cpu = (sorted(column)[runs // 2] for column in zip(*times, strict=True))
            print(f"\na fill of {SIDE} px, median of {runs}: {wall:.2f} s, CPU time of the server {cpu:.2f} s")
            print(f"memory: {memory:.0f} MB after {WARM_UP} fills, {server.memory():.0f} MB after {runs} more")
        browser.close()


if __name__ == "__main__":
    main()
