"""Bad checkpoints: each is refused by name, and none runs code, hangs, or works wrongly in silence."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_files import edit, refused, weights
from conftest import make_image, make_mask
from safetensors.torch import load_file

from textir_hf import TextIRGenerator, TextIRPipeline, TextRecentering
from textir_hf.hub.publish import check_folder
from textir_hf.models.embedding import load_encoder
from textir_hf.models.weights import check_finite, check_loading
from textir_hf.pipeline.folder import COMPONENTS

RESTORER = "restorer/diffusion_pytorch_model.safetensors"
EVIL = "raise SystemExit('code of a checkpoint ran')\n"


@pytest.fixture
def folder(sound, tmp_path):
    return Path(shutil.copytree(sound["own"], tmp_path / "folder"))


@pytest.fixture(params=["own", "clip"])
def either(request, sound, tmp_path):
    return Path(shutil.copytree(sound[request.param], tmp_path / "folder"))


def test_a_sound_folder_is_loaded(either):
    assert TextIRPipeline.from_pretrained(either).clip is not None
    index = json.loads((either / "model_index.json").read_text())
    assert all(tuple(index[name]) in allowed for name, allowed in COMPONENTS.items())


def test_no_module_that_a_file_names_is_imported(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "evil.py").write_text(EVIL)
    for name in COMPONENTS:
        sound = (folder / "model_index.json").read_text()
        for entry in (["evil", "TextIRGenerator"], ["folder.evil", "X"], ["os", "system"], ["evil"], "evil", [1, None]):
            edit(folder / "model_index.json", **{name: entry})
            refused(folder, f"its {name} is .* not known.*pip install -U")
        (folder / "model_index.json").write_text(sound)
    edit(folder / "model_index.json", extra=["evil", "X"])
    refused(folder, r"newer version of textir_hf \(its index names 'extra'\)")
    assert "evil" not in sys.modules


@pytest.mark.parametrize("place", ["textir_hf.py", "restorer/textir_hf.py", "clip/transformers.py", "pipeline.py"])
def test_python_beside_weights_is_refused(folder, place):
    (folder / place).write_text(EVIL)
    refused(folder, f"holds Python code, {Path(place).name}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_class_name": ["evil", "TextIRPipeline"]}, "it is a .*evil"),
        ({"_class_name": "StableDiffusionPipeline"}, "it is a StableDiffusionPipeline, expected TextIRPipeline"),
        ({"prompt_templates": [1]}, "prompt_templates must be a list of 1 to 1000 sentences"),
        ({"prompt_templates": ["{}"] * 10**5}, "prompt_templates must be a list of 1 to 1000 sentences"),
        ({"encoder": ["a", "b"]}, "encoder must be a name"),
        ({"restorer": [None, None]}, "its restorer is"),
    ],
)
def test_other_indexes_are_refused(folder, changes, message):
    edit(folder / "model_index.json", **changes)
    refused(folder, message)


@pytest.mark.parametrize("option", [{"custom_pipeline": "x"}, {"trust_remote_code": True}, {"use_flashpack": True}])
def test_options_that_ask_for_code_or_pickles_are_refused(folder, option):
    with pytest.raises(ValueError, match=f"{next(iter(option))} is not supported"):
        TextIRPipeline.from_pretrained(folder, **option)
    with pytest.raises(ValueError, match="use_safetensors cannot be off"):
        TextIRPipeline.from_pretrained(folder, use_safetensors=False)


@pytest.mark.parametrize("key", ["auto_map", "attn_implementation", "_attn_implementation", "quantization_config"])
def test_configs_that_name_code_are_refused(either, key):
    edit(either / "clip" / "config.json", **{key: {"AutoConfig": "evil.Config"}})
    refused(either, f"its config has '{key}', which can name code")
    edit(either / "clip" / "config.json", **{key: None})
    with pytest.raises(ValueError, match="can name code"):
        load_encoder(either / "clip")
    edit(either / "restorer" / "config.json", quantization_config={"quant_method": "evil"})
    shutil.rmtree(either / "clip")
    edit(either / "model_index.json", clip=[None, None], tokenizer=[None, None], image_processor=[None, None])
    refused(either, "its config has 'quantization_config'")


def test_code_of_a_tokenizer_and_adapters_are_refused(folder):
    edit(folder / "tokenizer" / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", None]})
    refused(folder, "'auto_map', which names code to run")
    (folder / "clip" / "adapter_config.json").write_text("{}")
    refused(folder, "has an adapter")


WEIGHTS = [
    (lambda s: s.pop(next(iter(s))), r"lacks 1 of its \d+ weights"),
    (lambda s: s.update(extra=torch.zeros(3)), "holds the weight extra"),
    (lambda s: s.update({next(iter(s)): torch.zeros(3, 3, 3, 3, 3)}), r"must have the shape .*\[3, 3, 3, 3, 3\]"),
    (lambda s: s.update({k: (100 * v).to(torch.int32) for k, v in s.items()}), "must have one of the types .* got I32"),
    (lambda s: s.update({k: v.to(torch.float8_e4m3fn) for k, v in s.items()}), "one of the types .* got F8"),
    (lambda s: next(iter(s.values())).view(-1)[:1].fill_(float("nan")), "NaN or infinite"),
    (lambda s: list(s.values())[-1].view(-1)[-1:].fill_(float("-inf")), "NaN or infinite"),
]


@pytest.mark.parametrize(("change", "message"), WEIGHTS)
@pytest.mark.parametrize("component", ["restorer", "recentering", "clip"])
def test_weights_that_do_not_fit_are_refused_by_name(either, component, change, message):
    path = next((either / component).glob("*.safetensors"))
    weights(path, change)
    refused(either, message)
    with pytest.raises(ValueError, match=message):
        check_folder(either)
    if component != "clip":
        own = {"restorer": TextIRGenerator, "recentering": TextRecentering}[component]
        with pytest.raises(ValueError, match=message):
            own.from_pretrained(either / component)


def test_a_file_that_is_cut_is_damaged(folder):
    for component in ("restorer", "clip"):
        path = next((folder / component).glob("*.safetensors"))
        for content in (path.read_bytes()[:-10], path.read_bytes()[:4], b"", b"\xff" * 100, b"\xff" * 7 + b"\0" * 93):
            path.write_bytes(content)
            refused(folder, r"a file is damaged .* force_download=True")


@pytest.mark.parametrize("component", ["restorer", "clip"])
def test_an_index_names_safetensors_beside_it_alone(either, component):
    path = next((either / component).glob("*.safetensors"))
    index = path.with_suffix(".safetensors.index.json")
    names = list(load_file(path))
    for other in ("pytorch_model.bin", "../evil.safetensors", "/evil.safetensors", "evil.safetensors.py", 7):
        path.with_name("moved").write_bytes(path.read_bytes()) if path.exists() else None
        path.unlink(missing_ok=True)
        index.write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, other)}))
        refused(either, f"{index.name} names .*, which is no safetensors file beside it")
    index.write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, "gone.safetensors")}))
    refused(either, "names gone.safetensors, which is missing")
    for content in ([], {}, {"weight_map": {}}, {"weight_map": 3}):
        index.write_text(json.dumps(content))
        refused(either, "has no weight_map")
    path.with_name("moved").rename(path)
    refused(either, f"has both {path.name} and {index.name}")


@pytest.mark.parametrize("component", ["restorer", "clip"])
def test_pickles_are_not_loaded(either, component):
    path = next((either / component).glob("*.safetensors"))
    torch.save(load_file(path), path.with_name("pytorch_model.bin" if component == "clip" else path.stem + ".bin"))
    path.unlink()
    refused(either, "no safetensors weights; pickles are not loaded")
    if component == "clip":
        for part in ("tokenizer", "image_processor"):
            shutil.copytree(either / part, either / "clip", dirs_exist_ok=True)
        with pytest.raises(ValueError, match=r"dual encoder .* has no file named model\.safetensors"):
            load_encoder(either / "clip")


def test_an_encoder_that_is_named_is_checked_too(pipeline, encoder, tmp_path):
    for part in encoder:
        part.save_pretrained(tmp_path / "encoder")
    pipe = pipeline("inpainting")
    own = TextIRPipeline(pipe.restorer, None, None, None, pipe.recentering, encoder=str(tmp_path / "encoder"))
    own.save_pretrained(tmp_path / "named")
    assert TextIRPipeline.from_pretrained(tmp_path / "named").clip is not None
    for change, message in WEIGHTS:
        sound = (tmp_path / "encoder" / "model.safetensors").read_bytes()
        weights(tmp_path / "encoder" / "model.safetensors", change)
        refused(tmp_path / "named", message)
        (tmp_path / "encoder" / "model.safetensors").write_bytes(sound)
    edit(tmp_path / "encoder" / "config.json", model_type="bert")
    refused(tmp_path / "named", "its type is bert, expected clip")
    edit(tmp_path / "encoder" / "config.json", model_type="textir_mini_clip", text_config=[1])
    refused(tmp_path / "named", "text_config.* must be objects")


def test_weights_that_lead_to_no_number_give_no_image(folder):
    weights(folder / RESTORER, lambda s: [value.fill_(1e30) for value in s.values()])
    pipe = TextIRPipeline.from_pretrained(folder)
    with pytest.raises(ValueError, match=r"output in torch\.float32 is NaN or infinite"):
        pipe("a red flower", make_image(), make_mask())
    with pytest.raises(ValueError, match="NaN or infinite"):
        check_folder(folder)


def test_two_loads_restore_the_same_image(folder):
    results = []
    for _ in range(2):
        pipe = TextIRPipeline.from_pretrained(folder)
        pipe.set_progress_bar_config(disable=True)
        results.append(np.asarray(pipe("a red flower", make_image(), make_mask()).images[0]))
    assert np.array_equal(*results)


def test_what_loaders_report_is_refused():
    check_loading({"missing_keys": [], "unexpected_keys": ["x"], "mismatched_keys": []}, "it")
    with pytest.raises(ValueError, match="it has 2 missing weights, such as a"):
        check_loading({"missing_keys": {"b", "a"}}, "it")
    with pytest.raises(ValueError, match="it has 1 mismatched weights"):
        check_loading({"mismatched_keys": [("a", (1,), (2,))]}, "it")
    network = torch.nn.BatchNorm1d(2, device="meta")
    check_finite(network, "it")  # nothing is there
