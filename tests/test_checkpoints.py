"""Bad checkpoints: each is refused in one sentence, and none runs code, hangs, or works wrongly in silence."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from conftest import WORDS, make_image, make_mask, tiny_generator
from safetensors.torch import load_file, save_file
from transformers import BertTokenizerFast

from textir_hf import TextIRGenerator, TextIRPipeline, TextRecentering
from textir_hf.models.embedding import load_encoder
from textir_hf.pipeline.loading import COMPONENTS

RESTORER = "restorer/diffusion_pytorch_model.safetensors"
EVIL = "raise SystemExit('code of a checkpoint ran')\n"
CLIP, PROCESSOR = "clip/config.json", "image_processor/preprocessor_config.json"


@pytest.fixture
def folder(sound, tmp_path):
    return Path(shutil.copytree(sound["own"], tmp_path / "folder"))


@pytest.fixture(params=["own", "clip"])
def either(request, sound, tmp_path):
    return Path(shutil.copytree(sound[request.param], tmp_path / "folder"))


def edit(path: Path, **changes) -> None:
    """Changes keys of a JSON file; "a.b" is in an object."""
    content = json.loads(path.read_text())
    for key, value in changes.items():
        *outer, last = key.split(".")
        place = content
        for name in outer:
            place = place[name]
        place[last] = value
    path.write_text(json.dumps(content))


def edit_weights(path: Path, change) -> None:
    state = load_file(path)
    change(state)
    save_file(state, path, metadata={"format": "pt"})


def refused(folder: Path, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^The checkpoint .* cannot be loaded: .*({message})"):
        TextIRPipeline.from_pretrained(folder)


def test_no_module_that_a_file_names_is_imported(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "evil.py").write_text(EVIL)
    sound = (folder / "model_index.json").read_text()
    for name in COMPONENTS:
        for entry in (["evil", "TextIRGenerator"], ["folder.evil", "X"], "evil"):
            edit(folder / "model_index.json", **{name: entry})
            refused(folder, f"{name}.*pip install -U")
        (folder / "model_index.json").write_text(sound)
    edit(folder / "model_index.json", extra=["evil", "X"])
    refused(folder, "extra")
    assert "evil" not in sys.modules


@pytest.mark.parametrize("place", ["textir_hf.py", "restorer/textir_hf.py", "clip/adapter_config.json"])
def test_files_and_options_that_only_code_or_pickles_need_are_refused(folder, place):
    for option in ({"custom_pipeline": "x"}, {"trust_remote_code": True}, {"use_safetensors": False}):
        with pytest.raises(ValueError, match=next(iter(option))):
            TextIRPipeline.from_pretrained(folder, **option)
    (folder / place).write_text(EVIL)
    refused(folder, Path(place).name)


@pytest.mark.parametrize("key", ["auto_map", "_attn_implementation"])
def test_configs_that_name_code_are_refused(either, key):
    edit(either / CLIP, **{key: {"AutoConfig": "evil.Config"}})
    refused(either, key)
    with pytest.raises(ValueError, match=key):
        load_encoder(either / "clip")


VALUES = [
    ("model_index.json", "_class_name", ["evil", "TextIRPipeline"]),
    ("model_index.json", "prompt_templates", ["{}"] * 10**5),
    ("model_index.json", "encoder", ["a", "b"]),
    ("restorer/config.json", "task", "evil"),
    *[("clip/config.json", "model_type", "bert"), ("recentering/config.json", "scale", -1)],
    *[("clip/config.json", "text_config.hidden_size", value) for value in (10**18, 0, "64")],
    *[("clip/config.json", name, 10**9) for name in ("image_size", "text_config.num_hidden_layers")],
    *[(PROCESSOR, "image_mean", None), (PROCESSOR, "image_std", [1, 1, 0]), (PROCESSOR, "size", {"height": 8})],
    ("tokenizer/tokenizer_config.json", "model_max_length", 10**6),
]


@pytest.mark.parametrize(("file", "key", "value"), VALUES)
def test_values_that_do_not_fit_are_refused_by_name(folder, file, key, value):
    edit(folder / file, **{key: value})
    name = {"_class_name": "it is a", "model_type": "its type", "model_max_length": "tokens"}.get(key, key)
    refused(folder, name.split(".")[-1])


NETWORK = [
    *[("sample_size", 0), ("in_channels", 10**9), ("style_dim", 1.5), ("skip_strength_hidden", None)],
    *[("channels", value) for value in ([], [8] * 40, [8, 10**7], "8", [8, None], [8.5])],
    *[("input_scale", 0), ("input_scale", float("nan")), ("skip_strength_source", "evil"), ("signed_fusion", "no")],
    *[("face_template", value) for value in (3, [[0, 0]] * 3)],
]


@pytest.mark.parametrize(("name", "value"), NETWORK)
def test_sizes_of_a_network_are_typed_and_bounded(name, value):
    with pytest.raises(ValueError, match=name):
        tiny_generator(**{name: value})


WEIGHTS = [
    ("restorer", lambda s: s.pop(next(iter(s))), "missing"),
    ("recentering", lambda s: s.update(extra=torch.zeros(3)), "unexpected"),
    ("restorer", lambda s: s.update({next(iter(s)): torch.zeros(3, 3, 3, 3, 3)}), "shape|mismatch"),
    ("clip", lambda s: s.pop(next(iter(s))), "missing"),
    ("clip", lambda s: s.update(extra=torch.zeros(3)), "unexpected"),
    ("clip", lambda s: s.update({next(iter(s)): torch.zeros(3, 3, 3, 3, 3)}), "shape|mismatch"),
]


@pytest.mark.parametrize(("component", "change", "message"), WEIGHTS)
def test_weights_that_do_not_fit_are_refused(folder, component, change, message):
    edit_weights(next((folder / component).glob("*.safetensors")), change)
    refused(folder, message)
    if component != "clip":
        own = {"restorer": TextIRGenerator, "recentering": TextRecentering}[component]
        with pytest.raises((ValueError, RuntimeError), match=message):
            own.from_pretrained(folder / component)


@pytest.mark.parametrize("component", ["restorer", "clip"])
def test_pickles_are_not_loaded(either, component):
    path = next((either / component).glob("*.safetensors"))
    torch.save(load_file(path), path.with_name("pytorch_model.bin" if component == "clip" else path.stem + ".bin"))
    path.unlink()
    refused(either, "pickles are not loaded")


def test_an_encoder_that_is_named_is_checked_too(pipeline, encoder, tmp_path):
    for part in encoder:
        part.save_pretrained(tmp_path / "encoder")
    pipe = pipeline("inpainting")
    own = TextIRPipeline(pipe.restorer, None, None, None, pipe.recentering, encoder=str(tmp_path / "encoder"))
    own.save_pretrained(tmp_path / "named")
    assert TextIRPipeline.from_pretrained(tmp_path / "named").clip is not None
    edit_weights(tmp_path / "encoder" / "model.safetensors", lambda state: state.update(extra=torch.zeros(3)))
    refused(tmp_path / "named", "unexpected")
    edit(tmp_path / "encoder" / "config.json", text_config=[1])
    refused(tmp_path / "named", "text_config")


def test_weights_that_lead_to_no_number_give_no_image(folder):
    edit_weights(folder / RESTORER, lambda s: [value.fill_(1e30) for value in s.values()])
    pipe = TextIRPipeline.from_pretrained(folder)
    with pytest.raises(ValueError, match="NaN or infinite"):
        pipe("a red flower", make_image(), make_mask())


@pytest.mark.parametrize(
    ("file", "message"),
    [("model_index.json", ""), ("restorer/config.json", ""), ("clip/config.json", "")]
    + [(name, "damaged .* force_download=True") for name in (RESTORER, "clip/model.safetensors")],
)
def test_files_that_are_cut_or_something_else_are_refused(folder, file, message):
    for content in ((folder / file).read_bytes()[:-10], b"", b"[]", b"\xff" * 100):
        (folder / file).write_bytes(content)
        refused(folder, message)


def test_a_missing_or_foreign_tokenizer_is_refused(folder, tmp_path):
    words = tmp_path / "vocab.txt"
    for vocabulary, message in ((WORDS[:5], "has 5 words"), ([*WORDS, "x"], "has 14 words")):
        words.write_text("\n".join(vocabulary))
        shutil.rmtree(folder / "tokenizer")
        BertTokenizerFast(vocab=str(words), model_max_length=12).save_pretrained(folder / "tokenizer")
        refused(folder, message)
    shutil.rmtree(folder / "tokenizer")
    refused(folder, "")


def test_an_encoder_of_another_length_and_a_network_of_another_task_are_refused(pipeline, folder, tmp_path):
    pipe = pipeline("inpainting")
    pipe.register_modules(restorer=tiny_generator(embedding_dim=16), recentering=None)
    pipe.save_pretrained(tmp_path / "other")
    refused(tmp_path / "other", "32 numbers, and its network takes 16")
    edit(folder / "restorer" / "config.json", task="colorization")
    refused(folder, "in_channels must be 1 for colorization, got 4")
