"""What the page's buttons do, without a browser."""

import json

import gradio as gr
import numpy as np
import pytest
from conftest import picture
from PIL import Image

from textir_hf.imaging.files import SETTINGS, save_image
from textir_hf.space import actions, examples, masks, texts

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Gradio's own


@pytest.fixture(autouse=True)
def _tiny(pipeline, monkeypatch):
    """The embedded names load tiny networks."""
    made = {}

    def tiny(name):
        return made.setdefault(name, pipeline(name.removeprefix("textir-mini-"), sample_size=32))

    monkeypatch.setattr(actions, "_loaded", tiny)


def editor(mask: np.ndarray | None = None, size=(48, 40), **changes) -> dict:
    image = picture(*size).convert("RGBA")
    layers = [] if mask is None else [masks.as_layer(mask)]
    return {"background": image, "layers": layers, "composite": image} | changes


def box(size=(48, 40)) -> np.ndarray:
    mask = np.zeros(size[::-1], bool)
    mask[10:24, 8:30] = True
    return mask


def saved(tmp_path, image: Image.Image, name="photo.png") -> str:
    image.save(tmp_path / name)
    return str(tmp_path / name)


def test_fill_changes_what_is_painted_and_nothing_else():
    (before, after), gallery = actions.fill(editor(box()), "a face", seed=3)
    original, made = np.asarray(picture(48, 40)), np.asarray(gallery[0][0].convert("RGB"))
    assert (made[~box()] == original[~box()]).all() and (made[box()] != original[box()]).any()
    assert (np.asarray(after) == made).all() and (np.asarray(before) == original).all()
    settings = json.loads(gallery[0][0].info[SETTINGS])
    assert settings["seed"] == 3 and settings["prompt"] == "a face" and gallery[0][1] == "seed 3"
    again = actions.fill(editor(box()), "a face", seed=3)[1][0][0]
    assert (np.asarray(again) == np.asarray(gallery[0][0])).all()


def test_masks_of_layers_files_and_tools_are_joined(tmp_path):
    first, second = box(), np.roll(box(), 12, 0)
    layers = [masks.as_layer(first), masks.as_layer(second)]
    layers[0] = Image.merge("RGBA", [Image.new("L", (48, 40), 77)] * 3 + [layers[0].getchannel("A")])  # any color
    _, mask = actions.read_editor(editor(layers=layers), None, False, 0)
    assert (mask == (first | second)).all()
    file = saved(tmp_path, Image.fromarray(second))
    assert (actions.read_editor(editor(first), file, False, 0)[1] == (first | second)).all()
    assert (actions.read_editor(editor(first), None, True, 0)[1] == ~first).all()
    grown = actions.read_editor(editor(first), None, False, 2)[1]
    assert grown[8, 20] and not grown[7, 20] and (grown[first]).all()
    shrunk = actions.read_editor(editor(first), None, False, -2)[1]
    assert shrunk[12, 20] and not shrunk[11, 20]
    shown = np.asarray(actions.show_mask(editor(first), None, False, 0))
    assert (shown == first).all()


def no_picture(tmp_path) -> str:
    (tmp_path / "x.png").write_text("hello")
    return str(tmp_path / "x.png")


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda t: actions.fill(None, "a face"), texts.NO_IMAGE),
        (lambda t: actions.fill(editor(), "a face"), texts.NO_MASK),
        (lambda t: actions.fill(editor(np.ones((40, 48), bool)), "a face"), texts.ALL_MASKED),
        (lambda t: actions.fill(editor(box()), "  "), texts.NO_PROMPT),
        (lambda t: actions.fill(editor(box()), "a" * 2000), "has 2000 characters. Say it in at most 500"),
        (lambda t: actions.fill(editor(box()), "a face", checkpoint="/etc"), "one of those on offer, got /etc"),
        (
            lambda t: actions.fill(editor(box()), "a face", mask_file=saved(t, picture(9, 9))),
            "picture's size 48x40, got 9x9",
        ),
        (lambda t: actions.fill(editor(box()), "a face", face=True), "No upright frontal face was found"),
        (lambda t: actions.enlarge(None, "a face"), texts.NO_IMAGE),
        (lambda t: actions.enlarge(saved(t, picture(400, 400)), "a face", scale=64), "655 megapixels. At most 16"),
        (
            lambda t: actions.color(str((t / "x.png").write_text("hello") and t / "x.png"), "a"),
            "The file is not a picture",
        ),
        (lambda t: actions.edit(editor(), "a face"), texts.NO_MASK),
        (lambda t: actions.draw_sweep(saved(t, picture()), "a\nb", "0 x", texts.DEGRADATIONS[1], 4), "got 0 x"),
        (lambda t: actions.draw_sweep(saved(t, picture()), "", "0 1", texts.DEGRADATIONS[1], 4), texts.NO_PROMPT),
        (
            lambda t: actions.draw_sweep(saved(t, picture()), "a\nb\nc\nd\ne", "0 1 2 3 4", texts.DEGRADATIONS[1], 4),
            "at most 24 pictures, this one would have 25",
        ),
        (lambda t: actions.mask_part(editor(), "Mouth"), "No upright frontal face was found. Paint"),
        (lambda t: actions.settings_of(saved(t, picture())), texts.NO_SETTINGS),
        (lambda t: actions.chosen_path([], 0), texts.NO_RESULT),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(call, match, tmp_path):
    with pytest.raises(gr.Error) as caught:
        call(tmp_path)
    assert match in caught.value.message and str(tmp_path) not in caught.value.message


