"""The page as a visitor sees it, and what goes wrong for them, in a real browser."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from browser import (
    EDITOR,
    INFO,
    ROWS,
    TABS,
    add_region,
    address_of_result,
    downloaded,
    needs_browser,
    new_result,
    open_settings,
    painted,
    press,
    run,
    stroke,
    to_tab,
    until,
    upload,
    visit,
)
from PIL import Image

from textir_hf.imaging.files import open_image, read_settings
from textir_hf.space import examples, texts

pytestmark = needs_browser


def info(page) -> str:
    return page.inner_text(f"{EDITOR} .ti-info")


def test_the_first_view_has_an_example_and_its_result_which_leave_a_visitors_own_photo(page, photo):
    page.wait_for_selector(".tr-bar")
    for selector in ("#inpaint-run", "#inpaint-prompt", "#editor .ti-stage", ".tr-download"):
        box = page.query_selector(selector).bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= 800, selector
    images = "[...document.querySelectorAll('#inpaint-examples img')]"
    page.wait_for_function(f"{images}.every(i => i.complete && i.naturalWidth)")
    assert page.inner_text("#editor .ti-info") == "256 × 256, 58 % masked"
    to_tab(page, "Edit")
    page.wait_for_selector(".tr-bar", state="hidden")
    to_tab(page, "Inpaint")
    page.wait_for_selector(".tr-bar")
    assert page.input_value("#inpaint-prompt textarea") == examples.EXAMPLES[0].prompt
    open_settings(page, "inpaint")
    feather = "#inpaint-feather input[type=number]"
    assert page.input_value(feather) == "12"  # the example's: running it gives what is shown
    upload(page, "inpaint", photo)
    page.wait_for_selector(".tr-bar", state="hidden")
    page.wait_for_function("document.querySelector('#inpaint-prompt textarea').value === ''")
    page.wait_for_function(f"document.querySelector('{feather}').value === '8'")


def test_an_examples_settings_are_those_of_a_batch_that_comes_as_a_zip_and_names_what_failed(page, photo, tmp_path):
    to_tab(page, "Upscale")
    page.click("#upscale-examples button >> nth=1")
    page.wait_for_function("document.querySelector('#upscale-prompt textarea').value == 'a smiling woman'")
    page.wait_for_function("document.querySelector('#editor .ti-info').textContent.startsWith('32 × 32')")
    assert page.input_value("#upscale-scale input[type=number]") == "8"
    assert read_settings(downloaded(page, tmp_path))["prompt"] == "a smiling woman"
    run(page, "upscale")
    assert downloaded(page, tmp_path).size == (256, 256)

    page.click("[data-do=batch]")  # the step's settings are the batch's
    page.wait_for_function("document.querySelector('#batch-status')?.textContent.includes('upscale')")
    (tmp_path / "fake.png").write_text("this is no image")
    Image.open(photo).resize((30, 24)).save(tmp_path / "small.png")
    page.set_input_files("#batch-files input[type=file]", [str(tmp_path / n) for n in ("small.png", "fake.png")])
    page.wait_for_selector("#batch-files :text('fake')")
    assert page.input_value("#batch-prompt textarea") == "a smiling woman"
    page.click("#batch-run")
    page.wait_for_selector("#batch-zip a")
    text = page.inner_text("#batch-status")
    assert texts.BATCH_DONE.format(1, 2) in text and "fake.png: The image is not an image of a known format" in text
    with page.expect_download() as download:
        page.click("#batch-zip a")
    download.value.save_as(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert archive.namelist() == ["small.png"]
        made = open_image(archive.read("small.png"))
    assert made.size == (240, 192) and read_settings(made)["scale"] == 8

    to_tab(page, "Upscale")
    page.click("[data-do=use]")
    page.wait_for_function("document.querySelector('#editor .ti-info').textContent.startsWith('256 × 256')")


def test_edit_shows_what_applies_and_slides_from_image_to_text(page, photo, tmp_path):
    to_tab(page, "Edit")
    upload(page, "edit", photo)
    tools, factor, confine = "#editor [data-tool=brush]", "#edit-factor", "#edit-confine"
    shown = {"Detail": (False, True, True), "Color": (False, False, True), "A region": (True, False, False)}
    for kind, wanted in shown.items():
        page.check(f"#edit-degradation label:has-text('{kind}') input")
        for selector, visible in zip((tools, factor, confine), wanted, strict=True):
            page.wait_for_selector(selector, state="visible" if visible else "hidden")
    stroke(page)
    page.fill("#edit-prompt textarea", "a serious man")
    run(page, "edit")
    changed = (np.asarray(downloaded(page, tmp_path)) != np.asarray(open_image(photo))).any(2)
    assert 0.01 < changed.mean() < 0.3
    page.check("#edit-degradation label:has-text('Color') input")
    page.wait_for_selector(tools, state="hidden")
    page.wait_for_timeout(700)  # a click within 600 ms would be a double click
    run(page, "edit")
    assert (np.asarray(downloaded(page, tmp_path)) != np.asarray(open_image(photo))).any(2).mean() > 0.5

    page.focus(".tr-strength input")
    press(page, "", "ArrowLeft")  # the first move makes all steps
    seen = {}
    for _ in range(3):
        page.wait_for_function("document.querySelector('.tr-strength input').value !== '' ")
        seen[page.input_value(".tr-strength input")] = read_settings(downloaded(page, tmp_path))["beta"]
        page.focus(".tr-strength input")
        page.keyboard.press("ArrowLeft")  # at once
    assert seen == {"3": 0.75, "2": 0.5, "1": 0.25}


def test_a_phone_shows_everything_and_goes_to_the_result(server, chromium):
    page = visit(chromium, server[0], 390, has_touch=True)
    for tab in TABS:
        box = page.query_selector(f"button[role=tab]:has-text('{tab}')").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390, tab
    kinds = ".ti-tools button, .ti-bar button, .ti-ask button, .tr-bar button, .ti-upload"
    small = """kinds => [...document.querySelectorAll(kinds)]
      .filter((b) => b.offsetParent && (b.getBoundingClientRect().height < 43.5)).map((b) => b.textContent)"""
    assert page.evaluate(small, kinds) == []
    place = page.query_selector("#inpaint-run").bounding_box()
    assert place["y"] + place["height"] <= 800 and place["y"] > 400  # the thumb reaches it
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
    to_tab(page, "Upscale")  # where nothing is painted, a finger scrolls
    assert page.evaluate("getComputedStyle(document.querySelector('#editor canvas')).touchAction") == "pan-y"
    assert not page.problems
    page.close()


def test_keys_run_undo_save_and_compare_and_the_keyboard_alone_completes_a_task(page):
    before = address_of_result(page)
    page.focus("#inpaint-prompt textarea")
    page.keyboard.press("Enter")
    new_result(page, before)
    page.focus(f"{EDITOR} canvas")
    with page.expect_download() as download:
        page.keyboard.press("Control+s")
    assert download.value.suggested_filename.endswith(".png")
    page.focus(".tr-hold")
    page.keyboard.down("Space")
    page.wait_for_selector(".ti-held")
    page.keyboard.up("Space")
    page.wait_for_selector(".ti-held", state="detached")
    pressed = f"{EDITOR} [data-tool=eraser][aria-pressed=true]"
    page.focus("button[role=tab][aria-selected=true]")
    page.keyboard.press("e")
    assert not page.query_selector(pressed)  # letters act in the editor alone
    page.focus(f"{EDITOR} canvas")
    before = info(page)
    page.keyboard.press("e")  # the example's mask covers the middle
    assert page.query_selector(pressed)
    stroke(page)
    page.wait_for_function(f"{INFO} !== '{before}'")
    page.keyboard.press("Control+z")
    assert info(page) == before and page.is_visible(".tr-bar")  # the result is there again
    page.keyboard.press("Control+y")
    assert info(page) != before and not page.is_visible(".tr-bar")

    page.click(f"{EDITOR} [data-do=clear]")
    page.click(f"{EDITOR} [data-tool=brush]")
    page.focus(f"{EDITOR} canvas")
    for key in (" ", "ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.down(key) if key == " " else page.keyboard.press(key)
    page.keyboard.up(" ")
    assert ", 0 %" not in info(page)
    run(page, "inpaint", "Control+Enter")
    page.focus("button[role=tab][aria-selected=true]")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#upscale-run")
    painted(page)
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("!!document.activeElement.closest('#upscale-prompt')"):
            break
    page.keyboard.press("Control+a")
    page.keyboard.type("a red cup")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "upscale-run"
    run(page, "upscale", "Enter")


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


ALERT = f"{EDITOR} .ti-info.ti-alert"
KEPT = """(sentence) => new Promise((done) => { const request = indexedDB.open('textir');
  request.onsuccess = () => { const got = request.result.transaction('kept').objectStore('kept').get('work');
    got.onsuccess = () => (request.result.close(), done(got.result?.prompts.inpaint === sentence)); }; })"""


def test_a_run_keeps_image_mask_and_sentence_of_its_start_whatever_the_visitor_does_meanwhile(page, photo, tmp_path):
    Image.effect_noise((200, 120), 60).convert("RGB").save(tmp_path / "other.png")
    held = []
    to_tab(page, "Colorize")
    page.route("**/gradio_api/upload*", lambda route: held.append(route))
    upload(page, "colorize", photo)  # shown before it has arrived
    page.fill("#colorize-prompt textarea", "a flower")
    page.click("#colorize-run")
    page.wait_for_timeout(700)  # a second click within 600 ms would be a double click
    upload(page, "colorize", tmp_path / "other.png")
    to_tab(page, "Inpaint")
    stroke(page)
    page.fill("#inpaint-prompt textarea", "a woman")
    page.click("#inpaint-run")
    for request in held:
        request.continue_()
    steps = page.locator(".tr-history button")
    until(page, lambda: steps.count() == 2)

    filled, other = np.asarray(downloaded(page, tmp_path)), np.asarray(open_image(tmp_path / "other.png"))
    assert filled.shape == other.shape and 0 < (filled != other).any(2).mean() < 0.3
    number = next(i for i in range(2) if "a flower" in steps.nth(i).inner_text())
    for name, size in ((number, (300, 240)), (1 - number, (200, 120))):
        before = address_of_result(page)
        steps.nth(name).click()
        new_result(page, before)
        made = downloaded(page, tmp_path)
        assert made.size == size
        assert read_settings(made)["task"] == ("colorization" if name == number else "inpainting")
        assert info(page).startswith("{} × {}".format(*size))


def test_clicks_that_come_twice_too_early_or_for_minutes_do_what_is_meant(page, photo, tmp_path):
    before = address_of_result(page)
    box = page.query_selector("#inpaint-run").bounding_box()
    for _ in range(2):
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.wait_for_timeout(250)
    new_result(page, before)
    assert page.inner_text("#inpaint-status").strip() != texts.CANCELLED

    page.fill("#inpaint-prompt textarea", "")
    page.click("#inpaint-run")
    page.wait_for_selector("#inpaint-status .ti-alert")
    page.fill("#inpaint-prompt textarea", "a woman")
    page.wait_for_timeout(700)  # a second click within 600 ms would be a double click
    page.click("#inpaint-run")
    page.wait_for_selector("#inpaint-status .ti-alert", state="detached", timeout=5000)

    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    Image.new("RGB", (1400, 700), "gray").save(tmp_path / "large.png")
    to_tab(page, "Upscale")
    page.evaluate("localStorage.textirPace = 0.5")
    upload(page, "upscale", tmp_path / "large.png")
    page.fill("#upscale-prompt textarea", "a face")
    page.wait_for_timeout(700)
    page.click("#upscale-run")
    page.wait_for_timeout(800)
    assert len(asked) == 1 and "4 minutes" in asked[0]  # 435 tiles at half a second
    assert not page.is_visible("#upscale-cancel")


def test_a_lost_server_is_named_and_a_reload_keeps_the_work(server, chromium, photo):
    page = visit(chromium, server[0])
    upload(page, "inpaint", photo)
    stroke(page)
    page.wait_for_function(f"{INFO}.includes('face')")  # the server has looked at it
    add_region(page, "a red cup", 60)
    masked = info(page)
    page.fill("#inpaint-prompt textarea", "a man with a hat")
    page.route("**/gradio_api/app_id", lambda route: route.abort())
    page.wait_for_selector("#offline:not([hidden])", timeout=15_000)
    page.unroute("**/gradio_api/app_id")
    page.wait_for_selector("#offline", state="hidden", timeout=15_000)
    until(page, lambda: page.evaluate(KEPT, "a man with a hat"))
    page.reload()
    page.wait_for_selector(f"{EDITOR} .ti-filled")
    page.wait_for_function(f"({INFO}) === '{masked}'")
    page.wait_for_function("document.querySelector('#inpaint-prompt textarea').value === 'a man with a hat'")
    assert page.input_value(f"{ROWS} input") == "a red cup"
    run(page, "inpaint")
    page.close()


def test_a_file_that_is_dropped_anywhere_is_opened_and_one_that_cannot_be_used_is_refused_at_once(page, tmp_path):
    drop = """() => { const data = new DataTransfer(), canvas = document.createElement('canvas');
      [canvas.width, canvas.height] = [31, 17];
      return new Promise((done) => canvas.toBlob((blob) => {
        data.items.add(new File([blob], 'drop.png', { type: 'image/png' }));
        const options = { dataTransfer: data, bubbles: true, cancelable: true };
        const over = document.body.dispatchEvent(new DragEvent('dragover', options));
        done([over, document.querySelector('.ti-head').dispatchEvent(new DragEvent('drop', options))]);
      })); }"""
    assert page.evaluate(drop) == [False, False]  # the browser does not leave the page for the file
    page.wait_for_function(f"{INFO}.startsWith('31 × 17')")
    (tmp_path / "text.png").write_text("hello")
    Image.new("1", (6000, 5000)).save(tmp_path / "large.png")
    (tmp_path / "long.png").write_bytes(bytes(21_000_000))
    for name, words in (("text.png", "image"), ("large.png", "megapixels"), ("long.png", "20 MB")):
        page.set_input_files(f"{EDITOR} .ti-file", str(tmp_path / name))
        page.wait_for_function(f"document.querySelector('{ALERT}')?.textContent.includes('{words}')")
    Image.new("RGB", (33, 21), "red").save(tmp_path / "image.tiff")
    page.set_input_files(f"{EDITOR} .ti-file", str(tmp_path / "image.tiff"))
    page.wait_for_function(f"{INFO}.startsWith('33 × 21')")
