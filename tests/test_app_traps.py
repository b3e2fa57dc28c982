"""What goes wrong for an ordinary visitor, in a real browser. Without Chromium the tests are skipped."""

import time

import httpx
import numpy as np
from browser import (
    EDITOR,
    INFO,
    address_of_result,
    downloaded,
    needs_browser,
    open_settings,
    run,
    stroke,
    to_tab,
    until,
    upload,
    visit,
)
from PIL import Image

from textir_hf.space import examples, texts

pytestmark = needs_browser
ALERT = f"{EDITOR} .ti-info.ti-alert"


KEPT = """(sentence) => new Promise((done) => { const request = indexedDB.open('textir');
  request.onsuccess = () => { const got = request.result.transaction('kept').objectStore('kept').get('work');
    got.onsuccess = () => (request.result.close(), done(got.result?.prompts.inpaint === sentence)); }; })"""


def new_result(page, before) -> None:
    page.wait_for_function("b => document.querySelector('.tr-download').getAttribute('href') !== b", arg=before)


def info(page) -> str:
    return page.inner_text(f"{EDITOR} .ti-info")


def fields(page) -> dict:
    return {name: page.input_value(f"#inpaint-{name} input[type=number]") for name in ("feather", "seed")}


def test_a_double_click_runs_once_and_an_alert_leaves_with_the_next_run(page):
    before = address_of_result(page)
    box = page.query_selector("#inpaint-run").bounding_box()
    for _ in range(2):
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.wait_for_timeout(250)
    new_result(page, before)
    assert page.inner_text("#inpaint-status").strip() != texts.CANCELLED

    # an alert is red, and the next run takes it away
    page.fill("#inpaint-prompt textarea", "")
    page.click("#inpaint-run")
    page.wait_for_selector("#inpaint-status .ti-alert")
    colors = page.evaluate("""() => { const probe = document.createElement('i');
        document.querySelector('.gradio-container').append(probe); probe.style.color = 'var(--ti-alert)';
        return [probe, document.querySelector('#inpaint-status .ti-alert')].map((e) => getComputedStyle(e).color); }""")
    assert colors[0] == colors[1]
    page.fill("#inpaint-prompt textarea", "a woman")
    page.wait_for_timeout(700)  # a second click within 600 ms would be a double click
    page.click("#inpaint-run")
    page.wait_for_selector("#inpaint-status .ti-alert", state="detached", timeout=5000)


def test_a_run_during_an_upload_takes_the_new_image(page, photo, tmp_path):
    def slowly(route):
        time.sleep(3)
        route.continue_()

    before = address_of_result(page)
    to_tab(page, "Colorize")
    page.route("**/gradio_api/upload*", slowly)
    page.set_input_files(f"{EDITOR} .ti-file", str(photo))
    page.wait_for_function(f"{INFO}.startsWith('300 × 240')", timeout=2500)  # its preview comes before it has arrived
    page.fill("#colorize-prompt textarea", "a flower")
    page.click("#colorize-run")
    new_result(page, before)
    assert downloaded(page, tmp_path).size == (300, 240)


def test_looking_for_faces_leaves_the_brush_in_the_hand(page, photo):
    for found in ("1", "No"):
        page.click(f"{EDITOR} .ti-faces")
        page.wait_for_function(f"/{found} .*face/i.test({INFO})")
        page.click(f"{EDITOR} [data-do=clear]")
        page.wait_for_function(f"{INFO}.includes(' 0 %')")
        stroke(page)
        page.wait_for_function(f"!{INFO}.includes(' 0 %')")
        upload(page, "inpaint", photo)


def test_keys_run_undo_save_and_compare(page, tmp_path):
    before = address_of_result(page)
    page.focus("#inpaint-prompt textarea")
    page.keyboard.press("Enter")
    new_result(page, before)
    page.focus(f"{EDITOR} canvas")
    with page.expect_download() as download:
        page.keyboard.press("Control+s")
    assert download.value.suggested_filename.endswith(".png")
    for key in ("Space", "Enter"):
        page.focus(".tr-hold")
        page.keyboard.down(key)
        page.wait_for_selector(f"{EDITOR}.ti-held, .ti-held")
        page.keyboard.up(key)
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


def test_a_lost_server_is_named_and_a_reload_keeps_the_work(server, chromium, photo):
    page = visit(chromium, server[0])
    upload(page, "inpaint", photo)
    stroke(page)
    page.wait_for_function(f"{INFO}.includes('face')")  # the server has looked at it
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
    run(page, "inpaint")
    page.close()


