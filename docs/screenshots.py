"""Takes the screenshots of the page that the guide shows, and on demand those of every tab.

    python -m docs.screenshots                  # docs/images/space-*.png
    python -m docs.screenshots --review FOLDER  # every tab, in both themes and at three widths

It needs Chromium. Results stand on the page as `textir_hf.space.examples` made them.
"""

import argparse
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.space import BROWSERS, serving

IMAGES = Path(__file__).parent / "images"
TABS = ("Inpaint", "Upscale", "Colorize", "Edit", "Compare", "Batch", "About")
THEMES = ("light", "dark")
WIDTHS = {"desktop": 1280, "tablet": 768, "phone": 390}
SHOWN = (  # name, tab, theme, width
    ("space-inpaint", "Inpaint", "light", "desktop"),
    ("space-colorize", "Colorize", "dark", "desktop"),
    ("space-phone", "Upscale", "light", "phone"),
)
_LOADED = "[...document.images].every((image) => image.complete)"


def visit(browser: Browser, address: str, theme: str, width: str) -> Page:
    """The page, without its word that networks are loading."""
    size = {"width": WIDTHS[width], "height": 844 if width == "phone" else 900}
    page = browser.new_page(viewport=size, color_scheme=theme, has_touch=width == "phone", device_scale_factor=1)
    page.goto(f"{address}/?__theme={theme}")
    page.wait_for_selector("#inpaint-editor .ti-filled")
    page.add_style_tag(content="#loading {display: none}")  # examples need no network
    return page


def open_tab(page: Page, name: str) -> None:
    """Opens a tab, and the first of its examples, if it has some."""
    page.click(f"button[role=tab]:has-text('{name}')")
    page.wait_for_selector(f"#{name.lower()}-run, .prose h2:has-text('Keys')")
    example = page.query_selector(f"#{name.lower()}-examples button")
    if example:
        example.click()
    page.wait_for_timeout(600)  # until the example stands in editor and results
    page.wait_for_function(_LOADED)
    page.evaluate("document.activeElement.blur()")


@contextmanager
def browsing() -> Iterator[tuple[Browser, str]]:
    """A browser and the address of a server.

    Raises:
        ValueError: There is no Chromium.
    """
    path = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if path is None:
        raise ValueError("Chromium is needed: apt-get install chromium.")
    with sync_playwright() as playwright, serving() as server:
        server.wait()
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser, server.address
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--review", type=Path, metavar="FOLDER", help="every tab, in both themes and at three widths")
    folder = parser.parse_args().review
    views = SHOWN
    if folder:
        views = [(f"{t.lower()}-{c}-{w}", t, c, w) for c in THEMES for w in WIDTHS for t in TABS]
        folder.mkdir(parents=True, exist_ok=True)
    with browsing() as (browser, address):
        for name, tab, theme, width in views:
            page = visit(browser, address, theme, width)
            open_tab(page, tab)
            page.screenshot(path=(folder or IMAGES) / f"{name}.png", full_page=bool(folder))
            page.close()


if __name__ == "__main__":
    main()
