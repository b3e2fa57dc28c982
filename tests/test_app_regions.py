"""Regions with a sentence of their own, and the slider from image to text, in a real browser."""

import httpx
import numpy as np
from browser import INFO, copied, needs_browser, press, run, stroke, to_tab, upload, visit
from PIL import Image

from textir_hf.imaging.files import open_image, read_settings
from textir_hf.space import examples

pytestmark = needs_browser
ROWS = ".ti-regions > span"


def result(page) -> Image.Image:
    return open_image(httpx.get(page.get_attribute(".tr-download", "href")).content)


def add(page, prompt: str, below: float) -> None:
    """A region: a stroke at a height of the canvas, and its sentence."""
    count = page.locator(ROWS).count()
    page.click("[data-do=region]")
    stroke(page, below=below)
    page.fill(f"{ROWS} >> nth={count} >> input", prompt)


def test_a_region_has_its_own_sentence_and_changes_nothing_else(page, photo):
    to_tab(page, "Colorize")
    upload(page, "colorize", photo)
    page.fill("#colorize-prompt textarea", "a brown table")
    run(page, "colorize")
    plain = np.asarray(result(page)).astype(int)
    add(page, "a red cup", -120)
    add(page, "a blue dress", 120)
    page.fill(f"{ROWS} >> nth=1 >> input >> nth=1", "0.5")
    run(page, "colorize", "Enter")  # in a region's sentence, too
    made = result(page)
    assert [(prompt, beta) for _, prompt, beta in read_settings(made)["regions"]] == [
        ("a red cup", 1),
        ("a blue dress", 0.5),
    ]
    assert "'a red cup')" in page.text_content("#editor pre") and "'a blue dress', 0.5)" in page.text_content(
        "#editor pre"
    )
    changed = np.abs(np.asarray(made) - plain).max(2) > 0
    height = len(changed)
    assert changed[: height // 2].any() and changed[height // 2 :].any()
    assert not changed[height // 2 - 8 : height // 2 + 8].any()  # between the strokes

    page.click(f"{ROWS} >> nth=1 >> button >> nth=1")  # its eye: hidden, it does not count
    run(page, "colorize")
    assert [prompt for _, prompt, _ in read_settings(result(page))["regions"]] == ["a red cup"]
    page.click("[data-do=region]")
    for part, text in (("sentence", "a red cup"), ("empty", "")):  # the second region, which nobody painted
        page.click("#colorize-run")
        alert = "part => document.querySelector('#colorize-status .ti-alert')?.textContent.includes(part)"
        page.wait_for_function(alert, arg=part)
        page.fill(f"{ROWS} >> nth=2 >> input >> nth=0", text)
        page.wait_for_timeout(700)  # a second click at once would be that of a double one
    page.click(f"{ROWS} >> nth=2 >> button >> nth=2")
    page.click(f"{ROWS} >> nth=0 >> button >> nth=2")  # its bin
    assert page.locator(ROWS).count() == 1
    page.click("[data-do=undo]")
    assert page.locator(ROWS).count() == 2 and page.input_value(f"{ROWS} >> nth=0 >> input") == "a red cup"


def test_regions_come_back_from_a_reload_and_from_a_link(server, chromium, photo):
    page = visit(chromium, server[0])
    to_tab(page, "Colorize")
    upload(page, "colorize", photo)
    page.fill("#colorize-prompt textarea", "a wooden table")
    add(page, "a red cup", -100)
    run(page, "colorize")
    made, link = np.asarray(result(page)), copied(page, "link")
    page.wait_for_timeout(3000)  # until the browser has kept it
    page.reload()
    page.wait_for_selector(ROWS)
    other = visit(chromium, link)
    other.wait_for_function("document.querySelector('#colorize-prompt textarea')?.value === 'a wooden table'")
    upload(other, "colorize", photo)
    other.wait_for_selector(ROWS)
    for again in (page, other):
        assert again.input_value(f"{ROWS} input") == "a red cup"
        run(again, "colorize")
        assert (np.asarray(result(again)) == made).all()
        again.close()


def test_the_slider_from_image_to_text_shows_steps_made_beforehand(page):
    to_tab(page, "Edit")
    run(page, "edit")
    page.focus(".tr-strength input")
    press(page, "", "ArrowLeft")  # the first move makes them all
    seen = {}
    for _ in range(3):
        page.wait_for_function("document.querySelector('.tr-strength input').value !== '' ")
        seen[page.input_value(".tr-strength input")] = read_settings(result(page))["beta"]
        page.keyboard.press("ArrowLeft")  # at once
    assert seen == {"3": 0.75, "2": 0.5, "1": 0.25}
    assert not page.is_visible(".tr-strip")


def test_a_small_face_is_cut_out_by_one_click(page, tmp_path):
    portrait = open_image(examples.EXAMPLES[0].input)
    image = Image.new("RGB", (1200, 900), "gray")
    image.paste(portrait.resize((200, 200)), (850, 500))
    image.save(tmp_path / "far.png")
    upload(page, "inpaint", tmp_path / "far.png")
    page.wait_for_function(f"{INFO}.includes('1 face')")
    assert page.is_visible(".ti-advice")
    page.click("[data-do=crop]")
    page.wait_for_function(f"!{INFO}.startsWith('1200')")
    page.wait_for_function(f"{INFO}.includes('1 face')")
    assert not page.is_visible(".ti-advice")
    stroke(page, below=250)  # beside the face
    page.wait_for_function("document.querySelector('.ti-advice').textContent.includes('no face')")
