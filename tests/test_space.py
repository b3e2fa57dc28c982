"""What the page does, without a browser."""

import asyncio
import base64
import inspect
import io
import json
import os
import time
import zipfile

import gradio as gr
import numpy as np
import pytest
from conftest import make_image
from gradio import FileData
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import app
from textir_hf.imaging.files import SETTINGS, open_image, read_settings
from textir_hf.space import (
    actions,
    components,
    endpoints,
    events,
    examples,
    masks,
    networks,
    progress,
    storage,
    tabs,
    texts,
)
from textir_hf.space import settings as fields
from textir_hf.space.batch import batch
from textir_hf.tasks import TASKS, Colorization, get_task
from textir_hf.tasks.base import DEGRADATIONS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Gradio's own
INPAINT, UPSCALE, COLORIZE = (get_task(n) for n in ("inpainting", "super-resolution", "colorization"))


@pytest.fixture(autouse=True)
def _tiny(pipeline, monkeypatch):
    """The embedded names load tiny networks."""
    made = {}

    def tiny(name):
        if name not in made:
            made[name] = pipeline(name.removeprefix("textir-mini-"), sample_size=32)
            made[name].register_to_config(_name_or_path=name)
            made[name].progress_bar = progress.bar
        return made[name]

    monkeypatch.setattr(networks, "_loaded", tiny)
    networks.READY.set()


def photo(width=48, height=40, name="photo.png", image: Image.Image | None = None) -> storage.Path:
    path = storage.new_path(name)
    (image or make_image(width, height)).save(path)
    return path


def box(size=(48, 40)) -> Image.Image:
    mask = Image.new("L", size)
    mask.paste(255, (8, 10, 30, 24))
    return mask


def url(mask: Image.Image) -> str:
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def painted(size):
    return masks.check(box(size), size)


def unpainted(size):
    return None


def guidance(prompt="a face", **changes) -> actions.Guidance:
    return actions.Guidance(prompt, **changes)


def restored(task=INPAINT, path=None, mask=painted, checkpoint=None, arguments=None, **changes) -> actions.Outcome:
    arguments = {} if arguments is None else arguments
    return actions.restore(task, path or photo(), mask, guidance(**changes), checkpoint or task.checkpoint, arguments)


def array(result: dict) -> np.ndarray:
    return np.asarray(open_image(result["after"]["path"]).convert("RGB"))


def test_inpainting_changes_what_is_masked_and_nothing_else():
    (result,) = restored(seed=3).results
    original, made, mask = np.asarray(make_image(48, 40)), array(result), np.asarray(box()) > 0
    assert (made[~mask] == original[~mask]).all() and (made[mask] != original[mask]).any()
    stored = read_settings(open_image(result["after"]["path"]))
    assert stored["seed"] == 3 and stored["prompt"] == "a face" and result["caption"] == "seed 3"
    assert (array(restored(seed=3).results[0]) == made).all()


def test_the_other_tasks_work_on_files():
    (result,) = restored(UPSCALE, photo(24, 20), unpainted, arguments={"scale": 3, "faces": "none"}).results
    assert (result["width"], result["height"]) == (72, 60) and result["settings"]["scale"] == "3"
    (result,) = restored(COLORIZE, mask=unpainted).results
    with Image.open(result["before"]["path"]) as before:
        assert before.mode == "L" and np.ptp(array(result), 2).max() > 0


@pytest.mark.parametrize("degradation", DEGRADATIONS)
def test_edits_stay_within_their_region(degradation):
    (result,) = actions.edit(degradation, photo(), painted, guidance(), 4).results
    original, mask = np.asarray(make_image(48, 40)), np.asarray(box()) > 0
    assert (array(result)[~mask] == original[~mask]).all() and (array(result)[mask] != original[mask]).any()


def test_compare_makes_a_row_for_each_sentence_and_a_cell_for_each_strength():
    outcome = actions.compare("colors", photo(), unpainted, ["a face", "a red flower"], [0, 0.5, 1], 0, 8)
    assert len(outcome.results) == 6 and outcome.columns == 3
    assert (
        outcome.results[4]["settings"]["prompt"] == "a red flower" and outcome.results[4]["settings"]["beta"] == "0.5"
    )
    assert open_image(outcome.grid["path"]).width > 4 * 256


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
    ]
    archive, failed = batch(UPSCALE, paths, guidance(), {"scale": 2})
    with zipfile.ZipFile(archive["path"]) as file:
        assert file.namelist() == ["a.png", "a-3.png"]
        assert open_image(file.read("a.png")).size == (96, 80)
    assert [line.split(":")[0] for line in failed] == ["bad.png", "large.png"] and "megapixels" in failed[1]
    assert batch(UPSCALE, [bad], guidance(), {"scale": 2})[0] is None


