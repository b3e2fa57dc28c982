"""The page in a real browser, and under load; both on loopback. Without Chromium the browser's tests are skipped."""

import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from textir_hf.imaging.files import SETTINGS, open_image, read_settings, save_image
from textir_hf.space import examples, texts

REPOSITORY = Path(__file__).parent.parent
CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
WAIT = 60_000
TABS = ("Inpaint", "Upscale", "Colorize", "Edit", "Compare", "Batch", "About")
INK = np.array((229, 23, 123)) / 2  # the mask's color at half weight


def start(folder: Path, **variables) -> tuple[str, subprocess.Popen, Path]:
    """Address, process and log of `python app.py`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1"}
    environment |= {"GRADIO_TEMP_DIR": str(folder), **variables}
    log = folder.parent / f"log-{port}"
    with log.open("w") as out:
        process = subprocess.Popen([sys.executable, "app.py"], cwd=REPOSITORY, env=environment, stdout=out, stderr=out)
    return f"http://127.0.0.1:{port}", process, log


def wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError(log.read_text())
        try:
            httpx.get(address, timeout=5)
            return
        except httpx.TransportError:
            time.sleep(0.2)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Address and process of the page."""
    address, process, log = start(tmp_path_factory.mktemp("files"))
    wait_for(address, process, log)
    yield address, process
    process.terminate()
    process.wait(30)


@pytest.fixture(scope="module")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def visit(browser, address: str, width: int = 1280, **options):
    page = browser.new_page(viewport={"width": width, "height": 800}, **options)
    page.set_default_timeout(WAIT)
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#inpaint-editor .ti-filled")
    return page


@pytest.fixture
def page(server, chromium):
    page = visit(chromium, server[0])
    yield page
    assert not page.problems
    page.close()


@pytest.fixture
def photo(tmp_path):
    """An image whose every pixel can be checked."""
    small = np.random.default_rng(0).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(small).resize((300, 240), Image.BICUBIC).save(path)
    return path


def to_tab(page, name: str) -> None:
    page.click(f"button[role=tab]:has-text('{name}')")
    page.wait_for_selector(f"#{name.lower()}-run, .prose h2:has-text('Keys')")


def upload(page, tab: str, path) -> None:
    page.set_input_files(f"#{tab}-editor .ti-file", str(path))
    size = "{} × {}".format(*open_image(path).size)
    page.wait_for_function(
        "([tab, size]) => document.querySelector(`#${tab}-editor .ti-info`).textContent.startsWith(size)",
        arg=[tab, size],
    )


