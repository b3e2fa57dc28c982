"""The page's actions, events, endpoints, files and settings on tiny networks, without a browser."""

import asyncio
import base64
import io
import shlex
import time
import zipfile
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from conftest import make_image
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image
from test_tasks import Denoising

import app
from docs import samples
from textir_hf.cli.main import main
from textir_hf.imaging.files import open_image, read_settings
from textir_hf.space import (
    actions,
    components,
    endpoints,
    events,
    examples,
    masks,
    networks,
    progress,
    settings,
    storage,
    tabs,
    texts,
)
from textir_hf.space.batch import batch
from textir_hf.tasks import TASKS, get_task
from textir_hf.tasks.base import DEGRADATIONS

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Gradio's own
    pytest.mark.usefixtures("tiny_networks"),
]

INPAINT, UPSCALE, COLORIZE = (get_task(n) for n in ("inpainting", "super-resolution", "colorization"))


def photo(width=48, height=40, name="photo.png", image: Image.Image | None = None) -> Path:
    path = storage.new_path(name)
    (image or make_image(width, height)).save(path)
    return path


def box(size=(48, 40)) -> Image.Image:
    mask = Image.new("L", size)
    mask.paste(255, (8, 10, 30, 24))
    return mask


PAINTED = box()


def url(mask: Image.Image) -> str:
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def painted(path=None, mask=PAINTED, regions=None) -> actions.Given:
    return actions.Given(path or photo(), None if mask is None else photo(image=mask, name="mask.png"), regions)


def guidance(prompt="a face", **changes) -> actions.Guidance:
    return actions.Guidance(prompt, **changes)


def restored(
    task=INPAINT, path=None, mask=PAINTED, checkpoint=None, arguments=None, regions=None, **changes
) -> actions.Outcome:
    given, checkpoint = painted(path, mask, regions), checkpoint or task.checkpoint
    return actions.restore(task, given, guidance(**changes), checkpoint, arguments or {})


def array(result: dict) -> np.ndarray:
    return np.asarray(open_image(result["after"]["path"]).convert("RGB"))


def fake() -> Path:
    path = storage.new_path("x.png")
    path.write_text("hello")
    return path


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


def test_a_region_that_covers_everything_is_its_sentence():
    everything = [{"mask": url(Image.new("L", (48, 40), 255)), "prompt": "a red cup"}]
    (made,) = restored(COLORIZE, mask=None, regions=everything).results
    assert (array(made) == array(restored(COLORIZE, mask=None, prompt="a red cup").results[0])).all()


def test_variants_follow_the_seed_where_noise_was_learned_and_text_strength_elsewhere():
    sweep = restored(sweep=True)
    assert sweep.sweep and [result["beta"] for result in sweep.results] == [0, 0.25, 0.5, 0.75, 1]
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
    large = photo(name="large.png", image=Image.new("RGB", (2001, 2001)))
    paths = [photo(name="a.png"), bad, photo(name="a.png"), large, photo(name="a-6.png"), photo(name="a.png")]
    archive, failed, thumbnails = batch(UPSCALE, paths, guidance(), {"scale": 2})
    with zipfile.ZipFile(archive["path"]) as file:
        assert len(thumbnails) == 4 and file.namelist() == ["a.png", "a-3.png", "a-6.png", "a-6-6.png"]
        assert open_image(file.read("a.png")).size == (96, 80)
    assert [line.split(":")[0] for line in failed] == ["bad.png", "large.png"] and "megapixels" in failed[1]
    assert batch(UPSCALE, [bad], guidance(), {"scale": 2})[0] is None


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: restored(mask=None), texts.NO_MASK),
        (lambda: masks.check(Image.new("L", (9, 9), 255), (9, 9)), texts.ALL_MASKED),
        (lambda: masks.check(Image.new("L", (9, 9)), (48, 40)), "size 48x40, got 9x9"),
        (lambda: restored(regions=[{"mask": url(box()), "prompt": " "}]), texts.NO_REGION_PROMPT.format(1)),
        (lambda: restored(regions=[{"mask": None, "prompt": "a face"}]), texts.NO_REGION.format(1)),
        (
            lambda: restored(regions=[{"mask": url(box()), "prompt": "a face", "beta": 3}]),
            "beta must lie in 0..2, got 3",
        ),
        (lambda: restored(regions=[{"mask": url(box())}] * 7), texts.BAD_MASK),
        (lambda: masks.decode("data:image/png;base64,aGVsbG8=", (9, 9)), "The mask is not an image of a known format"),
        (lambda: guidance("  "), texts.NO_PROMPT),
        (lambda: guidance("a" * 2000), "has 2000 characters. The limit is 500"),
        (lambda: guidance(beta=float("nan")), "beta must be a number, got nan"),
        (lambda: restored(checkpoint=UPSCALE.checkpoint), "one of textir-mini-inpainting, got"),
        (lambda: restored(arguments={"scale": 4}), "scale cannot be used to inpaint"),
        (lambda: restored(arguments={"faces": "auto"}), "faces cannot be used with this checkpoint"),
        (lambda: restored(UPSCALE, photo(400, 400), arguments={"scale": 64}), "655 megapixels. The limit here is 16"),
        (
            lambda: actions.edit("sound", painted(mask=None), guidance(), 4),
            "one of mask_image, factor, colors, got 'sound'",
        ),
        (lambda: actions.edit("factor", painted(mask=None), guidance(), 400), "must lie in 2..64, got 400"),
        (lambda: batch(COLORIZE, [], guidance(), {}), "1 to 50 images; this one has 0"),
        (lambda: storage.given_file(None, texts.NO_IMAGE), texts.NO_IMAGE),
        (lambda: storage.given_file({"path": "/etc/passwd"}, texts.NO_IMAGE), "The file is not there"),
        (lambda: settings.read({"prompt": "a"}), texts.NO_SETTINGS),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(call, match):
    with pytest.raises(ValueError) as caught:
        call()
    assert match in str(caught.value) and str(storage.folder()) not in str(caught.value)


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

    closed, stopped = progress.watched(work, 0.05), progress.watched(work, 0.05)
    assert next(closed).total == next(stopped).total == 1000
    closed.close()
    progress.stop_all()
    with pytest.raises(progress.Stopped):
        list(stopped)
    time.sleep(0.1)
    count = len(done)
    time.sleep(0.1)
    assert len(done) == count < 200


