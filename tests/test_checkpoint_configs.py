"""Configs of a checkpoint: every value is typed and bounded, and what belongs together fits."""

import json
import random
import re
import shutil
from pathlib import Path

import pytest
from checkpoint_files import edit, refused
from conftest import WORDS, make_image, make_mask, tiny_generator
from transformers import BertTokenizerFast

from textir_hf import TextIRPipeline, TextRecentering
from textir_hf.pipeline.loading import CheckpointError


@pytest.fixture
def folder(sound, tmp_path):
    return Path(shutil.copytree(sound["own"], tmp_path / "folder"))


@pytest.fixture(params=["own", "clip"])
def either(request, sound, tmp_path):
    return Path(shutil.copytree(sound[request.param], tmp_path / "folder"))


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


FOREIGN = "has no attribute|unhashable|subscriptable|not iterable|argument|unsupported operand|concatenate|indices"


@pytest.mark.parametrize("file", ["model_index.json", "restorer/config.json", "recentering/config.json"])
def test_a_value_of_another_type_is_refused_in_plain_words(folder, file):
    """Not in Python's, which say what failed in the code and not what is wrong in the file."""
    path, number = folder / file, 0
    content = json.loads(path.read_text())
    places = [(content, key) for key in content]
    places += [(value, k) for value in content.values() if isinstance(value, list) for k in range(len(value))]
    for place, key in places:
        kept = place[key]
        for value in ([], {}, [[]], "x", 5, 1.5, True, None, "x" * 10**6)[number % 3 :: 3]:
            place[key] = value
            path.write_text(json.dumps(content))
            try:
                TextIRPipeline.from_pretrained(folder)
            except CheckpointError as error:
                assert not re.search(FOREIGN, str(error)) and len(str(error)) < 800, error
        place[key], number = kept, number + 1
    for whole in ([], [1], "x", 5, None, True, [[]]):
        path.write_text(json.dumps(whole))
        with pytest.raises(CheckpointError) as caught:
            TextIRPipeline.from_pretrained(folder)
        assert not re.search(FOREIGN, str(caught.value)), caught.value


@pytest.mark.parametrize("file", ["clip/config.json", "image_processor/preprocessor_config.json"])
def test_so_is_one_of_an_encoder(either, file):
    path, number = either / file, 0
    content = json.loads(path.read_text())
    for key in content:
        kept = content[key]
        for value in ([], {}, [[]], "x", 5, 1.5, True, None)[0 if key == "model_type" else number % 8 :: 8]:
            content[key] = value
            path.write_text(json.dumps(content))
            try:
                TextIRPipeline.from_pretrained(either)
            except CheckpointError as error:
                assert not re.search(FOREIGN, str(error)) and len(str(error)) < 800, error
        content[key], number = kept, number + 1


def test_what_is_not_known_is_said_once(folder):
    for changes in ({"restorer": ["textir_hf", "Other"]}, {"extra": ["a", "b"]}):
        sound = (folder / "model_index.json").read_text()
        edit(folder / "model_index.json", **changes)
        with pytest.raises(CheckpointError) as caught:
            TextIRPipeline.from_pretrained(folder)
        assert str(caught.value).count("newer version") == 1
        (folder / "model_index.json").write_text(sound)
