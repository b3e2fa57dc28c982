"""From a result to its settings and code, and from settings back to the page's fields."""

import shlex
from pathlib import Path

import numpy as np
import pytest
from conftest import make_image
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from space_actions import array, box, guidance, painted, restored, url

from textir_hf.cli.main import main
from textir_hf.imaging.files import open_image, read_settings
from textir_hf.space import (
    actions,
    networks,
)
from textir_hf.space import settings as fields
from textir_hf.tasks import TASKS
from textir_hf.tasks.base import DEGRADATIONS

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Gradio's own
    pytest.mark.usefixtures("tiny_networks"),
]

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("update"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9) | st.just("__type__"), inner),
    max_leaves=6,
)

NAMES = st.sampled_from(["task", "edit", "prompt", *fields.RANGES, "version", "box", "model", "__type__"])


@settings(deadline=None, max_examples=50)
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
        assert known.pop("background", "restored") in fields.BACKGROUNDS
        for name, value in known.items():
            low, high, *_ = fields.RANGES[name]
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
    query = {"task": "super-resolution", "faces": "auto"}
    assert fields.from_query(query)["background"] == "enlarged"
    assert fields.from_query(query | {"background": "restored"})["background"] == "restored"
    for bad in ("x", "[8]", "1e999", "true"):
        with pytest.raises(ValueError, match="factor must be a"):
            fields.from_query(query | {"factor": bad})


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
