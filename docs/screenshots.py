"""Takes screenshots of the page with Chromium.

python -m docs.screenshots                  # or: make screenshots; docs/images/space-*.png
python -m docs.screenshots --review FOLDER  # every tab, in both themes and at three widths
"""

import argparse
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.space import launch, serving

IMAGES = Path(__file__).parent / "images"
TABS = ("Inpaint", "Upscale", "Colorize", "Edit", "Compare", "Batch", "About")
WIDTHS = {"desktop": 1280, "tablet": 768, "phone": 390}
SHOWN = (  # name, tab, theme, width
    ("space-inpaint", "Inpaint", "light", "desktop"),
    ("space-colorize", "Colorize", "dark", "desktop"),
    ("space-phone", "Upscale", "light", "phone"),
)


def open_tab(browser: Browser, address: str, tab: str, theme: str, width: str) -> Page:
    """The page with a tab and the first of its examples, if it has some."""
    size = {"width": WIDTHS[width], "height": 844 if width == "phone" else 900}
    page = browser.new_page(viewport=size, color_scheme=theme, has_touch=width == "phone", device_scale_factor=1)
    page.goto(f"{address}/?__theme={theme}")
    page.wait_for_selector("#inpaint-editor .ti-filled")
    page.add_style_tag(content="#loading {display: none}")  # examples need no network
    page.click(f"button[role=tab]:has-text('{tab}')")
    page.wait_for_selector(f"#{tab.lower()}-run, .prose h2:has-text('Keys')")
    if example := page.query_selector(f"#{tab.lower()}-examples button"):
        example.click()
    page.wait_for_timeout(600)  # until the example is in the editor and the results
    page.wait_for_function("[...document.images].every((image) => image.complete)")
    page.evaluate("document.activeElement.blur()")
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--review", type=Path, metavar="FOLDER", help="every tab, in both themes and at three widths")
    folder, views = parser.parse_args().review, SHOWN
    if folder:
        views = [(f"{t.lower()}-{c}-{w}", t, c, w) for c in ("light", "dark") for w in WIDTHS for t in TABS]
        folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, serving() as server:
        server.wait()
        browser = launch(playwright)
        for name, *view in views:
            page = open_tab(browser, server.address, *view)
            page.screenshot(path=(folder or IMAGES) / f"{name}.png", full_page=bool(folder))
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