def test_enlarge_color_edit_and_sweep_work_on_files(tmp_path):
    path = saved(tmp_path, picture(24, 20))
    (before, after), _ = actions.enlarge(path, "a face 🙂", scale=3)
    assert after.size == before.size == (72, 60)
    (before, after), _ = actions.color(path, "a red flower")
    assert np.ptp(np.asarray(before), 2).max() == 0 and np.ptp(np.asarray(after), 2).max() > 0
    original = np.asarray(picture(48, 40))
    for degradation in texts.DEGRADATIONS:
        _, gallery = actions.edit(editor(box()), "a face", degradation, 4)
        made = np.asarray(gallery[0][0].convert("RGB"))
        assert (made[~box()] == original[~box()]).all() and (made[box()] != original[box()]).any(), degradation
    grid = actions.draw_sweep(path, "a face\na red flower", "0 1", texts.DEGRADATIONS[2], 4)
    assert grid.width > 3 * 160


def test_variants_follow_the_seed_where_noise_was_learnt(monkeypatch):
    pipe = actions._loaded("textir-mini-inpainting")
    _, gallery = actions.fill(editor(box()), "a face", variants=3)
    assert len(gallery) == 1  # nothing learnt: one result
    for name, value in pipe.restorer.named_parameters():
        if "noise" in name:
            value.data.fill_(0.5)
    _, gallery = actions.fill(editor(box()), "a face", seed=5, variants=3)
    assert [caption for _, caption in gallery] == ["seed 5", "seed 6", "seed 7"]
    assert (np.asarray(gallery[0][0]) != np.asarray(gallery[1][0])).any()
    alone = actions.fill(editor(box()), "a face", seed=6)[1][0][0]
    assert (np.asarray(alone) == np.asarray(gallery[1][0])).all()


def test_transparency_and_size_go_through_the_editor():
    image = picture(48, 40).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((48, 40)).point(lambda v: max(v, 1)))
    _, gallery = actions.fill(editor(box(), background=image), "a face")
    assert gallery[0][0].mode == "RGBA" and gallery[0][0].size == (48, 40)
    assert (np.asarray(gallery[0][0])[..., 3] == np.asarray(image)[..., 3]).all()


def test_examples_have_a_picture_a_mask_and_a_sentence():
    for label in examples.FILL:
        value, prompt = actions.fill_example(label)
        mask = masks.painted(value["layers"], value["background"].size)
        assert 0.05 < mask.mean() < 0.7 and prompt in str(examples.FILL)
    eyes, mouth = (masks.face_part(examples.portrait(), part) for part in ("Eyes", "Mouth"))
    assert np.nonzero(eyes)[0].mean() < np.nonzero(mouth)[0].mean()
    for label in examples.ENLARGE:
        image, _, scale = actions.enlarge_example(label)
        assert image.width * scale == 256
    for label in examples.COLOR:
        assert np.ptp(np.asarray(actions.color_example(label)[0]), 2).max() == 0


def test_boxes_are_added_to_what_is_painted():
    value, _ = actions.fill_example("A smile")
    more = actions.mask_part({**value, "background": value["background"].convert("RGBA")}, "Eyes")
    before, after = (masks.painted(v["layers"], (256, 256)) for v in (value, more))
    assert after[before].all() and after.sum() > before.sum()


def test_results_are_remembered_newest_first_and_bounded():
    download, history, chosen = actions.remember([("a.png", "seed 1"), ("b.png", "seed 2")], [("c.png", "")] * 20)
    assert download == "a.png" and chosen == 0 and len(history) == actions.KEPT
    assert [path for path, _ in history[:3]] == ["a.png", "b.png", "c.png"]


def test_settings_come_back_from_a_png(tmp_path):
    _, gallery = actions.fill(editor(box()), "a face", seed=9, beta=0.5)
    image = gallery[0][0]
    image.info[SETTINGS] = json.loads(image.info[SETTINGS])
    save_image(image, tmp_path / "made.png")
    settings = actions.settings_of(str(tmp_path / "made.png"))
    assert settings["seed"] == 9 and settings["beta"] == 0.5 and settings["task"] == "inpainting"


def test_operators_offer_checkpoints_of_their_own(monkeypatch, pipeline):
    monkeypatch.setenv("TEXTIR_CHECKPOINTS", "me/colorization")
    monkeypatch.setattr(actions, "_loaded", lambda name: pipeline("colorization"))
    actions.offered.cache_clear()
    try:
        assert actions.offered()["colorization"] == ["textir-mini-colorization", "me/colorization"]
        assert actions.load("me/colorization").restorer.config.task == "colorization"
    finally:
        actions.offered.cache_clear()


def test_about_has_every_card():
    said = actions.about()
    assert all(f"# {name}" in said or name in said for name in actions.embedded_checkpoints()) and "![" not in said