@pytest.mark.filterwarnings("ignore:The text has")
def test_a_long_sentence_is_noted():
    assert "only its first" in restored(prompt="a face " * 30).notes[0] and not restored().notes


def fake() -> storage.Path:
    path = storage.new_path("x.png")
    path.write_text("hello")
    return path


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: restored(mask=unpainted), texts.NO_MASK),
        (lambda: restored(mask=lambda size: Image.new("L", size)), texts.NO_MASK),
        (lambda: masks.check(Image.new("L", (9, 9), 255), (9, 9)), texts.ALL_MASKED),
        (lambda: masks.check(Image.new("L", (9, 9)), (48, 40)), "size 48x40, got 9x9"),
        (lambda: masks.decode("x.png", (9, 9)), texts.BAD_MASK),
        (lambda: masks.decode({"path": "x"}, (9, 9)), texts.BAD_MASK),
        (lambda: masks.decode("data:image/png;base64,???", (9, 9)), texts.BAD_MASK),
        (lambda: masks.decode("data:image/png;base64,aGVsbG8=", (9, 9)), "The mask is no image of a known format"),
        (lambda: masks.face_part(make_image(48, 40), "Mouth"), texts.NO_FACE),
        (lambda: masks.face_part(make_image(48, 40), "Ear"), "The part must be one of"),
        (lambda: guidance("  "), texts.NO_PROMPT),
        (lambda: guidance("a" * 2000), "has 2000 characters. Say it in at most 500"),
        (lambda: guidance(5), "prompt must be a text, got int"),
        (lambda: guidance(beta="1"), "beta must be a number"),
        (lambda: guidance(beta=float("nan")), "beta must be a finite number, got nan"),
        (lambda: guidance(seed=0.5), "seed must be a whole number"),
        (lambda: guidance(strength=2), "strength must lie in 0..1, got 2"),
        (lambda: restored(checkpoint="/etc"), "one of textir-mini-inpainting, got '/etc'"),
        (lambda: restored(checkpoint=UPSCALE.checkpoint), "one of textir-mini-inpainting, got"),
        (lambda: restored(arguments={"scale": 4}), "scale cannot be used to inpaint"),
        (lambda: restored(arguments={"faces": "face"}), "one of auto, largest, none, got 'face'"),
        (lambda: restored(arguments={"faces": "auto"}), "faces cannot be used with this checkpoint"),
        (lambda: restored(UPSCALE, mask=unpainted, arguments={"scale": None}), "scale must be a number"),
        (lambda: restored(UPSCALE, photo(400, 400), arguments={"scale": 64}), "655 megapixels. At most 16"),
        (lambda: restored(COLORIZE, fake()), "The image is no image of a known format"),
        (
            lambda: actions.edit("sound", photo(), unpainted, guidance(), 4),
            "one of region, factor, colors, got 'sound'",
        ),
        (lambda: actions.edit("region", photo(), unpainted, guidance(), 4), texts.NO_MASK),
        (lambda: actions.edit("factor", photo(), unpainted, guidance(), 400), "must lie in 2..64, got 400"),
        (lambda: actions.compare("colors", photo(), unpainted, ["a"] * 5, [0] * 5, 0, 8), "would have 25"),
        (lambda: actions.compare("colors", photo(), unpainted, ["a", ""], [1], 0, 8), texts.NO_PROMPT),
        (lambda: batch(COLORIZE, [], guidance(), {}), "1 to 50 images, this one has 0"),
        (lambda: storage.given_file(None, texts.NO_IMAGE), texts.NO_IMAGE),
        (lambda: storage.given_file({"path": "/etc/passwd"}, texts.NO_IMAGE), "The file is not there"),
        (lambda: storage.given_file({"path": "a\0b"}, texts.NO_IMAGE), "The file is not there"),
        (lambda: storage.given_file({"path": "http://127.0.0.1/x.png"}, texts.NO_IMAGE), "The file is not there"),
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


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("update"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9) | st.just("__type__"), inner),
    max_leaves=6,
)
NAMES = st.sampled_from(["task", "edit", "prompt", *fields.RANGES, "version", "box", "model", "__type__"])


@settings(deadline=None, max_examples=100)
@given(stored=st.dictionaries(NAMES, ANYTHING), task=st.sampled_from(list(TASKS)))
def test_only_typed_and_bounded_settings_reach_the_fields(stored, task):
    """Whatever a PNG or a link holds, the fields get text and numbers in their range, or the visitor a sentence."""
    for source in (stored, stored | {"task": task}):
        try:
            known = fields.read(source)
        except ValueError:
            continue
        assert known.pop("tab") in {"edit", *(t.command for t in TASKS.values())}
        assert isinstance(known.pop("prompt"), str) and known.pop("degradation", "colors") in DEGRADATIONS
        assert known.pop("faces", "auto") in fields.FACES
        for name, value in known.items():
            low, high = fields.RANGES[name]
            assert not isinstance(value, bool) and low <= value <= high


