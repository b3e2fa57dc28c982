"""The page in a real browser, and under load; both on loopback. Without Chromium these are skipped."""

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from textir_hf.imaging.files import open_image, read_settings
from textir_hf.space import texts

REPOSITORY = Path(__file__).parent.parent
CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
WAIT = 120_000  # milliseconds; CI may be slow


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Address and process of `python app.py`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path_factory.mktemp("app") / "log").open("w+")
    environment = os.environ | {"GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1"}
    environment["GRADIO_TEMP_DIR"] = str(tmp_path_factory.mktemp("cache"))
    process = subprocess.Popen([sys.executable, "app.py"], cwd=REPOSITORY, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    for _ in range(240):
        if process.poll() is not None:
            log.seek(0)
            raise RuntimeError(log.read())
        try:
            httpx.get(address, timeout=1)
            break
        except httpx.TransportError:
            time.sleep(0.5)
    yield address, process
    process.terminate()
    process.wait(20)
    log.close()


@pytest.fixture(scope="module")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(server, chromium):
    page = chromium.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(WAIT)
    page.goto(server[0])
    page.wait_for_selector("#fill-run")
    page.wait_for_timeout(500)
    yield page
    page.close()


@pytest.fixture
def photo(tmp_path):
    """A picture whose every pixel can be checked."""
    small = np.random.default_rng(0).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(small).resize((300, 240), Image.BICUBIC).save(path)
    return path


def upload(page, where: str, path) -> None:
    page.set_input_files(f"{where} input[type=file]", str(path))
    page.wait_for_timeout(1500)


def stroke(page, where: str = "#fill-editor") -> None:
    """Draws a line through the middle of the canvas."""
    box = page.query_selector(f"{where} canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 40, y)
    page.mouse.down()
    page.mouse.move(x, y + 4, steps=4)
    page.mouse.move(x + 40, y + 10, steps=4)
    page.mouse.up()
    page.wait_for_timeout(700)


def downloaded(page, tmp_path) -> Image.Image:
    page.wait_for_timeout(800)
    with page.expect_download() as download:
        page.click("#download")
    download.value.save_as(tmp_path / "result.png")
    return open_image(tmp_path / "result.png")


def said(page) -> str:
    """The message that appears, which is closed again."""
    toast = page.wait_for_selector(".toast-body")
    text = toast.inner_text()
    page.click(".toast-close")
    page.wait_for_selector(".toast-body", state="detached")
    return text


def run(page, name: str) -> None:
    """Presses a tab's button and waits for its result."""
    before = page.get_attribute("#results img", "src") if page.query_selector("#results img") else None
    page.click(f"#{name}-run")
    page.wait_for_function(
        "before => { const e = document.querySelector('#results img'); return e && e.src && e.src !== before }",
        arg=before and (before if before.startswith("http") else page.url.rstrip("/") + before),
    )


@needs_browser
def test_a_visitor_fills_a_hole(page, photo, tmp_path):
    upload(page, "#fill-editor", photo)
    stroke(page)
    page.fill("#fill-prompt textarea", "a smiling woman")
    run(page, "fill")
    made = downloaded(page, tmp_path)
    original, result = np.asarray(open_image(photo)), np.asarray(made)
    changed = (original != result).any(2)
    rows, columns = np.nonzero(changed)
    assert result.shape == original.shape and 0.01 < changed.mean() < 0.3
    # outside the stroke, a line of some thickness through the middle, every pixel is as it was
    assert rows.min() > 60 and rows.max() < 180 and columns.min() > 60 and columns.max() < 240
    settings = read_settings(made)
    assert settings["prompt"] == "a smiling woman" and settings["seed"] == 0 and settings["task"] == "inpainting"

    slider = page.query_selector("#slider .slider-wrap, #slider [role=slider], #slider .inner")
    box = page.query_selector("#slider").bounding_box()
    before = page.query_selector("#slider").screenshot()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 30, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    assert slider is not None and page.query_selector("#slider").screenshot() != before

    # another sentence keeps the mask; the seed is in the settings
    page.click("#fill-settings button")
    page.click("#fill-dice")
    page.wait_for_timeout(700)
    seed = int(page.input_value("#fill-seed input"))
    page.fill("#fill-prompt textarea", "a man with a mustache")
    run(page, "fill")
    again = downloaded(page, tmp_path)
    assert read_settings(again)["seed"] == seed and seed != 0
    assert ((np.asarray(again) != original).any(2) <= changed).mean() > 0.999
    assert len(page.query_selector_all("#history img")) == 2

    # undone, nothing is masked
    page.click("#fill-editor button[aria-label=Undo]")
    page.wait_for_timeout(700)
    page.click("#fill-run")
    assert texts.NO_MASK in said(page)


@needs_browser
def test_examples_run_at_a_click_and_their_result_can_be_used_again(page, tmp_path):
    page.get_by_role("button", name="A smile", exact=True).click()
    page.wait_for_selector("#results img")
    made = downloaded(page, tmp_path)
    assert made.size == (256, 256) and read_settings(made)["prompt"] == "a smiling woman"
    page.click("#use")
    page.wait_for_timeout(1500)
    page.click("button:has-text('Mask: eyes')")
    page.wait_for_timeout(1500)
    page.fill("#fill-prompt textarea", "a woman with glasses")
    run(page, "fill")
    again = np.asarray(downloaded(page, tmp_path))
    changed = (again != np.asarray(made)).any(2)
    assert changed[80:150].mean() > 0.3 and not changed[170:].any()

    # the PNG's settings, dropped in, come back
    page.fill("#fill-prompt textarea", "something else")
    page.click(f"button:has-text('{texts.SETTINGS}')")
    page.set_input_files("#settings-file input[type=file]", str(tmp_path / "result.png"))
    page.wait_for_function("document.querySelector('#fill-prompt textarea').value == 'a woman with glasses'")
    assert texts.SETTINGS_BACK in said(page)


@needs_browser
def test_the_other_tabs_work(page, photo, tmp_path):
    Image.open(photo).resize((30, 24)).save(tmp_path / "small.png")
    page.click("button[role=tab]:has-text('Enlarge')")
    upload(page, "#enlarge-image", tmp_path / "small.png")
    page.fill("#enlarge-prompt textarea", "a smiling woman 🙂")
    run(page, "enlarge")
    made = downloaded(page, tmp_path)
    assert made.size == (120, 96) and read_settings(made)["scale"] == 4

    page.click("button[role=tab]:has-text('Color')")
    upload(page, "#color-image", photo)
    page.click("#color-prompt ~ * button:has-text('a yellow flower'), button:has-text('a yellow flower')")
    page.wait_for_timeout(500)
    assert page.input_value("#color-prompt textarea") == "a yellow flower"
    run(page, "color")
    made = downloaded(page, tmp_path)
    assert made.size == (300, 240) and read_settings(made)["task"] == "colorization"

    page.click("button[role=tab]:has-text('Edit')")
    upload(page, "#edit-editor", photo)
    stroke(page, "#edit-editor")
    page.fill("#edit-prompt textarea", "a serious man")
    run(page, "edit")
    changed = (np.asarray(downloaded(page, tmp_path)) != np.asarray(open_image(photo))).any(2)
    assert 0.01 < changed.mean() < 0.3

    page.click("button[role=tab]:has-text('Sweep')")
    upload(page, "#sweep-image", photo)
    page.click("#sweep-run")
    page.wait_for_selector("#grid img")


@needs_browser
def test_a_phone_shows_everything_without_scrolling_sideways(server, chromium):
    page = chromium.new_page(viewport={"width": 390, "height": 800}, has_touch=True)
    page.set_default_timeout(WAIT)
    page.goto(server[0])
    page.wait_for_selector("#fill-run")
    page.get_by_role("button", name="A smile", exact=True).click()
    page.wait_for_selector("#results img")
    page.wait_for_timeout(1000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for selector in ("#fill-run", "#fill-prompt", "#slider"):
        box = page.query_selector(selector).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    assert page.query_selector("#slider").bounding_box()["y"] > page.query_selector("#fill-run").bounding_box()["y"]
    page.close()


@needs_browser
def test_the_keyboard_reaches_the_button_and_pictures_have_names(page):
    page.focus("#fill-prompt textarea")
    reached = []
    for _ in range(25):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.closest('[id]')?.id"))
    assert "fill-run" in reached
    page.get_by_role("button", name="A smile", exact=True).click()
    page.wait_for_selector("#results img")
    assert all(image.get_attribute("alt") is not None for image in page.query_selector_all("#results img, #slider img"))


@needs_browser
def test_bad_input_is_answered_in_a_sentence(page, photo, tmp_path):
    page.click("#fill-run")
    assert texts.NO_IMAGE in said(page)
    page.click("button[role=tab]:has-text('Enlarge')")
    fake = tmp_path / "fake.png"
    fake.write_text("this is no picture")
    upload(page, "#enlarge-image", fake)
    page.fill("#enlarge-prompt textarea", "a face")
    page.click("#enlarge-run")
    assert "The file is not a picture that Pillow can read" in said(page)
    page.reload()
    page.wait_for_selector("#fill-run")
    page.click("button[role=tab]:has-text('Enlarge')")
    Image.new("RGB", (1, 1), "red").save(tmp_path / "dot.png")
    upload(page, "#enlarge-image", tmp_path / "dot.png")
    page.click("#enlarge-run")
    assert texts.NO_PROMPT in said(page)
    page.fill("#enlarge-prompt textarea", "x" * 2000)
    page.click("#enlarge-run")
    assert "The sentence has 2000 characters. Say it in at most 500." in said(page)
    page.fill("#enlarge-prompt textarea", "a face")
    run(page, "enlarge")
    assert downloaded(page, tmp_path).size == (4, 4)
    page.reload()
    page.wait_for_selector("#fill-run")
    page.click("button[role=tab]:has-text('Enlarge')")
    (tmp_path / "huge.png").write_bytes(photo.read_bytes() + bytes(30_000_000))
    page.set_input_files("#enlarge-image input[type=file]", str(tmp_path / "huge.png"))
    assert "size" in said(page).lower()


def flat(color) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (24, 24), color).save(buffer, "PNG")
    return buffer.getvalue()


def enlarged(address: str, color) -> np.ndarray | str:
    """What the endpoint makes of a flat picture, or its answer to the contrary."""
    with httpx.Client(base_url=address + "/gradio_api", timeout=240) as client:
        (path,) = client.post("/upload", files={"files": ("flat.png", flat(color))}).raise_for_status().json()
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        data = [file, "a face", 2, 1, True, 0.5, 0, 1, "textir-mini-super-resolution", False]
        answer = client.post("/call/enlarge", json={"data": data})
        if answer.status_code != 200:
            return answer.text
        lines = client.get(f"/call/enlarge/{answer.json()['event_id']}").text.splitlines()
        events = [line for line in lines if line.startswith("event:")]
        if events[-1] != "event: complete":
            return "\n".join(lines)
        said = json.loads(lines[lines.index("event: complete") + 1].removeprefix("data: "))
        image = client.get(f"/file={said[1][0]['image']['path']}").raise_for_status().content
    return np.asarray(Image.open(io.BytesIO(image)).convert("RGB")).astype(float)


def test_twenty_visitors_at_once_get_their_own_pictures(server):
    address, process = server
    colors = [tuple(int(v) for v in np.random.default_rng(i).integers(0, 256, 3)) for i in range(20)]
    expected = [enlarged(address, color) for color in colors]
    assert len({e.tobytes() for e in expected}) == 20
    memory = psutil.Process(process.pid)
    before = memory.memory_info().rss
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda color: enlarged(address, color), colors))
    for own, made in zip(expected, answers, strict=True):
        assert "full" in made.lower() if isinstance(made, str) else np.array_equal(made, own)
    assert sum(not isinstance(a, str) for a in answers) >= 12
    assert memory.memory_info().rss < before + 300e6