def last(stream) -> tuple:
    return list(stream)[-1]


def test_an_event_gives_a_result_or_a_sentence():
    made = {"results": [{}], "columns": 0, "grid": None, "sweep": False, "notes": ["Note."]}
    value, said, _ = last(events.streamed(lambda: actions.Outcome([{}], ["Note."]), events.shown)())
    assert value | {"number": 0} == made | {"number": 0} and "Done in 1 s. Note." in said

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


def test_the_last_word_of_a_cancelled_run_gives_way_and_another_runs_result_does_not():
    assert events.settled(components.status("Tile 1 of 4", 0.2)) == components.status(texts.CANCELLED)
    for shown in (components.status("Done."), components.status("Wrong.", alert=True), "", None):
        assert events.settled(shown) == gr.skip()


async def build_page() -> gr.Blocks:
    """Within a loop, or Gradio would leave some of its own unclosed."""
    return app.build()


def test_a_fourth_task_gets_a_tab_and_an_endpoint(monkeypatch):
    networks.offered.cache_clear()
    monkeypatch.setattr(Denoising, "checkpoint", "textir-mini-denoising")
    monkeypatch.setitem(TASKS, "denoising", Denoising())
    monkeypatch.setattr(tabs, "about", lambda: "")
    try:
        page = asyncio.run(build_page())
    finally:
        networks.offered.cache_clear()
    labels = [b.label for b in page.blocks.values() if isinstance(b, gr.Tab)]
    assert labels == ["Inpaint", "Upscale", "Colorize", "Denoise", "Edit", "Compare", "Batch", "About"]
    assert "denoise" in [f.api_name for f in page.fns.values()]


def test_old_files_are_deleted_and_the_page_keeps_its_own():
    path, kept = photo(), Path(examples.EXAMPLES[0].shown["after"]["path"])
    storage.remove_old(time.time() + storage.KEEP_SECONDS - 5)
    assert path.is_file()
    storage.remove_old(time.time() + storage.KEEP_SECONDS + 5)
    assert not path.exists() and not path.parent.exists() and kept.is_file()


def test_operators_offer_checkpoints_of_their_own_and_a_wrong_one_is_named(monkeypatch, pipeline):
    made = pipeline("colorization")

    def load(name):
        if name != "me/colors":
            raise ValueError("There is none.")
        return made

    monkeypatch.setattr(networks, "_loaded", load)
    try:
        for names, match in (("/no/thing", "expected one of"), ("me/colors me/none", "There is none")):
            monkeypatch.setenv("TEXTIR_CHECKPOINTS", names)
            networks.offered.cache_clear()
            with pytest.raises(ValueError, match=f"TEXTIR_CHECKPOINTS names {names.split()[-1]}: {match}"):
                networks.offered()
        monkeypatch.setenv("TEXTIR_CHECKPOINTS", "me/colors")
        assert networks.offered()["colorization"] == ["textir-mini-colorization", "me/colors"]
        assert networks.load("me/colors").task.name == "colorization"
    finally:
        networks.offered.cache_clear()


def test_a_look_at_a_file_reads_what_browsers_cannot_and_finds_faces_with_their_parts(tmp_path):
    assert "not an image" in events.look([str(fake()), True])["error"]
    assert "error" in events.look(["/etc/passwd", True])
    tiff = photo(name="photo.tiff")
    assert open_image(events.look([str(tiff), True])["path"]).format in (None, "PNG")
    assert events.look([str(tiff), False])["faces"] == []
    (face,) = events.look([examples.EXAMPLES[0].shown["before"]["path"], False])["faces"]
    eyes, mouth = face["parts"]["Eyes"], face["parts"]["Mouth"]
    assert eyes[3] < mouth[3] and all(0 <= v <= 256 for v in (*eyes, *mouth))


