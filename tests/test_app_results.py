"""Results, their code and their settings, in a real browser. Without Chromium the tests are skipped."""

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
from browser import (
    add_region,
    address_of_result,
    alert,
    begin_long_run,
    cancel,
    copied,
    downloaded,
    needs_browser,
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

from benchmarks.space import ROOT
from textir_hf.imaging.files import SETTINGS, open_image, read_settings, save_image
from textir_hf.space import examples, texts

pytestmark = needs_browser


def test_a_visitor_repaints_a_region_undoes_it_and_takes_the_code_of_another_away(page, photo, tmp_path):
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

    # the line moves by keys, and the whole original shows while C is held
    def stage() -> str:
        return page.evaluate("document.querySelector('#editor canvas').toDataURL()")

    middle = stage()
    page.focus(".tr-range")
    page.keyboard.press("End")
    end = stage()
    page.keyboard.down("c")
    held = stage()
    page.keyboard.up("c")
    assert middle != end and held == end and stage() == end

    # undone, the result goes first, then the stroke
    page.click("#editor [data-do=undo]")
    assert not page.is_visible(".tr-download") and ", 0 %" not in page.inner_text("#editor .ti-info")
    page.click("#editor [data-do=undo]")
    page.wait_for_selector("#inpaint-run")
    page.click("#inpaint-run")
    assert alert(page, "inpaint") == texts.NO_MASK

    stroke(page)
    add_region(page, "a man", 60)
    page.fill("#inpaint-prompt textarea", 'a woman\'s "smile"')
    open_settings(page, "inpaint")
    page.fill("#inpaint-beta input[type=number]", "0.7")
    page.keyboard.press("Tab")
    run(page, "inpaint")
    result = np.asarray(downloaded(page, tmp_path))
    shutil.copy(photo, tmp_path / "image.png")
    page.click("#editor .ti-more summary")
    page.on("download", lambda file: file.save_as(tmp_path / file.suggested_filename))
    page.click("#editor [data-do=save]")
    for name in ("mask.png", "region-1.png"):
        until(page, (tmp_path / name).is_file)
    program, command = copied(page, "python"), copied(page, "command")
    assert program == page.text_content("#editor pre")
    bin_folder = Path(sys.executable).parent  # where `textir` is
    environment = os.environ | {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    (tmp_path / "program.py").write_text(program)
    for line in ("python program.py", command):
        subprocess.run(["bash", "-c", line], cwd=tmp_path, env=environment, check=True)
        assert (np.asarray(open_image(tmp_path / "result.png")) == result).all(), line
        (tmp_path / "result.png").unlink()


def test_compare_draws_a_grid_whose_cells_open(page, tmp_path):
    to_tab(page, "Compare")
    run(page, "compare")
    cells = page.query_selector_all(".tr-strip button")
    assert len(cells) == 6
    tops = [round(cell.bounding_box()["y"]) for cell in cells]
    assert len(set(tops)) == 2 and tops[:3] == [tops[0]] * 3  # a row for each sentence
    cells[5].click()
    page.wait_for_function("document.querySelector('#editor dl').textContent.includes('blue cup')")
    assert read_settings(downloaded(page, tmp_path))["prompt"] == "a blue cup of coffee"
    assert downloaded(page, tmp_path, ".tr-grid").width > 4 * 256
    page.fill("#compare-betas textarea", "0 x")
    page.click("#compare-run")
    assert alert(page, "compare") == texts.NOT_NUMBERS.format("0 x")


def test_variants_differ_and_history_and_a_png_keep_their_settings(page, photo, tmp_path):
    press(page, "[data-do=four]")
    sources = [i.get_attribute("src") for i in page.query_selector_all(".tr-strip img")]
    images = [np.asarray(Image.open(io.BytesIO(httpx.get(s).content)).convert("RGB")).astype(int) for s in sources]
    assert len(images) == 4
    for a, b in ((0, 1), (1, 2), (2, 3)):
        assert np.abs(images[a] - images[b])[20:130, 30:220].mean() > 2  # levels, within the mask
    first = address_of_result(page)
    page.fill("#inpaint-prompt textarea", "an old man")
    open_settings(page, "inpaint")
    page.click("#inpaint-dice")
    page.wait_for_function("document.querySelector('#inpaint-seed input').value != '0'")
    seed = page.input_value("#inpaint-seed input")
    run(page, "inpaint")
    made = downloaded(page, tmp_path)
    settings = read_settings(made)
    assert settings["seed"] == int(seed)
    assert len(page.query_selector_all(".tr-history img")) == 2
    page.click(".tr-history button >> nth=1")
    page.wait_for_function("a => document.querySelector('.tr-download').getAttribute('href') === a", arg=first)
    assert page.input_value("#inpaint-prompt textarea") == examples.EXAMPLES[0].prompt
    run(page, "inpaint")  # a step can be run again
    assert len(page.query_selector_all(".tr-history img")) == 3

    made.info[SETTINGS] = settings
    save_image(made, tmp_path / "made.png")
    page.click(f"button:has-text('{texts.RESTORE}')")
    page.wait_for_selector("#settings-file")
    painted(page)
    page.set_input_files("#settings-file input[type=file]", str(tmp_path / "made.png"))
    page.wait_for_function("document.querySelector('#inpaint-prompt textarea').value == 'an old man'")
    page.wait_for_function(f"document.querySelector('#inpaint-seed input').value == '{seed}'")

    upload(page, "inpaint", photo)
    page.fill("#inpaint-prompt textarea", "a woman")
    page.click("#editor .ti-more summary")
    page.check("#editor .ti-eager")  # a switch runs after each stroke
    for below in (-50, 50):  # the second one may come during the run of the first
        stroke(page, below=below)
    until(page, lambda: len(page.query_selector_all(".tr-history img")) == 5 and page.is_visible(".tr-bar"))


def test_a_link_brings_back_every_number_also_a_zero(page, photo, chromium, tmp_path):
    def repaint(page) -> np.ndarray:
        upload(page, "inpaint", photo)
        stroke(page)
        run(page, "inpaint")
        return np.asarray(downloaded(page, tmp_path))

    page.click("#inpaint-settings button")
    page.uncheck("#inpaint-automatic input")
    for name in ("beta", "feather", "skip_strength"):
        page.fill(f"#inpaint-{name} input[type=number]", "0")
        page.keyboard.press("Tab")
    upload(page, "inpaint", photo)
    page.fill("#inpaint-prompt textarea", "a woman")
    expected = repaint(page)
    other = visit(chromium, copied(page, "link"))
    other.wait_for_function("document.querySelector('#inpaint-prompt textarea').value == 'a woman'")
    assert (repaint(other) == expected).all()
    other.close()


def test_long_runs_say_how_far_they_are_or_their_place_in_the_queue_and_can_be_cancelled(
    page, server, chromium, tmp_path
):
    others = [visit(chromium, server[0]) for _ in range(2)]  # as many as run at once
    for other in others:
        to_tab(other, "Upscale")
        other.wait_for_function("document.querySelector('.tr-download').href.includes('upscale')")
        before, place = address_of_result(other), other.query_selector("#upscale-run").bounding_box()
        begin_long_run(other, tmp_path)
        shown = other.query_selector("#upscale-cancel").bounding_box()  # Run has turned into Cancel in the same place
        assert abs(shown["x"] - place["x"]) < 3 and abs(shown["width"] - place["width"]) < 3
        assert not other.is_visible("#upscale-run") and len(other.query_selector_all("progress")) == 1
        assert "Infinity" not in other.inner_text("body") and "/0" not in other.inner_text("body")
    mine = address_of_result(page)
    page.click("#inpaint-run")
    page.wait_for_function("/place 1 of 1 in the queue/.test(document.querySelector('#inpaint-status').innerText)")
    cancel(page, "inpaint")
    for other in others:
        cancel(other, "upscale")
    page.wait_for_timeout(1500)
    assert address_of_result(page) == mine and page.inner_text("#inpaint-status").strip() == texts.CANCELLED
    assert address_of_result(other) == before and other.inner_text("#upscale-status").strip() == texts.CANCELLED
    other.click("#upscale-examples button >> nth=1")
    other.wait_for_function("document.querySelector('#editor .ti-info').textContent.startsWith('32 × 32')")
    run(other, "upscale")
    run(page, "inpaint")
    for other in others:
        assert not other.problems
        other.close()