def stroke(page, tab: str = "inpaint") -> None:
    """Draws a line through the middle of the canvas."""
    box = page.query_selector(f"#{tab}-editor canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 40, y)
    page.mouse.down()
    page.mouse.move(x, y + 4, steps=4)
    page.mouse.move(x + 40, y + 10, steps=4)
    page.mouse.up()


def address_of_result(page) -> str | None:
    return page.get_attribute(".tr-download", "href")


def run(page, tab: str, keys: str | None = None) -> None:
    """Presses a tab's button, or keys, and waits for the result."""
    before = address_of_result(page)
    page.keyboard.press(keys) if keys else page.click(f"#{tab}-run")
    changed = "before => document.querySelector('.tr-download').getAttribute('href') !== before"
    page.wait_for_function(changed, arg=before)


def downloaded(page, tmp_path, selector: str = ".tr-download") -> Image.Image:
    with page.expect_download() as download:
        page.click(selector)
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    return open_image(path)


def alert(page, tab: str) -> str:
    """What a tab says is wrong."""
    return page.wait_for_selector(f"#{tab}-status .ti-alert").inner_text()


def masked_on_screen(page, tab: str) -> np.ndarray:
    """Where the canvas shows the mask's color over a gray image."""
    shown = page.query_selector(f"#{tab}-editor canvas").screenshot()
    rgb = np.asarray(Image.open(io.BytesIO(shown)).convert("RGB")).astype(int)
    return np.abs(rgb - (INK + 64)).max(2) < 12


@needs_browser
def test_the_first_view_has_an_example_and_its_result(page):
    for selector in ("#inpaint-run", "#results .tr-stage", "#inpaint-examples button >> nth=0"):
        box = page.query_selector(selector).bounding_box()
        assert box["y"] >= 0 and box["y"] < 800, selector
    images = "[...document.querySelectorAll('#inpaint-examples img, .tr-stage img')]"
    page.wait_for_function(f"{images}.every(i => i.complete && i.naturalWidth)")
    assert len(page.query_selector_all("#inpaint-examples img")) == 2 * len(examples.of("inpainting"))
    assert page.inner_text("#inpaint-editor .ti-info") == "256 × 256, 58 % masked"
    assert page.input_value("#inpaint-prompt textarea") == examples.EXAMPLES[0].prompt
    assert page.evaluate("document.documentElement.scrollHeight") < 1600


@needs_browser
def test_examples_are_what_their_checkpoints_make(server):
    """Run `python -m textir_hf.space.examples` if this fails after a checkpoint has changed."""
    for example in examples.EXAMPLES[::3]:
        endpoint = example.name.split("-")[0]
        data = {"image": sent(server[0], example.input), "prompt": example.prompt} | example.arguments
        if example.box:
            mask = io.BytesIO()
            example.mask().save(mask, "PNG")
            data["mask_image"] = sent(server[0], mask.getvalue())
        made, stored = np.asarray(called(server[0], endpoint, data)), np.asarray(open_image(example.output))
        assert np.abs(made.astype(int) - stored).max() <= 2, example.name


@needs_browser
def test_a_visitor_repaints_a_region(page, photo, tmp_path, monkeypatch):
    upload(page, "inpaint", photo)
    stroke(page)
    page.fill("#inpaint-prompt textarea", "a smiling woman")
    run(page, "inpaint")
    made = downloaded(page, tmp_path)
    original, result = np.asarray(open_image(photo)), np.asarray(made)
    changed = (original != result).any(2)
    rows, columns = np.nonzero(changed)
    assert result.shape == original.shape and 0.01 < changed.mean() < 0.3
    # outside the stroke, a line of some thickness through the middle, every pixel is as it was
    assert rows.min() > 60 and rows.max() < 180 and columns.min() > 60 and columns.max() < 240
    settings = read_settings(made)
    assert settings["prompt"] == "a smiling woman" and settings["seed"] == 0 and settings["task"] == "inpainting"

    # the printed program makes the very same image again
    open_image(photo).save(tmp_path / "image.png")
    page.click("#inpaint-editor .ti-more summary")
    downloaded(page, tmp_path, "#inpaint-editor [data-do=save]")
    code = page.inner_text("#results pre")
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert (np.asarray(open_image(tmp_path / "result.png")) == result).all()

    # the line moves by keys, and the whole original shows while C is held
    def stage():
        return page.query_selector(".tr-stage").screenshot()

    middle = stage()
    page.focus(".tr-range")
    page.keyboard.press("End")
    end = stage()
    page.keyboard.down("c")
    held = stage()
    page.keyboard.up("c")
    assert middle != end and page.get_attribute(".tr-before", "style").endswith("inset(0px 0% 0px 0px);")
    assert held == end and stage() == end

    # undone, nothing is masked
    page.click("#inpaint-editor [data-do=undo]")
    page.click("#inpaint-run")
    assert alert(page, "inpaint") == texts.NO_MASK


@needs_browser
@pytest.mark.parametrize("size", [(900, 300), (200, 700), (40, 30), (2000, 1500)])
def test_the_mask_on_the_screen_lies_where_it_is_on_the_image(page, tmp_path, size):
    width, height = size
    Image.new("RGB", size, (128, 128, 128)).save(tmp_path / "gray.png")
    mask = Image.new("L", size)
    box = (width // 4, height // 5, width // 2, height // 2)
    mask.paste(255, box)
    mask.save(tmp_path / "mask.png")
    upload(page, "inpaint", tmp_path / "gray.png")
    page.set_input_files("#inpaint-editor .ti-mask-file", str(tmp_path / "mask.png"))
    page.wait_for_function("!document.querySelector('#inpaint-editor .ti-info').textContent.includes(', 0 %')")
    page.mouse.move(5, 5)
    for _ in range(2):
        shown = masked_on_screen(page, "inpaint")
        scale = min(shown.shape[1] / width, shown.shape[0] / height)
        left, top = (shown.shape[1] - width * scale) / 2, (shown.shape[0] - height * scale) / 2
        expected = np.array(box) * scale + np.array((left, top, left, top))
        rows, columns = np.nonzero(shown)
        found = np.array((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
        assert np.abs(found - expected).max() <= 2
        assert shown.sum() > 0.97 * np.prod(found[2:] - found[:2])  # one full rectangle, and no second one
        page.set_viewport_size({"width": 700, "height": 800})
        page.wait_for_timeout(300)


@needs_browser
def test_editor_tools(page, tmp_path):
    image = Image.new("RGB", (300, 200), (255, 255, 255))
    image.paste((20, 120, 200), (100, 50, 200, 150))
    image.save(tmp_path / "flat.png")
    upload(page, "inpaint", tmp_path / "flat.png")

    def percent() -> str:
        return page.inner_text("#inpaint-editor .ti-info").split(", ")[1]

    assert percent() == "0 % masked"
    page.click("#inpaint-editor [data-tool=select]")
    box = page.query_selector("#inpaint-editor canvas").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert percent() == "17 % masked"  # the square, and nothing of what is around it
    page.click("#inpaint-editor .ti-more summary")
    page.click("#inpaint-editor [data-do=invert]")
    assert percent() in ("82 % masked", "83 % masked")
    page.keyboard.press("Control+z")
    page.click("#inpaint-editor [data-do=grow]")
    assert percent() == "20 % masked"
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    assert percent() == "0 % masked" and page.is_disabled("#inpaint-editor [data-do=undo]")
    page.keyboard.press("Control+Shift+Z")
    assert percent() == "17 % masked"
    before = int(page.input_value("#inpaint-editor input[type=range]"))
    page.keyboard.press("]")
    assert int(page.input_value("#inpaint-editor input[type=range]")) > before
    page.keyboard.press("[")
    assert abs(int(page.input_value("#inpaint-editor input[type=range]")) - before) <= 1
    shown = page.query_selector("#inpaint-editor canvas").screenshot()
    page.focus("#inpaint-editor canvas")
    page.hover("#inpaint-editor canvas", position={"x": 60, "y": 60})
    page.mouse.wheel(0, -300)
    page.wait_for_timeout(200)
    assert page.query_selector("#inpaint-editor canvas").screenshot() != shown
    image.resize((9, 9)).save(tmp_path / "small.png")
    page.set_input_files("#inpaint-editor .ti-mask-file", str(tmp_path / "small.png"))
    page.wait_for_selector("#inpaint-editor .ti-info.ti-alert")
    assert "300 × 200, got 9 × 9" in page.inner_text("#inpaint-editor .ti-info")


@needs_browser
def test_a_face_is_chosen_by_its_number_or_a_click(page, tmp_path):
    page.click("#inpaint-editor [data-tool=face]")
    info = "document.querySelector('#inpaint-editor .ti-info').textContent"
    page.wait_for_function(f"{info}.startsWith('Faces found: 1.')")
    page.focus("#inpaint-editor canvas")
    page.keyboard.press("1")
    assert page.inner_text("#inpaint-editor .ti-info").endswith("% masked, face 1")
    run(page, "inpaint")
    assert read_settings(downloaded(page, tmp_path))["faces"] == [1]
    page.click("#inpaint-editor canvas")  # its middle lies in the face
    assert page.inner_text("#inpaint-editor .ti-info").endswith("% masked")
    run(page, "inpaint")
    assert read_settings(downloaded(page, tmp_path))["faces"] == "auto"


@needs_browser
def test_an_example_fills_its_tab_and_shows_its_result_at_once(page, tmp_path):
    to_tab(page, "Upscale")
    page.click("#upscale-examples button >> nth=1")
    page.wait_for_function("document.querySelector('#upscale-prompt textarea').value == 'a smiling woman'")
    page.wait_for_function("document.querySelector('#upscale-editor .ti-info').textContent == '32 × 32'")
    assert page.input_value("#upscale-scale input[type=number]") == "8"
    assert read_settings(downloaded(page, tmp_path))["prompt"] == "a smiling woman"
    run(page, "upscale")
    again = downloaded(page, tmp_path)
    assert again.size == (256, 256)
    page.click("[data-do=use]")
    page.wait_for_function("document.querySelector('#upscale-editor .ti-info').textContent == '256 × 256'")


@needs_browser
def test_edit_shows_what_applies(page, photo, tmp_path):
    to_tab(page, "Edit")
    upload(page, "edit", photo)
    tools, factor, confine = "#edit-editor .ti-tools", "#edit-factor", "#edit-confine"
    shown = {"Resolution": (False, True, True), "Colors": (False, False, True), "A region": (True, False, False)}
    for kind, wanted in shown.items():
        page.check(f"#edit-degradation label:has-text('{kind}') input")
        for selector, visible in zip((tools, factor, confine), wanted, strict=True):
            page.wait_for_selector(selector, state="visible" if visible else "hidden")
    stroke(page, "edit")
    page.fill("#edit-prompt textarea", "a serious man")
    run(page, "edit")
    changed = (np.asarray(downloaded(page, tmp_path)) != np.asarray(open_image(photo))).any(2)
    assert 0.01 < changed.mean() < 0.3
    page.check("#edit-degradation label:has-text('Colors') input")
    page.wait_for_selector(tools, state="hidden")
    run(page, "edit")
    assert (np.asarray(downloaded(page, tmp_path)) != np.asarray(open_image(photo))).any(2).mean() > 0.5


@needs_browser
def test_compare_draws_a_grid_whose_cells_open(page, tmp_path):
    to_tab(page, "Compare")
    run(page, "compare")
    cells = page.query_selector_all(".tr-strip button")
    assert len(cells) == 6
    tops = [round(cell.bounding_box()["y"]) for cell in cells]
    assert len(set(tops)) == 2 and tops[:3] == [tops[0]] * 3  # a row for each sentence
    cells[5].click()
    page.wait_for_function("document.querySelector('#results dl').textContent.includes('blue cup')")
    assert read_settings(downloaded(page, tmp_path))["prompt"] == "a blue cup of coffee"
    assert downloaded(page, tmp_path, ".tr-grid").width > 4 * 256
    page.fill("#compare-betas textarea", "0 x")
    page.click("#compare-run")
    assert alert(page, "compare") == texts.NOT_NUMBERS.format("0 x")


@needs_browser
def test_variants_differ_and_history_keeps_them(page):
    page.click("#inpaint-settings button")
    page.fill("#inpaint-variants input[type=number]", "3")
    page.keyboard.press("Tab")
    run(page, "inpaint")
    sources = [i.get_attribute("src") for i in page.query_selector_all(".tr-strip img")]
    images = [np.asarray(Image.open(io.BytesIO(httpx.get(s).content)).convert("RGB")).astype(int) for s in sources]
    assert len(images) == 3
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(images[a] - images[b])[20:130, 30:220].mean() > 2  # levels, within the mask
    assert len(page.query_selector_all(".tr-history img")) == 4
    page.click(".tr-history button >> nth=3")
    assert page.inner_text(".tr-history button >> nth=3") == examples.EXAMPLES[0].prompt
    assert "black-hair" in page.get_attribute(".tr-after", "src")


@needs_browser
def test_a_long_run_says_how_far_it_is_and_can_be_cancelled(page, tmp_path):
    to_tab(page, "Upscale")
    Image.effect_noise((900, 900), 60).convert("RGB").save(tmp_path / "large.png")
    upload(page, "upscale", tmp_path / "large.png")
    before = address_of_result(page)
    page.click("#upscale-run")
    page.wait_for_function("/tile \\d+ of \\d\\d+/i.test(document.querySelector('#upscale-status').textContent)")
    assert len(page.query_selector_all("progress")) == 1
    assert "Infinity" not in page.inner_text("body") and "/0" not in page.inner_text("body")
    page.click("#upscale-cancel")
    page.wait_for_function(f"document.querySelector('#upscale-status').innerText.trim() == '{texts.CANCELLED}'")
    page.wait_for_selector("#upscale-cancel", state="hidden")
    page.wait_for_timeout(1500)
    assert address_of_result(page) == before
    assert page.inner_text("#upscale-status").strip() == texts.CANCELLED
    page.click("#upscale-examples button >> nth=1")
    page.wait_for_function("document.querySelector('#upscale-editor .ti-info').textContent == '32 × 32'")
    run(page, "upscale")


@needs_browser
def test_settings_come_back_from_a_png_and_from_a_link(page, server, chromium, tmp_path):
    page.fill("#inpaint-prompt textarea", "a woman with glasses")
    page.click("#inpaint-settings button")
    page.click("#inpaint-dice")
    page.wait_for_function("document.querySelector('#inpaint-seed input').value != '0'")
    seed = page.input_value("#inpaint-seed input")
    run(page, "inpaint")
    made = downloaded(page, tmp_path)
    made.info[SETTINGS] = read_settings(made)
    assert made.info[SETTINGS]["seed"] == int(seed)
    link = page.evaluate(
        """() => new Promise((done) => { navigator.clipboard.writeText = async (text) => done(text);
        document.querySelector('[data-do=link]').click(); })"""
    )
    page.fill("#inpaint-prompt textarea", "something else")
    save_image(made, tmp_path / "made.png")
    page.click(f"button:has-text('{texts.RESTORE}')")
    page.set_input_files("#settings-file input[type=file]", str(tmp_path / "made.png"))
    page.wait_for_function("document.querySelector('#inpaint-prompt textarea').value == 'a woman with glasses'")

    other = visit(chromium, link)
    other.wait_for_function("document.querySelector('#inpaint-prompt textarea').value == 'a woman with glasses'")
    other.click("#inpaint-settings button")
    assert other.input_value("#inpaint-seed input") == seed
    other.close()

    made.info[SETTINGS] = {"task": "inpainting", "prompt": {"__type__": "update", "label": "owned"}}
    save_image(made, tmp_path / "bad.png")
    page.click("#settings-file button[aria-label=Clear]")
    page.set_input_files("#settings-file input[type=file]", str(tmp_path / "bad.png"))
    page.wait_for_selector("#settings-status .ti-alert")
    assert page.inner_text("#settings-status") == "prompt must be a text, got dict."
    assert "owned" not in page.inner_text("body")


@needs_browser
def test_a_batch_comes_as_a_zip_and_names_what_failed(page, photo, tmp_path):
    to_tab(page, "Batch")
    (tmp_path / "fake.png").write_text("this is no image")
    Image.open(photo).resize((30, 24)).save(tmp_path / "small.png")
    page.set_input_files("#batch-files input[type=file]", [str(tmp_path / n) for n in ("small.png", "fake.png")])
    page.wait_for_selector("#batch-files :text('fake')")
    page.fill("#batch-prompt textarea", "a smiling woman")
    page.click("#batch-run")
    page.wait_for_selector("#batch-zip a")
    text = page.inner_text("#batch-status")
    assert texts.BATCH_DONE.format(1, 2) in text and "fake.png: The image is no image of a known format" in text
    with page.expect_download() as download:
        page.click("#batch-zip a >> nth=0")
    download.value.save_as(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert archive.namelist() == ["small.png"]
        made = open_image(archive.read("small.png"))
    assert made.size == (120, 96) and read_settings(made)["scale"] == 4


@needs_browser
def test_a_phone_shows_everything_and_goes_to_the_result(server, chromium):
    page = visit(chromium, server[0], 390, has_touch=True)
    for tab in TABS:
        box = page.query_selector(f"button[role=tab]:has-text('{tab}')").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390, tab
    page.click("#inpaint-settings button")
    page.wait_for_selector("#inpaint-beta, #inpaint-feather", state="visible")
    run(page, "inpaint")
    page.wait_for_function(
        """() => { const box = document.querySelector('.tr-stage').getBoundingClientRect();
        return box.top >= -5 && box.top < 300 && box.bottom <= innerHeight + 200 }"""
    )
    page.wait_for_selector("#inpaint-feather", state="hidden")
    for tab in TABS:
        to_tab(page, tab)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, tab
    for selector in ("#inpaint-run", "#inpaint-prompt", ".tr-stage"):
        to_tab(page, "Inpaint")
        box = page.query_selector(selector).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    assert not page.problems
    page.close()


@needs_browser
def test_a_finger_paints(server, chromium):
    page = visit(chromium, server[0], 390, has_touch=True)
    page.click("#inpaint-editor [data-do=clear]")
    box = page.query_selector("#inpaint-editor canvas").bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_function("!document.querySelector('#inpaint-editor .ti-info').textContent.includes(', 0 %')")
    page.close()


@needs_browser
def test_the_keyboard_alone_completes_each_task(page):
    page.click("#inpaint-editor [data-do=clear]")
    page.focus("#inpaint-editor canvas")
    for key in (" ", "ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.down(key) if key == " " else page.keyboard.press(key)
    page.keyboard.up(" ")
    assert ", 0 %" not in page.inner_text("#inpaint-editor .ti-info")
    run(page, "inpaint", "Control+Enter")
    for tab in ("upscale", "colorize", "edit"):
        page.focus("button[role=tab][aria-selected=true]")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_selector(f"#{tab}-run")
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate(f"!!document.activeElement.closest('#{tab}-prompt')"):
                break
        page.keyboard.press("Control+a")
        page.keyboard.type("a red cup")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == f"{tab}-run"
        run(page, tab, "Enter")


@needs_browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(server, chromium, theme):
    """Contrast, names, roles and order of every tab, with a result shown and the settings open."""
    axe = pytest.importorskip("axe_playwright_python")
    script = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    page = visit(chromium, f"{server[0]}/?__theme={theme}", color_scheme=theme)
    page.evaluate(script)
    for tab in TABS:
        to_tab(page, tab)
        for closed in page.query_selector_all(".ti-settings > button:not(.open)"):
            if closed.is_visible():
                closed.click()
        page.wait_for_timeout(300)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        assert not [(v["id"], [n["html"][:200] for n in v["nodes"]]) for v in found], tab
    page.close()


@needs_browser
def test_bad_input_is_answered_in_a_sentence_beside_the_button(page, photo, tmp_path):
    to_tab(page, "Upscale")
    (tmp_path / "fake.png").write_text("this is no image")
    page.set_input_files("#upscale-editor .ti-file", str(tmp_path / "fake.png"))
    page.wait_for_selector("#upscale-editor .ti-alert")
    assert "cannot show the file" in page.inner_text("#upscale-editor .ti-info")
    (tmp_path / "huge.png").write_bytes(photo.read_bytes() + bytes(30_000_000))
    page.set_input_files("#upscale-editor .ti-file", str(tmp_path / "huge.png"))
    page.wait_for_function("document.querySelector('#upscale-editor .ti-info').textContent.includes('20 MB')")
    Image.new("RGB", (1, 1), "red").save(tmp_path / "dot.png")
    upload(page, "upscale", tmp_path / "dot.png")
    page.fill("#upscale-prompt textarea", "")
    page.click("#upscale-run")
    assert alert(page, "upscale") == texts.NO_PROMPT
    page.fill("#upscale-prompt textarea", "x" * 2000)
    page.click("#upscale-run")
    page.wait_for_function("document.querySelector('#upscale-status').textContent.includes('2000 characters')")
    page.fill("#upscale-prompt textarea", "a face 🙂")
    run(page, "upscale")
    assert downloaded(page, tmp_path).size == (4, 4)


# ---- programs


def sent(address: str, content: bytes | Path) -> dict:
    """An uploaded file, as the endpoints take it."""
    content = content.read_bytes() if isinstance(content, Path) else content
    answer = httpx.post(f"{address}/gradio_api/upload", files={"files": ("image.png", content)}, timeout=240)
    return {"path": answer.raise_for_status().json()[0], "meta": {"_type": "gradio.FileData"}}


def called(address: str, endpoint: str, data: dict) -> Image.Image | str:
    """What an endpoint makes, or its answer to the contrary."""
    with httpx.Client(base_url=address + "/gradio_api", timeout=240) as client:
        answer = client.post(f"/call/v2/{endpoint}", json=data)
        if answer.status_code != 200:
            return answer.text
        lines = client.get(f"/call/v2/{endpoint}/{answer.json()['event_id']}").text.splitlines()
        if "event: complete" not in lines:
            return "\n".join(lines)
        (files,) = json.loads(lines[lines.index("event: complete") + 1].removeprefix("data: "))
        file = files[0] if isinstance(files, list) else files
        return open_image(client.get(f"/file={file['path']}").raise_for_status().content)


def flat(color) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (24, 24), color).save(buffer, "PNG")
    return buffer.getvalue()


def upscaled(address: str, color) -> np.ndarray | str:
    made = called(
        address, "upscale", {"image": sent(address, flat(color)), "prompt": "a face", "scale": 2, "faces": "none"}
    )
    return made if isinstance(made, str) else np.asarray(made)


def test_forty_visitors_at_once_get_their_own_images(server):
    address, _ = server
    colors = [tuple(int(v) for v in np.random.default_rng(i).integers(0, 256, 3)) for i in range(40)]
    expected = [upscaled(address, color) for color in colors[:8]]
    assert len({e.tobytes() for e in expected}) == 8
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda color: upscaled(address, color), colors))
    assert not [a for a in answers if isinstance(a, str)]
    for own, made in zip(expected, answers, strict=False):
        assert np.array_equal(made, own)
    assert len({a.tobytes() for a in answers}) == 40


def test_memory_stays_where_it_was(server):
    address, process = server
    memory = psutil.Process(process.pid)

    def many(count: int) -> int:
        for i in range(count):  # every second is refused
            upscaled(address, (i % 256, 0, 0))
            called(address, "upscale", {"image": sent(address, b"no image"), "prompt": "a face"})
        return memory.memory_info().rss

    many(20)  # until Gradio's copies of the page for each session are as many as they get
    before = many(5)
    assert many(40) < before + 4e6  # 80 requests; at 0.15 MB each these were 12 MB


def test_other_files_and_addresses_are_refused(server):
    address, _ = server
    for path in ("/etc/passwd", str(REPOSITORY / "app.py")):
        assert httpx.get(f"{address}/gradio_api/file={path}").status_code in (403, 404)
        for file in ({"path": path, "meta": {"_type": "gradio.FileData"}}, {"path": path}):
            answer = called(address, "upscale", {"image": file, "prompt": "a face"})
            assert isinstance(answer, str) and "root:" not in answer and "import" not in answer
    for url in (f"{address}/x.png", "ftp://127.0.0.1/x.png", "file:///etc/passwd"):
        for file in ({"path": url, "meta": {"_type": "gradio.FileData"}}, {"path": "", "url": url}):
            answer = called(address, "upscale", {"image": file, "prompt": "a face"})
            assert isinstance(answer, str) and "event: error" in answer


@pytest.mark.parametrize(
    ("endpoint", "changes", "match"),
    [
        ("upscale", {"scale": "large"}, "scale must be a number, got 'large'"),
        ("upscale", {"scale": None}, "scale must be a number"),
        ("upscale", {"scale": 64, "prompt": ["a"]}, "prompt must be a text, got list"),
        ("upscale", {"seed": 0.5}, "seed must be a whole number, got 0.5"),
        ("upscale", {"variants": 400}, "variants must lie in 1..4, got 400"),
        ("upscale", {"faces": "face"}, "faces must be one of auto, largest, none, got 'face'"),
        ("upscale", {"strength": {}}, "strength must be a number, got {}"),
        ("upscale", {"checkpoint": "/etc"}, "must be one of textir-mini-super-resolution, got '/etc'"),
        ("upscale", {"image": 5}, texts.NO_IMAGE),
        ("inpaint", {"mask_image": 5}, texts.NO_IMAGE),
        ("edit", {"degradation": "sound"}, "degradation must be one of region, factor, colors, got 'sound'"),
        ("edit", {"degradation": "region"}, texts.NO_MASK),
        ("compare", {"prompts": "a face", "prompt": None}, "prompts must be a list, got str"),
        ("compare", {"prompts": ["a"] * 30, "prompt": None}, "1 to 24 images, this one would have 90"),
    ],
)
def test_endpoints_answer_bad_input_in_a_sentence(server, endpoint, changes, match):
    data = {"image": sent(server[0], flat("red")), "prompt": "a face"} | changes
    data = {k: v for k, v in data.items() if not (k == "prompt" and v is None)}
    answer = called(server[0], endpoint, data)
    assert isinstance(answer, str) and match in json.loads('"' + answer.split('"error": "')[1].split('"')[0] + '"')


def test_a_turned_photo_is_restored_as_the_browser_shows_it(server):
    photo, buffer = Image.new("RGB", (40, 20), "white"), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    photo.save(buffer, "JPEG", exif=exif)
    made = called(server[0], "upscale", {"image": sent(server[0], buffer.getvalue()), "prompt": "a face", "scale": 2})
    assert made.size == (40, 80)


def test_every_action_is_a_documented_endpoint(server):
    info = httpx.get(f"{server[0]}/gradio_api/info", timeout=60).json()["named_endpoints"]
    assert set(info) == {"/inpaint", "/upscale", "/colorize", "/edit", "/compare"}
    names = {n: [p["parameter_name"] for p in e["parameters"]] for n, e in info.items()}
    assert names["/inpaint"][:3] == ["image", "mask_image", "prompt"] and "feather" in names["/inpaint"]
    assert names["/upscale"][:3] == ["image", "prompt", "scale"] and "mask_image" not in names["/colorize"]


def test_the_printed_programs_run(server, tmp_path, monkeypatch):
    Image.open(io.BytesIO(flat("red"))).save(tmp_path / "small.png")
    python, shell = re.findall(r"```\w+\n(.*?)```", texts.API, re.DOTALL)
    scope = {"URL": server[0]}
    monkeypatch.chdir(tmp_path)
    exec(python, scope)
    assert open_image(scope["result"]).size == (192, 192)
    output = subprocess.run(
        ["bash", "-c", shell],
        cwd=tmp_path,
        env=os.environ | {"URL": server[0]},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "event: complete" in output and ".png" in output


def test_files_are_gone_after_sigterm_and_at_the_next_start(tmp_path):
    files = tmp_path / "files"
    (files / "textir-space-999999999" / "left").mkdir(parents=True)
    address, process, log = start(files)
    wait_for(address, process, log)
    sent(address, flat("red"))
    (folder,) = files.iterdir()
    assert folder.name == f"textir-space-{process.pid}" and len(list(folder.rglob("*.png"))) > 1
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    assert not list(files.iterdir())


def test_a_wrong_path_among_the_checkpoints_is_named(tmp_path):
    _, process, log = start(tmp_path / "files", TEXTIR_CHECKPOINTS=str(tmp_path / "nothing"))
    assert process.wait(120) == 1
    last = log.read_text().strip().splitlines()[-1]
    assert last.startswith(f"TEXTIR_CHECKPOINTS names {tmp_path / 'nothing'}: ") and "Traceback" not in log.read_text()
