"""The page as a visitor sees it, in a real browser. Without Chromium the tests are skipped."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from browser import (
    TABS,
    downloaded,
    needs_browser,
    open_settings,
    painted,
    run,
    stroke,
    to_tab,
    upload,
    visit,
)

from textir_hf.imaging.files import open_image, read_settings
from textir_hf.space import examples

pytestmark = needs_browser


def test_the_first_view_has_an_example_and_its_result(page):
    page.wait_for_selector(".tr-bar")
    for selector in ("#inpaint-run", "#inpaint-prompt", "#editor .ti-stage", ".tr-download"):
        box = page.query_selector(selector).bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= 800, selector
    images = "[...document.querySelectorAll('#inpaint-examples img')]"
    page.wait_for_function(f"{images}.every(i => i.complete && i.naturalWidth)")
    assert len(page.query_selector_all("#inpaint-examples img")) == 2 * len(examples.of("inpainting"))
    assert page.inner_text("#editor .ti-info") == "256 × 256, 58 % masked"
    assert page.input_value("#inpaint-prompt textarea") == examples.EXAMPLES[0].prompt
    for height, share in ((720, 0.7), (900, 0.78)):  # the canvas fills the window
        page.set_viewport_size({"width": 1280, "height": height})
        tall = "least => document.querySelector('#editor .ti-stage').clientHeight > least"
        page.wait_for_function(tall, arg=share * height)
    page.click("footer button >> nth=0")
    page.wait_for_selector(".snippet:has-text('Python')")
    assert page.is_visible(".snippet:has-text('MCP')") == (find_spec("mcp") is not None)


def test_an_example_fills_its_tab_and_shows_its_result_at_once(page, tmp_path):
    to_tab(page, "Upscale")
    page.click("#upscale-examples button >> nth=1")
    page.wait_for_function("document.querySelector('#upscale-prompt textarea').value == 'a smiling woman'")
    page.wait_for_function("document.querySelector('#editor .ti-info').textContent.startsWith('32 × 32')")
    assert page.input_value("#upscale-scale input[type=number]") == "8"
    assert read_settings(downloaded(page, tmp_path))["prompt"] == "a smiling woman"
    run(page, "upscale")
    again = downloaded(page, tmp_path)
    assert again.size == (256, 256)
    page.click("[data-do=use]")
    page.wait_for_function("document.querySelector('#editor .ti-info').textContent.startsWith('256 × 256')")


def test_edit_shows_what_applies(page, photo, tmp_path):
    to_tab(page, "Edit")
    upload(page, "edit", photo)
    tools, factor, confine = "#editor [data-tool=brush]", "#edit-factor", "#edit-confine"
    shown = {"Detail": (False, True, True), "Color": (False, False, True), "A region": (True, False, False)}
    for kind, wanted in shown.items():
        page.check(f"#edit-degradation label:has-text('{kind}') input")
        for selector, visible in zip((tools, factor, confine), wanted, strict=True):
            page.wait_for_selector(selector, state="visible" if visible else "hidden")
    stroke(page, "edit")
    page.fill("#edit-prompt textarea", "a serious man")
    run(page, "edit")
    changed = (np.asarray(downloaded(page, tmp_path)) != np.asarray(open_image(photo))).any(2)
    assert 0.01 < changed.mean() < 0.3
    page.check("#edit-degradation label:has-text('Color') input")
    page.wait_for_selector(tools, state="hidden")
    run(page, "edit")
    assert (np.asarray(downloaded(page, tmp_path)) != np.asarray(open_image(photo))).any(2).mean() > 0.5


def test_a_phone_shows_everything_and_goes_to_the_result(server, chromium):
    page = visit(chromium, server[0], 390, has_touch=True)
    for tab in TABS:
        box = page.query_selector(f"button[role=tab]:has-text('{tab}')").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390, tab
    open_settings(page, "inpaint")
    page.wait_for_selector("#inpaint-beta, #inpaint-feather", state="visible")
    run(page, "inpaint")
    page.wait_for_function(
        """() => { const box = document.querySelector('.ti-stage').getBoundingClientRect();
        return box.top >= -5 && box.top < 300 && box.bottom <= innerHeight + 200 }"""
    )
    for tab in TABS:
        to_tab(page, tab)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, tab
    for selector in ("#inpaint-run", "#inpaint-prompt", ".ti-stage"):
        to_tab(page, "Inpaint")
        box = page.query_selector(selector).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    assert not page.problems
    page.close()


def tab_to(page, selector: str) -> None:
    """Presses Tab until something within `selector` has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("s => !!document.activeElement.closest(s)", selector):
            return
    raise AssertionError(f"{selector} cannot be reached by Tab.")


def next_tab(page, name: str) -> None:
    """From one tab to the next, by keys."""
    page.focus("button[role=tab][aria-selected=true]")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector(f"#{name}-run")
    painted(page)


def test_the_keyboard_alone_completes_each_task(page):
    page.click("#editor [data-do=clear]")
    page.focus("#editor canvas")
    for key in (" ", "ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.down(key) if key == " " else page.keyboard.press(key)
    page.keyboard.up(" ")
    assert ", 0 %" not in page.inner_text("#editor .ti-info")
    run(page, "inpaint", "Control+Enter")
    for tab in ("upscale", "colorize", "edit"):
        next_tab(page, tab)
        tab_to(page, f"#{tab}-prompt")
        page.keyboard.press("Control+a")
        page.keyboard.type("a red cup")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == f"{tab}-run"
        run(page, tab, "Enter")


def test_axe_finds_nothing(page):
    """Contrast, names, roles and order of every tab, with the settings open; the dark theme changes colors alone."""
    axe = pytest.importorskip("axe_playwright_python")
    page.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    colors = {"runOnly": ["color-contrast", "link-in-text-block"]}
    page.add_style_tag(content="* {transition: none !important}")  # the themes change at once
    for tab in TABS:
        to_tab(page, tab)
        for closed in page.query_selector_all(".ti-settings > button:not(.open)"):
            if closed.is_visible():
                closed.click()
        page.wait_for_timeout(300)
        for theme, options in (("light", {}), ("dark", colors)):
            page.evaluate("dark => document.body.classList.toggle('dark', dark)", theme == "dark")
            painted(page)
            found = page.evaluate("options => axe.run(document, options)", {"resultTypes": ["violations"]} | options)
            wrong = [(v["id"], [n["html"][:200] for n in v["nodes"]]) for v in found["violations"]]
            assert not wrong, (tab, theme)
