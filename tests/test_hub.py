import numpy as np
import pytest
from conftest import make_image, make_mask
from hub_server import TOKEN
from huggingface_hub import HfApi
from huggingface_hub.utils import disable_progress_bars

from textir_hf import TextIRPipeline
from textir_hf.cli.main import main
from textir_hf.hub.publish import publish

NAME = "me/textir-tiny"
disable_progress_bars()
pytestmark = [  # the client's and diffusers' own
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks` argument:UserWarning"),
]


def load(tmp_path, cache="fresh", **kwargs) -> TextIRPipeline:
    pipe = TextIRPipeline.from_pretrained(NAME, cache_dir=tmp_path / cache, **kwargs)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def restored(pipe) -> np.ndarray:
    return np.asarray(pipe("a red flower", make_image(), make_mask()).images[0])


def test_a_published_pipeline_comes_back_and_restores_the_same_image(hub, folder, tmp_path, capsys):
    assert main(["publish", str(folder), "--repo", NAME, "--dry-run"]) == 0
    assert "dry run" in capsys.readouterr().out and not hub.repositories
    assert main(["publish", str(folder), "--repo", NAME]) == 0
    printed = capsys.readouterr().out
    assert "restorer/diffusion_pytorch_model.safetensors" in printed and "Pushed: " in printed
    assert any(r.startswith("PUT /upload/") for r in hub.requests)
    pipe = TextIRPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    expected = restored(pipe)
    assert np.array_equal(restored(load(tmp_path)), expected)
    hub.requests.clear()
    assert np.array_equal(restored(load(tmp_path, local_files_only=True)), expected) and not hub.requests


def test_revisions_and_an_encoder_on_the_hub_are_fetched_as_the_call_says(hub, pipeline, encoder, tmp_path):
    pipe = pipeline("inpainting")
    for part in encoder:
        part.push_to_hub("me/encoder", token=TOKEN)
    parts = TextIRPipeline(pipe.restorer, None, None, None, pipe.recentering, encoder="me/encoder")
    parts.push_to_hub(NAME, token=TOKEN)
    HfApi().create_tag(NAME, tag="v1", token=TOKEN)  # the encoder has no such tag
    pipeline("inpainting", signed_fusion=True).push_to_hub(NAME, token=TOKEN)
    expected = restored(pipe)
    assert np.array_equal(restored(load(tmp_path, revision="v1", token=TOKEN)), expected)
    assert (tmp_path / "fresh" / "models--me--encoder").is_dir()
    assert not list((tmp_path / "cache").rglob("model.safetensors"))
    hub.requests.clear()
    assert np.array_equal(restored(load(tmp_path, revision="v1", local_files_only=True)), expected)
    assert not hub.requests
    with pytest.raises(ValueError, match="cannot be loaded"):
        load(tmp_path, "empty", local_files_only=True)
    assert load(tmp_path).restorer.config.signed_fusion
    with pytest.raises(ValueError, match=r"cannot be loaded.*v2"):
        load(tmp_path, revision="v2")


def test_a_hub_that_misbehaves_is_said(hub, folder, tmp_path):
    publish(folder, NAME)
    weights = "restorer/diffusion_pytorch_model.safetensors"
    faults = [
        {weights: "file:"},
        {weights: "cut"},
        *({"model_index.json": code, "textir-tiny": code} for code in (401, 403)),
    ]
    for number, fault in enumerate(faults):
        hub.faults = fault
        with pytest.raises(ValueError, match=f"The checkpoint {NAME} cannot be loaded"):
            load(tmp_path, str(number))
