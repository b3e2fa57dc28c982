"""Checkpoints in the Hub's cache: compared once, used without the Hub, and in caches of every kind."""

import warnings

import numpy as np
import pytest
import test_hub
from hub_server import TOKEN
from huggingface_hub import HfApi, constants, hf_api, snapshot_download
from test_hub import NAME, load, restored

from textir_hf import TextIRPipeline
from textir_hf.hub.publish import publish

pytestmark = test_hub.pytestmark


@pytest.mark.parametrize("unreachable", [True, False])
@pytest.mark.parametrize(("links", "by"), [(True, "us"), (False, "us"), (False, "another program")])
def test_what_is_in_the_cache_needs_no_hub(hub, folder, tmp_path, monkeypatch, links, by, unreachable):
    """Also where the cache has no symbolic links, as on Windows."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", not links)
    publish(folder, NAME)
    if by == "us":
        load(tmp_path)
    else:
        snapshot_download(NAME, cache_dir=tmp_path / "fresh", token=TOKEN)
    assert any(path.is_symlink() for path in (tmp_path / "fresh").rglob("snapshots/*/*")) == links
    if unreachable:
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")  # where nobody listens
        monkeypatch.setattr(hf_api.api, "endpoint", "http://127.0.0.1:1")
    hub.requests.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pipe = load(tmp_path, **{} if unreachable else {"local_files_only": True})
    said = [str(warning.message) for warning in caught if "could not be compared" in str(warning.message)]
    assert len(said) == (by != "us") and not hub.requests
    assert np.array_equal(restored(pipe), restored(TextIRPipeline.from_pretrained(folder)))


@pytest.mark.parametrize("links", [True, False])
def test_a_file_is_hashed_when_it_is_new_or_changed(hub, folder, tmp_path, monkeypatch, links):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", not links)
    publish(folder, NAME)
    asked, verify = [], HfApi.verify_repo_checksums
    monkeypatch.setattr(
        HfApi, "verify_repo_checksums", lambda *args, **options: (asked.append(args), verify(*args, **options))[1]
    )
    for _ in range(2):
        load(tmp_path)
        assert len(asked) == 1
    (weights,) = (tmp_path / "fresh").rglob("restorer/*.safetensors")
    content = weights.read_bytes()
    weights.resolve().write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=f"{weights.name} came damaged"):
        load(tmp_path)
    assert len(asked) == 2 and not weights.exists()
    assert load(tmp_path).restorer is not None  # fetched again


def test_a_cache_that_cannot_be_written_is_named(hub, folder, tmp_path):
    publish(folder, NAME)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"file/cache cannot be written .*HF_HOME"):
        load(tmp_path, cache="file/cache")
