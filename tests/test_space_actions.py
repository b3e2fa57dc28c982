"""What the page's actions make of files, sentences and numbers."""

import zipfile

import numpy as np
import pytest
from conftest import make_image
from PIL import Image
from space_actions import COLORIZE, INPAINT, UPSCALE, array, box, fake, guidance, painted, photo, restored, url

from textir_hf.imaging.files import open_image, read_settings
from textir_hf.space import (
    actions,
    masks,
    networks,
    results,
    storage,
    tabs,
    texts,
)
from textir_hf.space import settings as fields
from textir_hf.space.batch import batch
from textir_hf.tasks.base import DEGRADATIONS

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Gradio's own
    pytest.mark.usefixtures("tiny_networks"),
]


def test_inpainting_changes_what_is_masked_and_nothing_else():
    (result,) = restored(seed=3).results
    original, made, mask = np.asarray(make_image(48, 40)), array(result), np.asarray(box()) > 0
    assert (made[~mask] == original[~mask]).all() and (made[mask] != original[mask]).any()
    stored = read_settings(open_image(result["after"]["path"]))
    assert stored["seed"] == 3 and stored["prompt"] == "a face" and result["caption"] == "seed 3"
    assert (array(restored(seed=3).results[0]) == made).all()


def test_the_other_tasks_work_on_files():
    (result,) = restored(UPSCALE, photo(24, 20), None, arguments={"scale": 3, "faces": "none"}).results
    assert (result["width"], result["height"]) == (72, 60) and result["settings"]["scale"] == "3"
    (result,) = restored(COLORIZE, mask=None).results
    with Image.open(result["before"]["path"]) as before:
        assert before.mode == "L" and np.ptp(array(result), 2).max() > 0


@pytest.mark.parametrize("background", ["restored", "enlarged"])
@pytest.mark.parametrize("faces", ["auto", [2.0], "none"])
def test_what_lies_around_faces_is_restored_or_enlarged(faces, background):
    checked = actions.check_arguments(UPSCALE, {"scale": 2, "faces": faces, "background": background})
    expected = {"scale": 2} | ({} if faces == "none" else {"faces": faces if faces == "auto" else (2,)})
    if faces != "none" and background == "restored":
        expected["background"] = "restored"
    assert checked == expected
    stored = checked | {"model": "textir-mini-super-resolution", "task": UPSCALE.name, "prompt": "a face"}
    code, command = results.python_code(stored), results.shell_command(stored)
    assert ("background='restored'" in code) == ("--background restored" in command) == ("background" in expected)


@pytest.mark.parametrize("degradation", DEGRADATIONS)
def test_edits_stay_within_their_region(degradation):
    (result,) = actions.edit(degradation, painted(), guidance(), 4).results
    original, mask = np.asarray(make_image(48, 40)), np.asarray(box()) > 0
    assert (array(result)[~mask] == original[~mask]).all() and (array(result)[mask] != original[mask]).any()


def test_compare_makes_a_row_for_each_sentence_and_a_cell_for_each_strength():
    outcome = actions.compare("colors", painted(mask=None), ["a face", "a red flower"], [0, 0.5, 1], 0, 8)
    assert len(outcome.results) == 6 and outcome.columns == 3
    assert (
        outcome.results[4]["settings"]["prompt"] == "a red flower" and outcome.results[4]["settings"]["beta"] == "0.5"
    )
    assert open_image(outcome.grid["path"]).width > 4 * 256


def test_a_sweep_goes_from_the_image_to_the_text():
    made = restored(mask=box(), sweep=True)
    assert made.sweep and [result["beta"] for result in made.results] == [0, 0.25, 0.5, 0.75, 1]


def test_a_region_that_covers_everything_is_its_sentence():
    everything = [{"mask": url(Image.new("L", (48, 40), 255)), "prompt": "a red cup"}]
    (made,) = restored(COLORIZE, mask=None, regions=everything).results
    assert (array(made) == array(restored(COLORIZE, mask=None, prompt="a red cup").results[0])).all()


def test_variants_follow_the_seed_where_noise_was_learned_and_text_strength_elsewhere():
    by_strength = restored(variants=4).results
    assert [r["caption"] for r in by_strength] == [texts.STRENGTH_CAPTION.format(b) for b in (1, 0.7, 1.3, 1.6)]
    for name, value in networks.load(INPAINT.checkpoint).restorer.named_parameters():
        if "noise" in name:
            value.data.fill_(0.5)
    by_seed = restored(seed=5, variants=3).results
    assert [r["caption"] for r in by_seed] == ["seed 5", "seed 6", "seed 7"]
    assert (array(by_seed[0]) != array(by_seed[1])).any()
    assert (array(restored(seed=6).results[0]) == array(by_seed[1])).all()


