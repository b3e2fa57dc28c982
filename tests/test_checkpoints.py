"""Bad checkpoints: each is refused by name, and none runs code, hangs, or works wrongly in silence."""

import json
import random
import shutil
import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import WORDS, make_image, make_mask, tiny_generator
from safetensors.torch import load_file, save_file
from transformers import BertTokenizerFast

from textir_hf import TextIRGenerator, TextIRPipeline, TextRecentering
from textir_hf.hub.publish import check_folder
from textir_hf.models.embedding import load_encoder
from textir_hf.models.weights import check_finite, check_loading
from textir_hf.pipeline.folder import COMPONENTS
from textir_hf.pipeline.loading import CheckpointError

CARD = "---\nlibrary_name: diffusers\npipeline_tag: image-to-image\ntags:\n- textir\n---\n# A network\n"
RESTORER = "restorer/diffusion_pytorch_model.safetensors"
EVIL = "raise SystemExit('code of a checkpoint ran')\n"


@pytest.fixture(scope="module")
def sound(encoder, openai_encoder, tmp_path_factory):
    """Sound checkpoints with their own encoder: `MiniCLIPModel` and `CLIPModel`."""
    folders = {}
    for kind, (clip, *others) in {"own": encoder, "clip": openai_encoder}.items():
        folders[kind] = tmp_path_factory.mktemp("sound") / kind
        pipe = TextIRPipeline(tiny_generator("inpainting"), deepcopy(clip), *others, TextRecentering(32))
        pipe.save_pretrained(folders[kind])
        (folders[kind] / "README.md").write_text(CARD)
    return folders


@pytest.fixture
def folder(sound, tmp_path):
    return Path(shutil.copytree(sound["own"], tmp_path / "folder"))


@pytest.fixture(params=["own", "clip"])
def either(request, sound, tmp_path):
    return Path(shutil.copytree(sound[request.param], tmp_path / "folder"))


def edit(path: Path, **changes) -> None:
    """Changes keys of a JSON file; "a.b" is in an object, None removes."""
    content = json.loads(path.read_text())
    for key, value in changes.items():
        *outer, last = key.split(".")
        place = content
        for name in outer:
            place = place[name]
        place[last] = value
    path.write_text(json.dumps(content))


def weights(path: Path, change) -> None:
    state = load_file(path)
    change(state)
    save_file(state, path, metadata={"format": "pt"})


def refused(folder: Path, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^The checkpoint .* cannot be loaded: .*({message})"):
        TextIRPipeline.from_pretrained(folder)


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
    refused(folder, "newer version of textir_hf: its index names 'extra'")
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


BOUNDS = [
    *[
        (name, value)
        for name in ("sample_size", "in_channels", "embedding_dim", "style_dim")
        for value in (0, 10**9, 1.5)
    ],
    *[("channels", value) for value in ([], [8] * 40, [8, 10**7], "8", 8, [8, None], [8.5], [-1])],
    *[("strength_hidden", value) for value in (10**6, -1, True, "64", None)],
    *[("input_scale", value) for value in (0, float("nan"), float("inf"), "1")],
    ("strength_source", "evil"),
    ("strength_source", 3),
    ("signed_fusion", "no"),
    *[("face_template", value) for value in (3, [1, 2], [[0, 0]] * 3, [[0, 0, 0]] * 4, [[0, 1e9]] * 4, [["a", 0]] * 4)],
]


@pytest.mark.parametrize(("name", "value"), BOUNDS)
def test_sizes_of_a_network_are_typed_and_bounded(name, value):
    with pytest.raises(ValueError, match=name.split("_")[0]):
        tiny_generator(**{name: value})


@pytest.mark.parametrize(("name", "value"), [("embedding_dim", 10**9), ("embedding_dim", "512"), ("scale", -1)])
def test_sizes_of_a_recentering_are_typed_and_bounded(name, value):
    with pytest.raises(ValueError, match=name):
        TextRecentering(**{name: value})


@pytest.mark.parametrize("value", [10**6, 10**9, 10**18, 0, -1, 1.5, "64", True])
@pytest.mark.parametrize("name", ["hidden_size", "num_hidden_layers", "max_position_embeddings", "num_attention_heads"])
def test_sizes_of_an_encoder_are_typed_and_bounded(either, name, value):
    edit(either / "clip" / "config.json", **{f"text_config.{name}": value})
    refused(either, f"{name} must")


@pytest.mark.parametrize(
    ("kind", "place", "value"),
    [
        ("own", "image_size", 10**7),
        ("own", "projection_dim", 10**9),
        ("own", "num_queries", 10**6),
        ("own", "num_heads", 0),
        ("clip", "projection_dim", 10**9),
        ("clip", "vision_config.image_size", 10**7),
        ("clip", "vision_config.num_hidden_layers", 10**6),
        ("clip", "vision_config.patch_size", 0),
    ],
)
def test_sizes_of_an_image_tower_are_bounded(sound, tmp_path, kind, place, value):
    folder = Path(shutil.copytree(sound[kind], tmp_path / "folder"))
    edit(folder / "clip" / "config.json", **{place: value})
    refused(folder, f"{place.split('.')[-1]} must lie in")


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "null", "[" * 100_000, "\xff"], ids=range(7))
@pytest.mark.parametrize("file", ["model_index.json", "restorer/config.json", "clip/config.json"])
def test_configs_that_are_none_are_refused(folder, file, content):
    (folder / file).write_text(content, encoding="latin-1")
    refused(folder, "")


