"""The editor: masks, regions, faces and the slider from image to text, in a real browser."""

import io
import re

import httpx
import numpy as np
from browser import (
    INFO,
    ROWS,
    add_region,
    alert,
    copied,
    downloaded,
    needs_browser,
    open_settings,
    run,
    stroke,
    to_tab,
    upload,
    visit,
)
from PIL import Image

from textir_hf.imaging.files import open_image, read_settings
from textir_hf.imaging.raster import to_mask
from textir_hf.space import examples, texts

pytestmark = needs_browser
INK = np.array((229, 23, 123)) / 2  # the mask's color at half weight


def masks_of_many_kinds() -> dict[str, Image.Image]:
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    box = np.zeros((90, 120), np.uint8)
    box[20:70, 30:80] = 255
    black = np.zeros_like(noise)
    return {
        "an erased photo": Image.fromarray(np.dstack([noise, 255 - box])),
        "gray levels": Image.fromarray(np.where(box > 0, 200, 20).astype(np.uint8)),
        "a photo": Image.fromarray(noise),
        "two regions": Image.fromarray(np.dstack([black + box[..., None], np.roll(255 - box, 40, 1)])),
        "nothing": Image.fromarray(black),
    }


def test_a_mask_file_means_what_it_means_to_the_pipeline_and_lies_where_it_is_on_the_image(page, tmp_path):
    Image.new("RGB", (120, 90), (128, 128, 128)).save(tmp_path / "gray.png")
    upload(page, "inpaint", tmp_path / "gray.png")
    for kind, mask in masks_of_many_kinds().items():
        page.click("#editor [data-do=clear]")
        page.wait_for_function(f"{INFO}.includes(', 0 %')")
        mask.save(tmp_path / f"{kind}.png")
        page.set_input_files("#editor .ti-mask-file", str(tmp_path / f"{kind}.png"))
        try:
            share = to_mask(mask, (90, 120)).mean()
        except ValueError as error:
            page.wait_for_selector("#editor .ti-info.ti-alert")
            said, expected = (
                set(re.findall("photo|two regions|marks nothing", text)) for text in (page.evaluate(INFO), str(error))
            )
            assert said == expected and said, kind
        else:
            page.wait_for_function(f"{INFO}.includes(', {round(100 * share)} %')")

    for window, size in ((1280, (900, 300)), (700, (1200, 900))):
        width, height = size
        Image.new("RGB", size, (128, 128, 128)).save(tmp_path / "gray.png")
        mask = Image.new("L", size)
        box = (width // 4, height // 5, width // 2, height // 2)
        mask.paste(255, box)
        mask.save(tmp_path / "mask.png")
        page.set_viewport_size({"width": window, "height": 800})
        upload(page, "inpaint", tmp_path / "gray.png")
        page.set_input_files("#editor .ti-mask-file", str(tmp_path / "mask.png"))
        page.wait_for_function(f"!{INFO}.includes(', 0 %')")
        page.mouse.move(5, 5)
        page.wait_for_timeout(300)
        rgb = np.asarray(Image.open(io.BytesIO(page.query_selector("#editor canvas").screenshot())).convert("RGB"))
        shown = np.abs(rgb - (INK + 64)).max(2) < 12
        scale = min(shown.shape[1] / width, shown.shape[0] / height)
        left, top = (shown.shape[1] - width * scale) / 2, (shown.shape[0] - height * scale) / 2
        expected = np.array(box) * scale + np.array((left, top, left, top))
        rows, columns = np.nonzero(shown)
        found = np.array((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
        assert np.abs(found - expected).max() <= 2
        assert shown.sum() > 0.97 * np.prod(found[2:] - found[:2])  # one full rectangle, and no second one


def test_tools_and_several_files_of_which_each_keeps_its_mask(page, tmp_path):
    image = Image.new("RGB", (300, 200), (255, 255, 255))
    image.paste((20, 120, 200), (100, 50, 200, 150))
    image.save(tmp_path / "flat.png")
    upload(page, "inpaint", tmp_path / "flat.png")

    def percent() -> str:
        return re.search(r"[^,]* masked", page.inner_text("#editor .ti-info"))[0].strip()

    page.click("#editor [data-tool=select]")
    box = page.query_selector("#editor canvas").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert percent() == "17 % masked"  # the square, and nothing of what is around it
    page.click("#editor .ti-more summary")
    page.click("#editor [data-do=invert]")
    assert percent() in ("82 % masked", "83 % masked")
    page.keyboard.press("Control+z")
    page.click("#editor [data-do=grow]")
    assert percent() == "20 % masked"
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    assert percent() == "0 % masked"
    page.keyboard.press("Control+Shift+Z")
    assert percent() == "17 % masked"
    page.click("#editor [data-tool=brush]")

    for number in range(3):
        Image.new("RGB", (200 + number, 160), "gray").save(tmp_path / f"{number}.png")
    page.set_input_files("#editor .ti-file", [tmp_path / f"{number}.png" for number in range(3)])

    def opened(number: int, info: str) -> None:
        page.wait_for_function(f"{INFO}.startsWith('{200 + number} × 160')")
        page.wait_for_selector(f".ti-files button >> nth={number}")
        assert info in page.evaluate(INFO)
        assert page.get_attribute(f".ti-files button >> nth={number}", "aria-pressed") == "true"

    opened(0, ", 0 % masked")
    stroke(page)
    masked = page.evaluate(INFO).split(", ")[-1]
    page.click(".ti-files button >> nth=2")
    opened(2, ", 0 % masked")
    page.focus("#editor canvas")
    page.keyboard.press("PageDown")  # around the end
    opened(0, masked)
    page.keyboard.press("Control+z")  # back to where it came from
    opened(2, ", 0 % masked")


def test_faces_are_chosen_masked_in_parts_and_cut_out(page, photo, tmp_path):
    page.click("#editor .ti-faces")
    page.click("#editor .ti-boxes button:has-text('Face 1')")
    assert page.inner_text("#editor .ti-info").endswith("face 1")
    run(page, "inpaint")
    assert read_settings(downloaded(page, tmp_path))["faces"] == [1]
    page.click("#editor [data-do=clear]")
    page.click("#editor .ti-boxes button:has-text('Mouth')")
    masked = re.search(r"(\d+) % masked", page.inner_text("#editor .ti-info"))
    assert 5 < int(masked[1]) < 40  # a part of the face, not all of it
    page.focus("#editor canvas")
    page.keyboard.press("1")
    assert not page.inner_text("#editor .ti-info").endswith("face 1")

    upload(page, "inpaint", photo)  # to look for faces leaves the brush in the hand
    page.click("#editor .ti-faces")
    page.wait_for_function(f"/No .*face/i.test({INFO})")
    stroke(page)
    page.wait_for_function(f"!{INFO}.includes(' 0 %')")

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


def fingers(page, *steps: list[tuple[float, float]]) -> None:
    """Touches the screen at the points of the first step, moves through the others, and lets go."""
    session = page.context.new_cdp_session(page)
    for number, points in enumerate([*steps, []]):
        kind = "touchStart" if number == 0 else "touchMove" if points else "touchEnd"
        touches = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})


def test_two_fingers_zoom_and_move_the_image_with_them_and_paint_nothing(server, chromium, tmp_path):
    page = visit(chromium, server[0], 390, has_touch=True)
    image, colors = Image.new("RGB", (200, 120), "gray"), ((255, 0, 0), (0, 0, 255))
    for color, x in zip(colors, (80, 120), strict=True):
        image.paste(color, (x - 6, 54, x + 6, 66))
    image.save(tmp_path / "spots.png")
    upload(page, "inpaint", tmp_path / "spots.png")
    page.click("#editor [data-tool=select]")
    canvas = page.query_selector("#editor canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()

    def spots() -> np.ndarray:
        """Centers of the two spots on the screen, `[2, 2]`."""
        rgb = np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("RGB")).astype(int)
        places = [np.argwhere(np.abs(rgb - color).max(2) < 60)[:, ::-1] for color in colors]
        return np.array([(place.min(0) + place.max(0)) / 2 + np.array((box["x"], box["y"])) for place in places])

    begun = spots()
    ended = begun + np.array([(-50, 20), (40, 20)])  # apart, and both downwards
    fingers(page, *[(begun + (ended - begun) * share).tolist() for share in np.linspace(0, 1, 9)])
    assert np.abs(spots() - ended).max() < 4
    assert page.inner_text("#editor .ti-info").endswith(", 0 % masked")
    fingers(page, [ended[0].tolist()])  # one finger alone uses the tool, where it is on the image
    assert ", 0 %" not in page.inner_text("#editor .ti-info")
    page.close()


def result(page) -> Image.Image:
    return open_image(httpx.get(page.get_attribute(".tr-download", "href")).content)


def test_a_region_has_its_own_sentence_and_comes_back_from_a_link(page, photo, chromium):
    to_tab(page, "Colorize")
    upload(page, "colorize", photo)
    page.fill("#colorize-prompt textarea", "a brown table")
    open_settings(page, "colorize")
    page.click("#colorize-dice")
    page.wait_for_function("document.querySelector('#colorize-seed input').value != '0'")
    seed = page.input_value("#colorize-seed input")
    run(page, "colorize")
    plain = np.asarray(result(page)).astype(int)
    add_region(page, "a red cup", -120)
    add_region(page, "a blue dress", 120)
    page.fill(f"{ROWS} >> nth=1 >> input >> nth=1", "0.5")
    run(page, "colorize", "Enter")  # in a region's sentence, too
    made = result(page)
    assert [tuple(rest) for _, *rest in read_settings(made)["regions"]] == [("a red cup", 1), ("a blue dress", 0.5)]
    changed = np.abs(np.asarray(made) - plain).max(2) > 0
    height = len(changed)
    assert changed[: height // 2].any() and changed[height // 2 :].any()
    assert not changed[height // 2 - 8 : height // 2 + 8].any()  # between the strokes

    other = visit(chromium, copied(page, "link"))
    other.wait_for_function("document.querySelector('#colorize-prompt textarea')?.value === 'a brown table'")
    upload(other, "colorize", photo)
    other.wait_for_selector(ROWS)
    assert other.input_value(f"{ROWS} >> nth=0 >> input") == "a red cup"
    run(other, "colorize")
    assert (np.asarray(result(other)) == np.asarray(made)).all() and read_settings(result(other))["seed"] == int(seed)
    other.close()

    page.click(f"{ROWS} >> nth=1 >> button >> nth=1")  # its eye: hidden, it does not count
    run(page, "colorize")
    assert [prompt for _, prompt, _ in read_settings(result(page))["regions"]] == ["a red cup"]
    page.click(f"{ROWS} >> nth=0 >> button >> nth=2")  # its bin
    assert page.locator(ROWS).count() == 1
    page.click("[data-do=undo]")
    assert page.locator(ROWS).count() == 2 and page.input_value(f"{ROWS} >> nth=0 >> input") == "a red cup"


def test_what_is_painted_counts_however_thin_and_alone_may_change(page, tmp_path):
    Image.effect_noise((1500, 1500), 60).convert("RGB").save(tmp_path / "large.png")
    to_tab(page, "Edit")
    upload(page, "edit", tmp_path / "large.png")
    page.fill("#edit-prompt textarea", "a red flower")
    page.check("#edit-degradation label:has-text('Color') input")
    page.check("#edit-confine input")
    page.wait_for_selector("#editor [data-tool=brush]", state="visible")
    page.click("#edit-run")
    assert alert(page, "edit") == texts.NO_MASK
    page.evaluate("document.querySelector('#editor .ti-size input').value = 1")
    stroke(page)
    page.wait_for_timeout(700)  # a click within 600 ms would be a double click
    run(page, "edit")
    changed = (np.asarray(result(page)) != np.asarray(open_image(tmp_path / "large.png"))).any(2)
    assert 0 < changed.mean() < 0.001


def test_each_of_several_files_keeps_mask_and_result_whatever_is_shown_meanwhile(page, tmp_path):
    for number in range(2):
        Image.effect_noise((200 + number, 160), 60).convert("RGB").save(tmp_path / f"{number}.png")
    page.set_input_files("#editor .ti-file", [tmp_path / f"{number}.png" for number in range(2)])

    def show(button: str, number: int) -> None:
        page.click(button)
        page.wait_for_function(f"{INFO}.startsWith('{200 + number} × 160') && !{INFO}.includes(', 0 %')")

    page.wait_for_function(f"{INFO}.startsWith('200 × 160')")
    stroke(page)
    page.fill("#inpaint-prompt textarea", "a woman")
    page.click("#inpaint-run")
    page.click(".ti-files button >> nth=1")  # during the run
    page.wait_for_function(f"{INFO}.startsWith('201 × 160')")
    stroke(page)
    page.wait_for_selector(".tr-history button")
    show(".tr-history button", 0)  # whose image is not that of the file
    show(".ti-files button >> nth=1", 1)
    show(".ti-files button >> nth=0", 0)
    page.wait_for_selector(".tr-bar", state="visible")
    assert result(page).width == 200


def test_a_run_restores_the_image_that_undo_brought_back(page, tmp_path):
    to_tab(page, "Colorize")
    for name, width in (("black", 90), ("white", 91)):
        Image.new("RGB", (width, 80), name).save(tmp_path / f"{name}.png")
        upload(page, "colorize", tmp_path / f"{name}.png")
    page.click("#editor [data-do=undo]")
    page.wait_for_function(f"{INFO}.startsWith('90 ')")
    page.fill("#colorize-prompt textarea", "a flower")
    run(page, "colorize")
    assert np.asarray(result(page)).max() < 9