def test_settings_of_a_result_come_back_and_so_do_those_of_a_link():
    stored = read_settings(open_image(restored(seed=9, beta=0.5).results[0]["after"]["path"]))
    assert fields.read(stored) == {
        "tab": "inpaint",
        "prompt": "a face",
        "seed": 9,
        "beta": 0.5,
        "feather": 0,
        "faces": "none",
    }
    query = {"task": "super-resolution", "prompt": "a face", "edit": "factor", "factor": "8", "other": "x"}
    assert fields.from_query(query) == {
        "tab": "edit",
        "prompt": "a face",
        "degradation": "factor",
        "factor": 8,
        "faces": "none",
    }
    assert fields.from_query({"__theme": "dark"}) == {}
    for bad in ("x", "[8]", "1e999", "true"):
        with pytest.raises(ValueError, match="factor must be a"):
            fields.from_query(query | {"factor": bad})


@pytest.mark.parametrize("kind", ["inpaint", "upscale", "colorize", *DEGRADATIONS])
def test_the_code_beside_a_result_makes_it_again(kind, monkeypatch, tmp_path):
    """Every argument but the defaults stands in it."""
    changes = {"beta": 0.5, "seed": 7, "strength": 0.25}
    if kind in DEGRADATIONS:
        (result,) = actions.edit(kind, photo(), painted, guidance(**changes), 4).results
    else:
        task = next(t for t in TASKS.values() if t.command == kind)
        arguments = {"inpaint": {"feather": 3}, "upscale": {"scale": 2}}.get(kind)
        (result,) = restored(task, arguments=arguments, **changes).results
    make_image(48, 40).save(tmp_path / "image.png")
    box().save(tmp_path / "mask.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("textir_hf.TextIRPipeline.from_pretrained", networks.load)
    exec(result["python"], {})
    assert (np.asarray(Image.open("result.png")) == array(result)).all()
    command = result["command"].split()
    assert command[:3] == ["textir", "edit" if kind in DEGRADATIONS else kind, "image.png"]
    for flag, value in (("--beta", "0.5"), ("--seed", "7"), ("--strength", "0.25")):
        assert command[command.index(flag) + 1] == value


def test_progress_counts_images_and_tiles_and_estimates(monkeypatch):
    at = progress.Progress()
    assert at.message() == "Working" and at.share() == 0
    at.next_image(1, 4)
    at.total = 10
    at.update(5)
    monkeypatch.setattr(at, "_begun", time.monotonic() - 30)
    assert at.share() == pytest.approx(0.375) and at.message() == "Image 2 of 4, tile 6 of 10, about 50 s left"
    at.next_image(0, 1)
    at.total = 1
    assert at.message() == "Working"


def test_closing_a_run_stops_it_at_the_next_tile():
    done = []

    def work():
        with progress.bar(total=1000) as bar:
            for i in range(1000):
                time.sleep(0.01)
                bar.update()
                done.append(i)

    run = progress.watched(work, 0.05)
    assert next(run).total == 1000
    run.close()
    time.sleep(0.1)
    count = len(done)
    time.sleep(0.1)
    assert len(done) == count < 100
    run = progress.watched(work, 0.05)
    next(run)
    progress.stop_all()
    with pytest.raises(progress.Stopped):
        list(run)


def last(stream) -> tuple:
    return list(stream)[-1]


def test_an_event_gives_a_result_or_a_sentence():
    made = {"results": [{}], "columns": 0, "grid": None}
    value, said, _ = last(events.streamed(lambda: actions.Outcome([{}], ["Note."]), events.shown)())
    assert value | {"number": 0} == made | {"number": 0} and "Done in 0.0 s. Note." in said

    def refuse():
        raise ValueError("<b>no</b>")

    _, said, _ = last(events.streamed(refuse, events.shown)())
    assert 'role="alert"' in said and "&lt;b&gt;no" in said

    def fail():
        raise RuntimeError("a stray one")

    with pytest.raises(gr.Error, match="failed on the server"):
        list(events.streamed(fail, events.shown)())
    with pytest.raises(gr.Error, match="failed on the server"):
        endpoints.one_sentence(fail)()
    with pytest.raises(gr.Error, match="no"):
        endpoints.one_sentence(refuse)()


def test_the_status_has_one_bar_and_no_markup_of_others():
    assert components.status("<i>") == "<p>&lt;i&gt;</p>" and components.status() == ""
    assert components.status("Tile 1 of 2", 0.5).count("<progress") == 1


def test_endpoints_say_what_their_task_takes():
    signatures = {t.command: inspect.signature(endpoints.for_task(t)) for t in TASKS.values()}
    assert list(signatures["inpaint"].parameters)[:3] == ["image", "mask_image", "prompt"]
    assert "scale" in signatures["upscale"].parameters and "scale" not in signatures["colorize"].parameters
    assert signatures["upscale"].parameters["image"].annotation is FileData
    for task in TASKS.values():
        text = endpoints.for_task(task).__doc__
        assert all(f"    {name}: " in text for name in signatures[task.command].parameters)


def test_endpoints_restore_edit_and_compare():
    image, mask = {"path": str(photo())}, {"path": str(photo(image=box()))}
    (made,) = endpoints.for_task(INPAINT)(image, mask, "a face", faces="none", seed=2)
    assert read_settings(open_image(made["path"]))["seed"] == 2
    (made,) = endpoints.for_edit()(image, "a face", "region", mask, faces="none")
    assert read_settings(open_image(made["path"]))["edit"] == "region"
    assert open_image(endpoints.for_compare()(image, ["a face"], [1.0], "colors")["path"]).width > 512


class Denoising(Colorization):
    name = "denoising"
    command = "denoise"
    summary = "take noise away"
    checkpoint = "textir-mini-denoising"


async def build_page() -> gr.Blocks:
    """Within a loop, or Gradio would leave some of its own unclosed."""
    return app.build()


def test_a_fourth_task_gets_a_tab_and_an_endpoint(monkeypatch):
    networks.offered.cache_clear()
    monkeypatch.setitem(TASKS, "denoising", Denoising())
    monkeypatch.setattr(app, "about", lambda: "")
    try:
        page = asyncio.run(build_page())
    finally:
        networks.offered.cache_clear()
    labels = [b.label for b in page.blocks.values() if isinstance(b, gr.Tab)]
    assert labels == ["Inpaint", "Upscale", "Colorize", "Denoise", "Edit", "Compare", "Batch", "About"]
    assert "denoise" in [f.api_name for f in page.fns.values()]


def test_old_files_are_deleted_and_the_page_keeps_its_own():
    path, kept = photo(), storage.Path(examples.EXAMPLES[0].shown["after"]["path"])
    storage.remove_old(time.time() + storage.KEEP_SECONDS - 5)
    assert path.is_file()
    storage.remove_old(time.time() + storage.KEEP_SECONDS + 5)
    assert not path.exists() and not path.parent.exists() and kept.is_file()


def test_folders_of_servers_that_ended_are_removed(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    for name in ("textir-space-999999999", "textir-space-x", f"textir-space-{os.getppid()}", "other"):
        (tmp_path / name).mkdir()
    folder = storage.open_folder()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([folder.name, f"textir-space-{os.getppid()}", "other"])
    assert storage.folder() == folder and folder.stat().st_mode & 0o077 == 0


def test_operators_offer_checkpoints_of_their_own(monkeypatch, pipeline):
    made = pipeline("colorization")
    monkeypatch.setenv("TEXTIR_CHECKPOINTS", "me/colors")
    monkeypatch.setattr(networks, "_loaded", lambda name: made)
    networks.offered.cache_clear()
    try:
        assert networks.offered()["colorization"] == ["textir-mini-colorization", "me/colors"]
        assert networks.load("me/colors").task.name == "colorization"
    finally:
        networks.offered.cache_clear()


def test_a_wrong_checkpoint_of_the_operator_is_named(monkeypatch):
    def missing(name):
        raise ValueError("There is none.")

    monkeypatch.setattr(networks, "_loaded", missing)
    networks.offered.cache_clear()
    try:
        for name, match in (("/no/thing", "expected one of"), ("me/colors", "There is none")):
            monkeypatch.setenv("TEXTIR_CHECKPOINTS", name)
            with pytest.raises(ValueError, match=f"TEXTIR_CHECKPOINTS names {name}: {match}"):
                networks.offered()
    finally:
        networks.offered.cache_clear()


def test_about_has_every_card_without_its_images():
    text = tabs.about()
    assert all(t.checkpoint in text for t in TASKS.values()) and "![" not in text


def test_examples_match_their_inputs():
    for example in examples.EXAMPLES:
        image = open_image(example.input)
        assert (np.asarray(examples.draw_input(example).convert("RGB")) == np.asarray(image)).all()
        stored = read_settings(open_image(example.output))
        assert stored["prompt"] == example.prompt and stored["model"] == TASKS[example.task].checkpoint


def test_json_of_a_result_goes_to_the_browser():
    json.dumps(restored().results, allow_nan=False)
    assert SETTINGS not in restored().results[0]