def test_a_full_queue_says_so_and_nobody_reads_others_files(server):
    address, _ = server
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda i: enlarged(address, (6 * i, 0, 0)), range(40)))
    told = [a for a in answers if isinstance(a, str)]
    assert told and all("queue is full" in a.lower() for a in told)
    for path in ("/etc/passwd", str(REPOSITORY / "app.py")):
        assert httpx.get(f"{address}/gradio_api/file={path}").status_code in (403, 404)
    data = [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, "a face", 2, 1, True, 0.5, 0, 1]
    data = [*data, "textir-mini-super-resolution", False]
    call = httpx.post(f"{address}/gradio_api/call/enlarge", json={"data": data})
    if call.status_code == 200:  # refused when it is run
        lines = httpx.get(f"{address}/gradio_api/call/enlarge/{call.json()['event_id']}", timeout=60).text
        assert "event: error" in lines and "root:" not in lines


def test_addresses_are_not_fetched(server):
    data = [{"path": f"{server[0]}/x.png", "meta": {"_type": "gradio.FileData"}}, "a face", 2, 1, True, 0.5, 0, 1]
    data = [*data, "textir-mini-super-resolution", False]
    call = httpx.post(f"{server[0]}/gradio_api/call/enlarge", json={"data": data})
    lines = httpx.get(f"{server[0]}/gradio_api/call/enlarge/{call.json()['event_id']}", timeout=60).text
    assert "event: error" in lines and texts.NO_URL in lines


def test_every_action_is_a_named_endpoint(server):
    info = httpx.get(f"{server[0]}/gradio_api/info", timeout=60).json()["named_endpoints"]
    assert set(info) == {"/fill", "/enlarge", "/color", "/edit", "/sweep"}
    names = [p["parameter_name"] for p in info["/enlarge"]["parameters"]]
    assert names[:3] == ["image", "prompt", "scale"]
    assert info["/fill"]["parameters"][1]["parameter_name"] == "prompt"
