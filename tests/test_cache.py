"""Checkpoints in the Hub's cache: compared once, used without the Hub, and in caches of every kind."""

import warnings

import numpy as np
import pytest
import test_hub
from conftest import CARD
from hub_server import TOKEN
from huggingface_hub import constants, hf_api, snapshot_download
from test_hub import NAME, load, restored

from textir_hf import TextIRPipeline
from textir_hf.hub.publish import publish
from textir_hf.models import download

pytestmark = test_hub.pytestmark


@pytest.fixture
def folder(pipeline, tmp_path):
    pipeline("inpainting").save_pretrained(tmp_path / "folder")
    (tmp_path / "folder" / "README.md").write_text(CARD)
    return tmp_path / "folder"


def unreachable(hub, monkeypatch) -> dict:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")  # where nobody listens
    monkeypatch.setattr(hf_api.api, "endpoint", "http://127.0.0.1:1")
    return {}


def told_to_use_the_cache(hub, monkeypatch) -> dict:
    return {"local_files_only": True}


@pytest.mark.parametrize("leave", [unreachable, told_to_use_the_cache])
@pytest.mark.parametrize(("links", "by"), [(True, "us"), (False, "us"), (False, "another program")])
def test_what_is_in_the_cache_needs_no_hub(hub, folder, tmp_path, monkeypatch, links, by, leave):
    """Also where the cache has no symbolic links, as on Windows, so that its files are not named by their hashes."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", not links)
    publish(folder, NAME)
    if by == "us":
        load(tmp_path)
    else:
        snapshot_download(NAME, cache_dir=tmp_path / "fresh", token=TOKEN)
    assert any(path.is_symlink() for path in (tmp_path / "fresh").rglob("snapshots/*/*")) == links
    options = leave(hub, monkeypatch)
    hub.requests.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pipe = load(tmp_path, **options)
    said = [str(warning.message) for warning in caught if "could not be compared" in str(warning.message)]
    assert len(said) == (0 if links or by == "us" else 1) and all("model_index.json" in text for text in said)
    assert not any("paths-info" in request for request in hub.requests)
    pipe2 = TextIRPipeline.from_pretrained(folder)
    pipe2.set_progress_bar_config(disable=True)
    assert np.array_equal(restored(pipe), restored(pipe2))


@pytest.mark.parametrize("links", [True, False])
def test_a_file_is_hashed_once_when_it_is_new(hub, folder, tmp_path, monkeypatch, links):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", not links)
    publish(folder, NAME)
    hashed, compute = [], download._hash
    monkeypatch.setattr(download, "_hash", lambda path, length: (hashed.append(path.name), compute(path, length))[1])
    load(tmp_path)
    assert sorted(hashed) == sorted(path.name for path in folder.rglob("*") if path.is_file())
    hashed.clear()
    load(tmp_path)
    assert not hashed
    (weights,) = (tmp_path / "fresh").rglob("restorer/*.safetensors")
    content = weights.read_bytes()
    weights.resolve().write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match="came damaged"):
        load(tmp_path)
    assert hashed == [weights.name] and not weights.exists()
    assert load(tmp_path).restorer is not None  # fetched again


def test_a_cache_that_cannot_be_written_is_named(hub, folder, tmp_path):
    publish(folder, NAME)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"file/cache cannot be written .*HF_HOME"):
        load(tmp_path, cache="file/cache")