def test_a_missing_or_foreign_tokenizer_is_refused(either):
    text = json.loads((either / "clip" / "config.json").read_text())["text_config"]
    edit(either / "tokenizer" / "tokenizer_config.json", model_max_length=1.5)
    refused(either, r"allows 1\.5 tokens")
    edit(either / "tokenizer" / "tokenizer_config.json", model_max_length=10**6)
    refused(either, rf"allows 1000000 tokens, and its text tower {text['max_position_embeddings']}")
    for path in (either / "tokenizer").iterdir():
        if path.name != "tokenizer_config.json":
            path.unlink()
    refused(either, "tokenizer has no tokenizer: no tokenizer.json")


def test_a_tokenizer_of_other_words_is_refused(folder, tmp_path):
    words = tmp_path / "vocab.txt"
    for vocabulary, message in ((WORDS[:5], "has 5 words, and its text tower 13"), ([*WORDS, "x"], "has 14 words")):
        words.write_text("\n".join(vocabulary))
        shutil.rmtree(folder / "tokenizer")
        BertTokenizerFast(vocab=str(words), model_max_length=12).save_pretrained(folder / "tokenizer")
        refused(folder, message)


def test_an_image_processor_of_another_size_is_refused(either):
    edit(either / "image_processor" / "preprocessor_config.json", size={"shortest_edge": 10**9})
    refused(either, "image processor must give images of 32 pixels")
    edit(either / "image_processor" / "preprocessor_config.json", size={"shortest_edge": 32})
    for name, value in (("image_mean", None), ("image_mean", [0, 0, float("nan")]), ("image_std", [1, 1, 0])):
        edit(either / "image_processor" / "preprocessor_config.json", **{name: value})
        refused(either, f"{name}.* must")
        edit(either / "image_processor" / "preprocessor_config.json", **{name: [0.5, 0.5, 0.5]})
    (either / "image_processor" / "preprocessor_config.json").unlink()
    refused(either, "no file named preprocessor_config.json")


def test_channels_are_the_tasks(folder):
    edit(folder / "restorer" / "config.json", task="colorization")
    refused(folder, "in_channels must be 1 for colorization, got 4")
    edit(folder / "restorer" / "config.json", task="evil")
    refused(folder, "task must be one of")


def test_an_encoder_of_another_length_is_refused(pipeline, tmp_path):
    pipe = pipeline("inpainting")
    pipe.register_modules(restorer=tiny_generator(embedding_dim=16), recentering=None)
    pipe.save_pretrained(tmp_path / "folder")
    refused(tmp_path / "folder", "its encoder embeds to 32 numbers, and its network takes 16")


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


def test_no_value_in_a_config_raises_anything_but_one_sentence(either, tmp_path):
    rng = random.Random(20)
    values = [0, -1, 10**6, 10**9, 10**30, 1.5, float("nan"), float("inf"), None, True, "x", [], {}, [[[]]]]
    names = ("model_index.json", "restorer/config.json", "clip/config.json", "image_processor/preprocessor_config.json")
    for number in range(40):
        copy = Path(shutil.copytree(either, tmp_path / str(number)))
        path = copy / names[number % len(names)]
        content = json.loads(path.read_text())
        inner = rng.choice([content, *(v for v in content.values() if isinstance(v, dict) and v)])
        inner[rng.choice(list(inner))] = rng.choice(values)
        path.write_text(json.dumps(content))
        try:
            pipe = TextIRPipeline.from_pretrained(copy)
        except CheckpointError as error:
            assert str(error).startswith(f"The checkpoint {copy} cannot be loaded: ") and str(error).endswith(".")
        else:
            pipe.set_progress_bar_config(disable=True)
            assert pipe("a red flower", make_image(), make_mask(), beta=0.5).images[0].size == make_image().size
