"""The page's actions, events, endpoints, files and settings on tiny networks, without a browser."""

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

from docs import samples
from textir_hf.cli.main import main
from textir_hf.imaging.files import open_image, read_settings
from textir_hf.space import actions, endpoints, events, examples, masks, networks, settings, storage, texts
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


BOX = Image.new("L", (48, 40))
BOX.paste(255, (8, 10, 30, 24))


def url(mask: Image.Image) -> str:
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def painted(path=None, mask=BOX, regions=None) -> actions.Given:
    return actions.Given(path or photo(), None if mask is None else photo(image=mask, name="mask.png"), regions)


def guidance(prompt="a face", **changes) -> actions.Guidance:
    return actions.Guidance(prompt, **changes)


def restored(
    task=INPAINT, path=None, mask=BOX, checkpoint=None, arguments=None, regions=None, **changes
) -> actions.Outcome:
    given, checkpoint = painted(path, mask, regions), checkpoint or task.checkpoint
    return actions.restore(task, given, guidance(**changes), checkpoint, arguments or {})


def array(result: dict) -> np.ndarray:
    return np.asarray(open_image(result["after"]["path"]).convert("RGB"))


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


@pytest.mark.parametrize("beta", [0, 0.2, 1.9, 2])
def test_each_of_four_variants_has_settings_that_come_back(beta):
    stored = [result["recipe"] for result in restored(variants=4, beta=beta).results]
    assert len({settings.read(one)["beta"] for one in stored}) == 4


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
        (lambda: restored(regions=[{"mask": url(BOX), "prompt": " "}]), texts.NO_REGION_PROMPT.format(1)),
        (
            lambda: restored(regions=[{"mask": url(BOX), "prompt": "a face", "beta": 3}]),
            "beta must lie in 0..2, got 3",
        ),
        (lambda: restored(regions=[{"mask": url(BOX)}] * 7), texts.BAD_MASK),
        (lambda: masks.decode("data:image/png;base64,aGVsbG8=", (9, 9)), "The mask is not an image of a known format"),
        (lambda: guidance("a" * 2000), "has 2000 characters. The limit is 500"),
        (lambda: restored(checkpoint=UPSCALE.checkpoint), "one of textir-mini-inpainting, got"),
        (lambda: restored(arguments={"scale": 4}), "scale cannot be used to inpaint"),
        (lambda: restored(UPSCALE, photo(400, 400), arguments={"scale": 64}), "655 megapixels. The limit here is 16"),
        (lambda: batch(COLORIZE, [], guidance(), {}), "1 to 50 images; this one has 0"),
        (lambda: storage.given_file({"path": "/etc/passwd"}, texts.NO_IMAGE), "The file is not there"),
        (lambda: settings.read({"prompt": "a"}), texts.NO_SETTINGS),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(call, match):
    with pytest.raises(ValueError) as caught:
        call()
    assert match in str(caught.value) and str(storage.folder()) not in str(caught.value)


def test_an_event_that_fails_gives_a_sentence():
    def refuse():
        raise ValueError("<b>no</b>")

    *_, (_, said, _) = events.streamed(refuse, events.shown)()
    assert 'role="alert"' in said and "&lt;b&gt;no" in said

    def fail():
        raise RuntimeError("a stray one")

    with pytest.raises(gr.Error, match="failed on the server"):
        list(events.streamed(fail, events.shown)())
    with pytest.raises(gr.Error, match="failed on the server"):
        endpoints.one_sentence(fail)()
    with pytest.raises(gr.Error, match="no"):
        endpoints.one_sentence(refuse)()


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
        assert settings.read({"task": "colorization", "model": "colors"})["checkpoint"] == "me/colors"
    finally:
        networks.offered.cache_clear()


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
        assert known.pop("faces", "auto") in settings.FACES and known.pop("checkpoint", None) is None
        assert known.pop("background", "restored") in settings.BACKGROUNDS
        assert known.pop("automatic") is ("skip_strength" not in known)  # whatever the field held
        for name, value in known.items():
            low, high, *_ = settings.RANGES[name]
            assert not isinstance(value, bool) and low <= value <= high


def test_settings_of_a_result_come_back_and_so_do_those_of_a_link():
    stored = read_settings(open_image(restored(seed=9, beta=0.5).results[0]["after"]["path"]))
    expected = {"tab": "inpaint", "prompt": "a face", "seed": 9, "beta": 0.5, "feather": 0, "faces": "none"}
    expected |= {"automatic": True, "checkpoint": INPAINT.checkpoint}  # the network decides on skip_strength again
    assert settings.read(stored) == expected
    query = {"task": "super-resolution", "faces": "auto"}
    for more, found in ({}, "enlarged"), ({"background": "restored"}, "restored"):
        assert settings.from_query(query | more)["background"] == found
    for bad in ("x", "[8]", "1e999", "true"):
        with pytest.raises(ValueError, match="factor must be a"):
            settings.from_query(query | {"factor": bad})


@pytest.mark.parametrize("faces", ["auto", [2], [1, 3]])
def test_a_link_holds_what_a_png_does(faces):
    stored = {"task": "super-resolution", "prompt": "a face", "beta": 0.0, "scale": 4.0, "seed": 0, "faces": faces}
    stored |= {"background": "restored"}
    told = {n: ",".join(map(str, value)) if isinstance(value, list) else str(value) for n, value in stored.items()}
    assert settings.from_query(told) == settings.read(stored)


@pytest.mark.parametrize("words", [{"prompt": "a face", "beta": 0.5}, {"prompt": "", "beta": 0}], ids=str)
@pytest.mark.parametrize("kind", ["inpaint", "upscale", "colorize", *DEGRADATIONS])
def test_the_code_beside_a_result_makes_it_again(kind, words, monkeypatch, tmp_path):
    """Program and command give the same image bit for bit."""
    changes = words | {"seed": 7, "skip_strength": 0.25}
    regions = [{"mask": url(BOX), "prompt": "a red cup"}]
    if kind in DEGRADATIONS:
        (result,) = actions.edit(kind, painted(regions=regions), guidance(**changes), 4).results
    else:
        task = next(t for t in TASKS.values() if t.command == kind)
        arguments = {"inpaint": {"feather": 3}, "upscale": {"scale": 2}}.get(kind)
        (result,) = restored(task, arguments=arguments, regions=regions, **changes).results
    if kind in ("inpaint", *DEGRADATIONS):
        outside = np.asarray(BOX) == 0
        assert (array(result)[outside] == np.asarray(make_image(48, 40))[outside]).all()
    BOX.save(tmp_path / "region-1.png")
    make_image(48, 40).save(tmp_path / "image.png")
    BOX.save(tmp_path / "mask.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("textir_hf.TextIRPipeline.from_pretrained", lambda name, **kwargs: networks.load(name))
    exec(result["python"], {})
    assert (np.asarray(Image.open("result.png")) == array(result)).all()
    Path("result.png").unlink()
    name, *words = shlex.split(result["command"])
    assert name == "textir" and main(words) == 0
    assert (np.asarray(Image.open("result.png")) == array(result)).all()
