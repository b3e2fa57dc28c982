"""Takes the screenshots of the page for its guide, with Chromium.

python -m docs.screenshots  # or: make screenshots
"""

from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.space import launch, serving

IMAGES = Path(__file__).parent / "images"
WIDTHS = {"desktop": 1280, "phone": 390}
SHOWN = (  # name, tab, theme, width
    ("space-inpaint", "Inpaint", "light", "desktop"),
    ("space-colorize", "Colorize", "dark", "desktop"),
    ("space-phone", "Upscale", "light", "phone"),
)


def open_tab(browser: Browser, address: str, tab: str, theme: str, width: str) -> Page:
    """The page with a tab and the first of its examples."""
    size = {"width": WIDTHS[width], "height": 844 if width == "phone" else 900}
    page = browser.new_page(viewport=size, color_scheme=theme, has_touch=width == "phone", device_scale_factor=1)
    page.goto(f"{address}/?__theme={theme}")
    page.wait_for_selector("#editor .ti-filled")
    page.add_style_tag(content="#loading {display: none}")  # examples need no network
    page.click(f"button[role=tab]:has-text('{tab}')")
    page.wait_for_selector(f"#{tab.lower()}-run")
    page.click(f"#{tab.lower()}-examples button")
    page.wait_for_timeout(600)  # until the example has taken the place of the opening one
    page.wait_for_selector(".tr-bar")
    page.wait_for_function("[...document.images].every((image) => image.complete)")
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    return page


def main() -> None:
    with sync_playwright() as playwright, serving() as server:
        server.wait()
        browser = launch(playwright)
        for name, *view in SHOWN:
            page = open_tab(browser, server.address, *view)
            page.screenshot(path=IMAGES / f"{name}.png")
            page.close()


if __name__ == "__main__":
    main()
