"""The page (`app.py`) in a headless Chromium: start-up, a fill of 512 pixels, and memory over many fills.

python -m benchmarks.space

On a shared machine the CPU time, which is that of the server's process, tells more than the clock.
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
from playwright.sync_api import Browser, Page, Playwright, sync_playwright
from skimage import data, io

from benchmarks.common import print_table

ROOT = Path(__file__).parent.parent
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SIDE = 512
WARM_UP = 10  # fills, until caches and the allocator have their size
_CHANGED = "before => document.querySelector('.tr-download').getAttribute('href') !== before"
_FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


class Server:
    """`python app.py` on a free port, with the time since its start."""

    def __init__(self, folder: str | Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        variables = {"GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1"}
        self.begun, self.address = time.perf_counter(), f"http://127.0.0.1:{port}"
        environment = os.environ | variables | {"GRADIO_TEMP_DIR": str(folder)}
        self.process = psutil.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)

    def times(self) -> dict[str, float]:
        """Seconds since the start: on the clock, and of the process's CPU time."""
        cpu = self.process.cpu_times()
        return {"s": time.perf_counter() - self.begun, "CPU s": cpu.user + cpu.system}

    def wait(self) -> None:
        """Until the server answers."""
        while self.process.poll() is None:
            try:
                httpx.get(self.address, timeout=10)
                return
            except httpx.TransportError:
                time.sleep(0.02)
        raise SystemExit(f"app.py ended with {self.process.returncode}.")


@contextmanager
def serving() -> Iterator[Server]:
    """A server whose files are removed with it."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(folder)
        try:
            yield server
        finally:
            server.process.terminate()
            server.process.wait(30)


def launch(playwright: Playwright) -> Browser:
    """A headless Chromium."""
    if CHROMIUM is None:
        raise SystemExit("Chromium is needed: apt-get install chromium.")
    return playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


def start_up(page: Page, server: Server) -> dict[str, dict[str, float]]:
    """Times until the page answers, is painted, is usable, and all networks are loaded."""
    stages = {}
    server.wait()
    stages["the page answers"] = opened = server.times()
    page.goto(server.address, wait_until="commit")
    page.wait_for_function(_FIRST_PAINT)
    stages["first paint"] = server.times() | {"s": opened["s"] + page.evaluate(_FIRST_PAINT) / 1e3}
    page.wait_for_selector("#editor .ti-filled")
    stages["an example is loaded and its result shown"] = server.times()
    page.wait_for_function("!document.querySelector('#loading .ti-status')?.textContent.trim()")
    stages["all networks are loaded and warm"] = server.times()
    return stages


def open_photo(page: Page, folder: str) -> None:
    """Gives the page an image of 512 pixels, and masks its middle."""
    path, info = Path(folder) / "photo.png", "document.querySelector('#editor .ti-info').textContent"
    io.imsave(path, data.astronaut(), check_contrast=False)
    page.set_input_files("#editor .ti-file", str(path))
    page.wait_for_function(f"{info}.startsWith('{SIDE} × {SIDE}')")
    page.click("#editor .ti-faces")
    page.click("#editor .ti-boxes button:has-text('Upper half')")
    page.wait_for_function(f"!{info}.includes(', 0 %')")
    page.fill("#inpaint-prompt textarea", "a smiling woman")


def fill(page: Page, server: Server) -> tuple[float, float]:
    """Presses the button; seconds on the clock and of CPU time until the result is on the page."""
    shown, before = page.get_attribute(".tr-download", "href"), server.times()
    page.click("#inpaint-run")
    page.wait_for_function(_CHANGED, arg=shown)
    after = server.times()
    return after["s"] - before["s"], after["CPU s"] - before["CPU s"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50, help="fills after the warm-up")
    runs, memory = parser.parse_args().runs, []
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder, serving() as server:
        page = launch(playwright).new_page()
        print_table("from the start until", start_up(page, server))
        open_photo(page, folder)
        for count in (WARM_UP, runs):
            times = [fill(page, server) for _ in range(count)]
            memory.append(server.process.memory_info().rss / 1e6)
        wall, cpu = (sorted(column)[runs // 2] for column in zip(*times, strict=True))
    print(f"\na fill of {SIDE} px, median of {runs}: {wall:.2f} s, CPU time of the server {cpu:.2f} s")
    print(f"memory: {memory[0]:.0f} MB after {WARM_UP} fills, {memory[1]:.0f} MB after {runs} more")


if __name__ == "__main__":
    main()
