"""A server of the page, and what a visitor does on it in a real browser."""

import io
import json
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

from benchmarks.space import CHROMIUM, Server, launch
from textir_hf.imaging.files import open_image
from textir_hf.space import texts

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
EDITOR = "#editor"
INFO = f"document.querySelector('{EDITOR} .ti-info').textContent"
ROWS = ".ti-regions > span"
TABS = ("Inpaint", "Upscale", "Colorize", "Edit", "Compare", "Batch", "About")


def visit(browser, address: str, width: int = 1280, **options):
    page = browser.new_page(viewport={"width": width, "height": 800}, **options)
    page.set_default_timeout(60_000)
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#editor .ti-filled")
    return page


def painted(page) -> None:
    """Waits until what has just been opened is on the screen: in its first frame Gradio gives each field its value."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def to_tab(page, name: str) -> None:
    page.click(f"button[role=tab]:has-text('{name}')")
    page.wait_for_selector(f"#{name.lower()}-run, .prose h2:has-text('Keys')")
    painted(page)


def open_settings(page, tab: str) -> None:
    page.click(f"#{tab}-settings button")
    page.wait_for_selector(f"#{tab}-seed")
    painted(page)


def upload(page, tab: str, path) -> None:
    page.set_input_files("#editor .ti-file", str(path))
    page.wait_for_function(f"{INFO}.startsWith('{{}} × {{}}')".format(*open_image(path).size))


def stroke(page, below: float = 0) -> None:
    """Draws a line through the middle of the canvas, or below it."""
    box = page.query_selector("#editor canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2 + below
    page.mouse.move(x - 40, y)
    page.mouse.down()
    page.mouse.move(x, y + 4, steps=4)
    page.mouse.move(x + 40, y + 10, steps=4)
    page.mouse.up()


def add_region(page, prompt: str, below: float) -> None:
    """A region: a stroke at a height of the canvas, and its sentence."""
    count = page.locator(ROWS).count()
    page.click("[data-do=region]")
    stroke(page, below=below)
    page.fill(f"{ROWS} >> nth={count} >> input", prompt)


def address_of_result(page) -> str | None:
    return page.get_attribute(".tr-download", "href")


def until(page, true) -> None:
    """Lets the page go on until something holds."""
    for _ in range(600):
        if true():
            return
        page.wait_for_timeout(100)
    raise AssertionError("It never held.")


def run(page, tab: str, keys: str | None = None) -> None:
    """Presses a tab's button, or keys, and waits for the result."""
    press(page, f"#{tab}-run", keys)


def press(page, selector: str, keys: str | None = None) -> None:
    """Presses a button, or keys, and waits for a result."""
    before = address_of_result(page)
    page.keyboard.press(keys) if keys else page.click(selector)
    new_result(page, before)


def new_result(page, before: str | None) -> None:
    """Waits for a result other than that of an address."""
    page.wait_for_function("b => document.querySelector('.tr-download').getAttribute('href') !== b", arg=before)


def begin_long_run(page, folder: Path) -> None:
    """Starts a run that takes longer than any wait of a test, until it is cancelled, and waits for its first tiles."""
    page.once("dialog", lambda dialog: dialog.accept())  # it takes minutes: the page asks
    to_tab(page, "Upscale")
    Image.effect_noise((990, 990), 60).convert("RGB").save(folder / "large.png")
    upload(page, "upscale", folder / "large.png")
    page.fill("#upscale-prompt textarea", "a face")  # the example's sentence has left with its image
    page.click("#upscale-run")
    page.wait_for_function("/tile \\d+ of \\d\\d+/i.test(document.querySelector('#upscale-status').textContent)")


def cancel(page, tab: str) -> None:
    """Cancels a tab's run, and waits until the page says so."""
    page.wait_for_timeout(700)  # before, the click would be the second of a double one
    page.click(f"#{tab}-cancel")
    page.wait_for_function(f"document.querySelector('#{tab}-status').innerText.trim() == '{texts.CANCELLED}'")
    page.wait_for_selector(f"#{tab}-cancel", state="hidden")


def downloaded(page, tmp_path, selector: str = ".tr-download") -> Image.Image:
    with page.expect_download() as download:
        page.click(selector)
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    return open_image(path)


def copied(page, button: str) -> str:
    """What a button puts onto the clipboard."""
    return page.evaluate(
        """(selector) => new Promise((done) => { navigator.clipboard.writeText = async (text) => done(text);
        document.querySelector(selector).click(); })""",
        f"#editor [data-do={button}]",
    )


def alert(page, tab: str) -> str:
    """What a tab says is wrong."""
    return page.wait_for_selector(f"#{tab}-status .ti-alert").inner_text()


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


def upscaled(address: str, color, scale: int = 2) -> np.ndarray | str:
    """A flat image as the page upscales it, or its answer to the contrary."""
    data = {"image": sent(address, flat(color)), "prompt": "a face", "scale": scale, "faces": "none"}
    made = called(address, "upscale", data)
    return made if isinstance(made, str) else np.asarray(made)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Address and process of the page (`python app.py`), which leaves no file behind, also of a server that died."""
    files = tmp_path_factory.mktemp("server") / "files"
    (files / "textir-space-999999999" / "left").mkdir(parents=True)
    server = Server(files)
    server.wait()
    upscaled(server.address, "red")  # waits until the networks are loaded
    (folder,) = files.iterdir()
    assert folder.name == f"textir-space-{server.process.pid}" and folder.stat().st_mode & 0o077 == 0
    yield server.address, server.process
    server.process.terminate()
    server.process.wait(30)
    assert not list(files.iterdir())


@pytest.fixture(scope="module")
def chromium():
    """A headless browser."""
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def page(server, chromium):
    """The page in a browser, in which no script may fail."""
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


@pytest.fixture
def tiny_networks(pipeline, monkeypatch):
    """The embedded names load tiny networks."""
    import app  # noqa: F401  opens the folder of the page's files before Gradio is imported
    from textir_hf.space import networks, progress

    made = {}

    def tiny(name):
        if name not in made:
            made[name] = pipeline(name.removeprefix("textir-mini-"), sample_size=32)
            made[name].register_to_config(_name_or_path=name)
            made[name].progress_bar = progress.bar
        return made[name]

    monkeypatch.setattr(networks, "_loaded", tiny)
    networks.READY.set()