def test_the_editors_smaller_mask_of_a_large_image_is_enlarged_and_another_size_is_refused():
    size, share = (3000, 2000), (4 / 6) ** 0.5
    small = Image.new("L", (round(3000 * share), round(2000 * share)))
    small.paste(255, (0, 0, small.width // 2, small.height))
    mask = masks.decode(url(small), size)
    assert mask.size == size and abs(np.asarray(mask).mean() / 255 - 0.5) < 0.01
    with pytest.raises(ValueError, match="3000x2000"):
        masks.decode(url(Image.new("L", (300, 200))), size)


def test_examples_match_their_inputs():
    for example in examples.EXAMPLES:
        image = open_image(example.input)
        drawn = np.asarray(samples.draw_input(example).convert("RGB")).astype(int)
        assert np.abs(drawn - image).max() <= 1  # another machine may round a drawn one otherwise
        stored = read_settings(open_image(example.output))
        assert stored["prompt"] == example.prompt and stored["model"] == TASKS[example.task].checkpoint


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("update"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9) | st.just("__type__"), inner),
    max_leaves=6,
)

NAMES = st.sampled_from(["task", "edit", "prompt", *settings.RANGES, "version", "box", "model", "__type__"])


@hypothesis_settings(deadline=None, max_examples=50)
@given(stored=st.dictionaries(NAMES, ANYTHING), task=st.sampled_from(list(TASKS)))
def test_only_typed_and_bounded_settings_reach_the_fields(stored, task):
    """Whatever a PNG or a link holds, the fields get text and numbers in their range, or the visitor a sentence."""
    for source in (stored, stored | {"task": task}):
        try:
            known = settings.read(source)
        except ValueError:
            continue
        assert known.pop("tab") in {"edit", *(t.command for t in TASKS.values())}
        assert isinstance(known.pop("prompt"), str) and known.pop("degradation", "colors") in DEGRADATIONS
        assert known.pop("faces", "auto") in settings.FACES
        assert known.pop("background", "restored") in settings.BACKGROUNDS
        for name, value in known.items():
            low, high, *_ = settings.RANGES[name]
            assert not isinstance(value, bool) and low <= value <= high


def test_settings_of_a_result_come_back_and_so_do_those_of_a_link():
    stored = read_settings(open_image(restored(seed=9, beta=0.5).results[0]["after"]["path"]))
    expected = {"tab": "inpaint", "prompt": "a face", "seed": 9, "beta": 0.5, "feather": 0, "faces": "none"}
    assert settings.read(stored) == expected
    query = {"task": "super-resolution", "prompt": "a face", "edit": "factor", "factor": "8", "other": "x"}
    expected = {"tab": "edit", "prompt": "a face", "degradation": "factor", "factor": 8, "faces": "none"}
    assert settings.from_query(query) == expected
    assert settings.from_query({"__theme": "dark"}) == {}
    query = {"task": "super-resolution", "faces": "auto"}
    assert settings.from_query(query)["background"] == "enlarged"
    assert settings.from_query(query | {"background": "restored"})["background"] == "restored"
    for bad in ("x", "[8]", "1e999", "true"):
        with pytest.raises(ValueError, match="factor must be a"):
            settings.from_query(query | {"factor": bad})


@pytest.mark.parametrize("kind", ["inpaint", "upscale", "colorize", *DEGRADATIONS])
def test_the_code_beside_a_result_makes_it_again(kind, monkeypatch, tmp_path):
    """Program and command give the same image bit for bit."""
    changes = {"beta": 0.5, "seed": 7, "skip_strength": 0.25}
    regions = [{"mask": url(box()), "prompt": "a red cup"}]
    if kind in DEGRADATIONS:
        (result,) = actions.edit(kind, painted(regions=regions), guidance(**changes), 4).results
    else:
        task = next(t for t in TASKS.values() if t.command == kind)
        arguments = {"inpaint": {"feather": 3}, "upscale": {"scale": 2}}.get(kind)
        (result,) = restored(task, arguments=arguments, regions=regions, **changes).results
    box().save(tmp_path / "region-1.png")
    make_image(48, 40).save(tmp_path / "image.png")
    box().save(tmp_path / "mask.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("textir_hf.TextIRPipeline.from_pretrained", lambda name, **kwargs: networks.load(name))
    exec(result["python"], {})
    assert (np.asarray(Image.open("result.png")) == array(result)).all()
    Path("result.png").unlink()
    name, *words = shlex.split(result["command"])
    assert name == "textir" and main(words) == 0
    assert (np.asarray(Image.open("result.png")) == array(result)).all()