def test_a_run_of_minutes_is_announced_and_asked_for(page, tmp_path):
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    Image.new("RGB", (1400, 700), "gray").save(tmp_path / "large.png")
    to_tab(page, "Upscale")
    page.evaluate("localStorage.textirPace = 0.5")
    upload(page, "upscale", tmp_path / "large.png")
    page.fill("#upscale-prompt textarea", "a face")
    page.click("#upscale-run")
    page.wait_for_timeout(800)
    assert len(asked) == 1 and "4 minutes" in asked[0]  # 435 tiles at half a second
    assert not page.is_visible("#upscale-cancel")


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


def test_an_example_and_its_result_leave_nothing_on_a_visitors_own_photo(page, photo):
    assert page.is_visible(".tr-bar")
    to_tab(page, "Edit")
    page.wait_for_selector(".tr-bar", state="hidden")
    to_tab(page, "Inpaint")
    page.wait_for_selector(".tr-bar")
    assert page.input_value("#inpaint-prompt textarea") == examples.EXAMPLES[0].prompt
    open_settings(page, "inpaint")
    assert fields(page)["feather"] == "12"  # the example's: running it gives what is shown
    upload(page, "inpaint", photo)
    page.wait_for_selector(".tr-bar", state="hidden")
    page.wait_for_function("document.querySelector('#inpaint-prompt textarea').value === ''")
    page.wait_for_function("document.querySelector('#inpaint-feather input[type=number]').value === '8'")


def test_masks_of_large_images_stay_quick(page, tmp_path):
    Image.new("RGB", (6000, 4000), "gray").save(tmp_path / "large.png")
    upload(page, "inpaint", tmp_path / "large.png")
    stroke(page)
    page.click(f"{EDITOR} .ti-more summary")
    took = {}
    for name in ("grow", "shrink", "undo") * 3:
        seconds = page.evaluate(
            """async (selector) => { const begun = performance.now(); document.querySelector(selector).click();
            await new Promise(requestAnimationFrame); return (performance.now() - begun) / 1000; }""",
            f"{EDITOR} [data-do={name}]",
        )
        took[name] = min(seconds, took.get(name, seconds))  # the machine may be busy once
    assert max(took.values()) < 0.5, took


def test_a_finger_scrolls_where_nothing_is_painted_and_targets_are_large(server, chromium):
    page = visit(chromium, server[0], 390, has_touch=True)
    page.wait_for_selector(f"{EDITOR} canvas")
    kinds = ".ti-tools button, .ti-bar button, .ti-ask button, .tr-bar button, .ti-upload"
    small = """kinds => [...document.querySelectorAll(kinds)]
      .filter((b) => b.offsetParent && (b.getBoundingClientRect().height < 43.5)).map((b) => b.textContent)"""
    assert page.evaluate(small, kinds) == []
    place = page.query_selector("#inpaint-run").bounding_box()
    assert place["y"] + place["height"] <= 800 and place["y"] > 400  # the thumb reaches it
    to_tab(page, "Upscale")
    assert page.evaluate(f"getComputedStyle(document.querySelector('{EDITOR} canvas')).touchAction") == "pan-y"
    page.close()


def test_a_call_without_an_image_is_refused_in_a_sentence(server):
    answer = httpx.post(f"{server[0]}/gradio_api/call/v2/upscale", json={"prompt": "a face"})
    assert 400 <= answer.status_code < 500 and "image" in answer.json()["error"]


def test_the_page_has_one_title_a_description_and_an_icon(server):
    html = httpx.get(server[0]).text
    assert html.count('property="og:title"') == 1 and html.count('name="description"') == 1
    assert httpx.get(f"{server[0]}/favicon.ico").headers["content-type"].startswith("image/")


def test_the_generated_programs_run(server, tmp_path, monkeypatch):
    """With the arguments that "Use via API" prints."""
    from gradio_client import Client, handle_file

    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)).save(tmp_path / "image.png")
    mask = np.zeros((24, 32), np.uint8)
    mask[4:12, 4:12] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    monkeypatch.chdir(tmp_path)
    client = Client(server[0], verbose=False)
    for name, endpoint in client.view_api(return_format="dict")["named_endpoints"].items():
        given = {
            p["parameter_name"]: p["example_input"] for p in endpoint["parameters"] if not p["parameter_has_default"]
        }
        files = {key: handle_file(value["url"]) for key, value in given.items() if isinstance(value, dict)}
        assert client.predict(**given | files, api_name=name), name