def test_a_batch_does_the_good_files_and_names_the_bad():
    bad = storage.new_path("bad.png")
    bad.write_text("hello")
    paths = [
        photo(name="a.png"),
        bad,
        photo(name="a.png"),
        photo(name="large.png", image=Image.new("RGB", (2001, 2001))),
        photo(name="a-6.png"),
        photo(name="a.png"),
    ]
    archive, failed, thumbnails = batch(UPSCALE, paths, guidance(), {"scale": 2})
    with zipfile.ZipFile(archive["path"]) as file:
        assert len(thumbnails) == 4 and file.namelist() == ["a.png", "a-3.png", "a-6.png", "a-6-6.png"]
        assert open_image(file.read("a.png")).size == (96, 80)
    assert [line.split(":")[0] for line in failed] == ["bad.png", "large.png"] and "megapixels" in failed[1]
    assert batch(UPSCALE, [bad], guidance(), {"scale": 2})[0] is None


@pytest.mark.filterwarnings("ignore:The text has")
def test_a_long_sentence_is_noted():
    assert "only its first" in restored(prompt="a face " * 30).notes[0] and not restored().notes


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: restored(mask=None), texts.NO_MASK),
        (lambda: restored(mask=Image.new("L", (48, 40))), texts.NO_MASK),
        (lambda: masks.check(Image.new("L", (9, 9), 255), (9, 9)), texts.ALL_MASKED),
        (lambda: masks.check(Image.new("L", (9, 9)), (48, 40)), "size 48x40, got 9x9"),
        (lambda: restored(regions=[{"mask": url(box()), "prompt": " "}]), texts.NO_REGION_PROMPT.format(1)),
        (lambda: restored(regions=[{"mask": None, "prompt": "a face"}]), texts.NO_REGION.format(1)),
        (
            lambda: restored(regions=[{"mask": url(box()), "prompt": "a face", "beta": 3}]),
            "beta must lie in 0..2, got 3",
        ),
        (lambda: restored(regions=[{"mask": url(box())}] * 7), texts.BAD_MASK),
        (lambda: masks.decode({"path": "x"}, (9, 9)), texts.BAD_MASK),
        (lambda: masks.decode("data:image/png;base64,???", (9, 9)), texts.BAD_MASK),
        (lambda: masks.decode("data:image/png;base64,aGVsbG8=", (9, 9)), "The mask is not an image of a known format"),
        (lambda: guidance("  "), texts.NO_PROMPT),
        (lambda: guidance("a" * 2000), "has 2000 characters. The limit is 500"),
        (lambda: guidance(5), "prompt must be a text, got int"),
        (lambda: guidance(beta=float("nan")), "beta must be a number, got nan"),
        (lambda: guidance(skip_strength=2), "skip_strength must lie in 0..1, got 2"),
        (lambda: restored(checkpoint=UPSCALE.checkpoint), "one of textir-mini-inpainting, got"),
        (lambda: restored(arguments={"scale": 4}), "scale cannot be used to inpaint"),
        (lambda: restored(arguments={"faces": "face"}), "one of auto, largest, none, got 'face'"),
        (lambda: restored(arguments={"faces": "auto"}), "faces cannot be used with this checkpoint"),
        (lambda: restored(arguments={"background": "restored"}), "background cannot be used to inpaint"),
        (
            lambda: restored(UPSCALE, mask=None, arguments={"scale": 2, "faces": "none", "background": 5}),
            "background must be one of restored, enlarged, got '5'",
        ),
        (lambda: restored(UPSCALE, mask=None, arguments={"scale": None}), "scale must be a number"),
        (lambda: restored(UPSCALE, photo(400, 400), arguments={"scale": 64}), "655 megapixels. The limit here is 16"),
        (lambda: restored(COLORIZE, fake()), "The image is not an image of a known format"),
        (
            lambda: actions.edit("sound", painted(mask=None), guidance(), 4),
            "one of mask_image, factor, colors, got 'sound'",
        ),
        (lambda: actions.edit("mask_image", painted(mask=None), guidance(), 4), texts.NO_MASK),
        (lambda: actions.edit("factor", painted(mask=None), guidance(), 400), "must lie in 2..64, got 400"),
        (lambda: actions.compare("colors", painted(mask=None), ["a", ""], [1], 0, 8), texts.NO_PROMPT),
        (lambda: batch(COLORIZE, [], guidance(), {}), "1 to 50 images; this one has 0"),
        (lambda: storage.given_file(None, texts.NO_IMAGE), texts.NO_IMAGE),
        (lambda: storage.given_file({"path": "/etc/passwd"}, texts.NO_IMAGE), "The file is not there"),
        (lambda: storage.given_file({"path": "a\0b"}, texts.NO_IMAGE), "The file is not there"),
        (lambda: tabs._axes("a", "0 x"), "got 0 x"),
        (lambda: tabs._axes(5, "0"), "must be texts"),
        (lambda: fields.read({"prompt": "a"}), texts.NO_SETTINGS),
        (lambda: fields.read({"task": "inpainting", "edit": "sound"}), "edit must be one of"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(call, match):
    with pytest.raises(ValueError) as caught:
        call()
    assert match in str(caught.value) and str(storage.folder()) not in str(caught.value)
